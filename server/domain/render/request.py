"""Requests for rendered resources, their validation, and the result type; see `RetrieveRendered` in the contract."""

import enum
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from math import isfinite

from server.model.buffer import Buffer
from server.model.errors import InvalidRequest, Reason, WrongState
from server.model.ids import Version
from server.model.instance import StoredInstance
from server.model.rendering import IccProfile, ImageFormat, Viewport, WindowFunction

ANY = "*/*"

STILL_FORMATS = (ImageFormat.JPEG, ImageFormat.PNG)
ANIMATION_FORMATS = (ImageFormat.GIF, ImageFormat.APNG)
REPORT_MEDIA_TYPE = "text/html"

_OTHER_NAMES = {"image/jpg": "image/jpeg", "video/mpeg2": "video/mpeg"}
_MAX_SIDE = 32767
_MAX_SOURCE = 1e7
_THUMBNAIL = Viewport(256, 256)
_IMAGE_QUALITY, _THUMBNAIL_QUALITY = 100, 80


class Annotation(enum.Enum):
    """Kinds of text that can be drawn into an image."""

    PATIENT = enum.auto()
    TECHNIQUE = enum.auto()


@dataclass(frozen=True, slots=True)
class RequestedWindow:
    """A requested window; without a function, that of the data set is used."""

    center: float
    width: float
    function: WindowFunction | None


@dataclass(frozen=True, slots=True)
class Style:
    """Rendering parameters for all images of a request; the format depends on the object."""

    quality: int
    viewport: Viewport | None
    window: RequestedWindow | None
    annotations: frozenset[Annotation]
    icc_profile: IccProfile
    is_thumbnail: bool


@dataclass(frozen=True, slots=True)
class RenderedRequest:
    """A request as received; empty, zero and None mean "not given"."""

    frames: tuple[int, ...] = ()
    media_types: tuple[str, ...] = ()
    window: RequestedWindow | None = None
    viewport: Viewport | None = None
    quality: int = 0
    annotations: frozenset[Annotation] = frozenset()
    icc_profile: IccProfile = IccProfile.IF_PRESENT
    thumbnail: bool = False
    offset: int = 0
    length: int | None = None
    version: Version | None = None

    @property
    def has_range(self) -> bool:
        """True if a byte range is requested."""
        return self.offset != 0 or self.length is not None

    def check(self, *, is_instance: bool) -> None:
        """Validate the request, for an instance or for a study or series.

        Raises:
            InvalidRequest: INVALID_FRAME_NUMBER, INVALID_FIELD.
        """
        if self.frames and min(self.frames) < 1:
            raise InvalidRequest(Reason.INVALID_FRAME_NUMBER, "Frame numbers must be 1 or greater.", field="frames")
        _require(not self.frames or is_instance, "frames", "Frame numbers require an instance.")
        _require(
            not self.thumbnail or len(self.frames) < 2, "frames", "A thumbnail can be requested for at most one frame."
        )
        is_one = is_instance and len(self.frames) < 2 and not self.thumbnail
        _require(is_one or not self.has_range, "range", "A byte range requires a single instance or frame.")
        _require(0 <= self.quality <= 100, "quality", "The quality must be between 1 and 100.")
        if self.window is not None:
            _check_window(self.window)
        if self.viewport is not None:
            _check_viewport(self.viewport)

    def style(self) -> Style:
        """Return the rendering parameters."""
        return Style(
            quality=self.quality or (_THUMBNAIL_QUALITY if self.thumbnail else _IMAGE_QUALITY),
            viewport=_THUMBNAIL if self.thumbnail and self.viewport is None else self.viewport,
            window=self.window,
            annotations=self.annotations,
            icc_profile=self.icc_profile,
            is_thumbnail=self.thumbnail,
        )


@dataclass(frozen=True, slots=True)
class OpenRendered:
    """A rendered image or a document, or the byte range of it given by `offset` and `length`.

    frame: 0 for the instance as a whole. size_bytes: of the whole; None for animations. length: None means the whole.
    chunks: the caller must read them to the end or close them.
    """

    stored: StoredInstance
    frame: int
    media_type: str
    size_bytes: int | None
    chunks: AsyncGenerator[Buffer]
    offset: int = 0
    length: int | None = None


def choose(acceptable: Sequence[str], possible: Sequence[str]) -> str:
    """Return the first acceptable media type that is possible; the first possible one if any is acceptable.

    Raises:
        WrongState: NOT_ACCEPTABLE_MEDIA_TYPE.
    """
    for name in acceptable or (ANY,):
        family = "" if name == ANY else name.removesuffix("*") if name.endswith("/*") else None
        for media_type in possible:
            if media_type == _OTHER_NAMES.get(name, name) or (family is not None and media_type.startswith(family)):
                return media_type
    raise WrongState(
        Reason.NOT_ACCEPTABLE_MEDIA_TYPE,
        "None of the requested media types is available for this resource.",
        possible=",".join(possible),
    )


def _check_window(window: RequestedWindow) -> None:
    is_number = isfinite(window.center) and isfinite(window.width)
    min_width = 1.0 if window.function is WindowFunction.LINEAR else 0.0
    _require(
        is_number and window.width > 0 and window.width >= min_width,
        "window",
        "The window needs a finite center and a valid width (PS3.3 C.11.2.1.2).",
    )


def _check_viewport(viewport: Viewport) -> None:
    sides = (viewport.width, viewport.height)
    _require(
        all(0 <= side <= _MAX_SIDE for side in sides),
        "viewport",
        "The width or height of the viewport is negative or too large.",
    )
    source = (viewport.source_x, viewport.source_y, viewport.source_width, viewport.source_height)
    is_valid = all(isfinite(value) and abs(value) <= _MAX_SOURCE for value in source)
    _require(is_valid, "viewport", "The source region of the viewport is invalid.")


def _require(condition: bool, field: str, message: str) -> None:
    if not condition:
        raise InvalidRequest(Reason.INVALID_FIELD, message, field=field)
