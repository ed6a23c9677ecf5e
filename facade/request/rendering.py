"""Parameters of rendered resources (PS3.18 section 8.3.5) and their acceptable media types.

Parsing is lenient; all parameters are checked before the core is called.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TypeVar

from dicomstore.v1 import retrieve_service_pb2 as pb
from starlette.requests import Request

from facade.errors import Refusal, shown
from facade.request.accept import ANY, MediaRange
from facade.request.query import Parameter, accepted_media_ranges, first, integer, invalid, parameters_of

_OTHER_NAMES = {"image/jpg": "image/jpeg", "video/mpeg2": "video/mpeg"}

_FAMILIES = ("text/", "model/")
"""Encapsulated documents declare their own media type; these families are passed to the core unchecked."""

_FUNCTIONS: Mapping[str, pb.WindowFunction] = {
    "linear": pb.WINDOW_FUNCTION_LINEAR,
    "linear-exact": pb.WINDOW_FUNCTION_LINEAR_EXACT,
    "linear_exact": pb.WINDOW_FUNCTION_LINEAR_EXACT,
    "sigmoid": pb.WINDOW_FUNCTION_SIGMOID,
}
_PROFILES: Mapping[str, pb.IccProfile] = {
    "no": pb.ICC_PROFILE_NO,
    "yes": pb.ICC_PROFILE_YES,
    "srgb": pb.ICC_PROFILE_SRGB,
    "adobergb": pb.ICC_PROFILE_ADOBE_RGB,
    "rommrgb": pb.ICC_PROFILE_ROMM_RGB,
}
ANNOTATIONS: Mapping[str, pb.Annotation] = {
    "patient": pb.ANNOTATION_PATIENT,
    "technique": pb.ANNOTATION_TECHNIQUE,
}
_NUMBER = re.compile(r"[+-]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})([eE][+-]?\d)?")
_MAX_SIDE = 32767
_TAG_BYTES = 8

Choice = TypeVar("Choice")


def rendered_request(request: Request) -> pb.RetrieveRenderedRequest:
    """Return the rendering parameters of a request, without its resource.

    Raises:
        Refusal: 400, a parameter is malformed.
    """
    parameters = parameters_of(request)
    wanted = pb.RetrieveRenderedRequest(
        quality=integer(parameters, "quality", 0, 1, 100),
        annotations=chosen(parameters, "annotation", ANNOTATIONS),
    )
    if profiles := chosen(parameters, "iccprofile", _PROFILES):
        wanted.icc_profile = profiles[0]
    if text := first(parameters, "window"):
        wanted.window.CopyFrom(parse_window(text))
    if text := first(parameters, "viewport"):
        wanted.viewport.CopyFrom(parse_viewport(text))
    return wanted


def parse_window(text: str) -> pb.Window:
    """Return `center,width,function`; without a function the VOI LUT Function of the data set applies.

    Raises:
        Refusal: 400.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3) or not all(map(_NUMBER.fullmatch, parts[:2])):
        raise invalid("window", "The value must be center,width,function.")
    name = parts[2].lower() if len(parts) == 3 else ""
    if name and name not in _FUNCTIONS:
        raise invalid("window", f"The function {shown(name)} is not among {', '.join(_FUNCTIONS)}.")
    width, function = float(parts[1]), _FUNCTIONS.get(name, pb.WINDOW_FUNCTION_UNSPECIFIED)
    if width <= 0 or (function == pb.WINDOW_FUNCTION_LINEAR and width < 1):
        raise invalid("window", "The width is too small.")
    return pb.Window(center=float(parts[0]), width=width, function=function)


def parse_viewport(text: str) -> pb.Viewport:
    """Return `width,height` and, if given, the source region `x,y,width,height`, each of which may be empty.

    Raises:
        Refusal: 400.
    """
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6 or not all(_NUMBER.fullmatch(part) for part in parts if part) or not any(parts[:2]):
        raise invalid("viewport", "The value must be width,height or width,height,x,y,width,height.")
    numbers = [float(part or 0) for part in (*parts, *[""] * 4)[:6]]
    if not all(0 <= side <= _MAX_SIDE for side in numbers[:2]):
        raise invalid("viewport", f"Width and height must be between 0 and {_MAX_SIDE}.")
    width, height = (round(side) for side in numbers[:2])
    x, y, source_width, source_height = numbers[2:]
    return pb.Viewport(
        width=width, height=height, source_x=x, source_y=y, source_width=source_width, source_height=source_height
    )


def acceptable_media_types(request: Request, possible: Sequence[str]) -> tuple[list[str], list[MediaRange]]:
    """Return the acceptable media types, best first, and the media ranges of the request.

    Browsers list `image/apng` next to wildcards for every image request; this does not request an animation.

    possible: the media types of the resource; documents may have others, too.

    Raises:
        Refusal: 406, no object can be rendered in an accepted media type.
    """
    media_ranges = accepted_media_ranges(request)
    has_wildcard = any(media_range.name in (ANY, "image/*") for media_range in media_ranges)
    names = dict.fromkeys(map(media_type_of, media_ranges))
    welcome = [name for name in names if _is_possible(name, possible) and not (has_wildcard and name == "image/apng")]
    if not welcome:
        raise Refusal(406, f"None of the requested media types is available. Possible are {', '.join(possible)}.")
    return welcome, media_ranges


def media_type_of(media_range: MediaRange) -> str:
    """Return the media type of a media range, or of its parts if it is multipart/related."""
    name = (media_range.parameters.get("type", "").lower() or ANY) if media_range.is_multipart else media_range.name
    return _OTHER_NAMES.get(name, name)


def wants_envelope(media_ranges: Sequence[MediaRange], media_type: str) -> bool:
    """Return whether the first media range that covers a media type is multipart/related."""
    return next((media_range.is_multipart for media_range in media_ranges if covers(media_range, media_type)), False)


def covers(media_range: MediaRange, media_type: str) -> bool:
    """Return whether a media range covers a media type, with or without envelope."""
    name = media_type_of(media_range)
    return name in (ANY, media_type) or (name.endswith("/*") and media_type.startswith(name[:-1]))


def form_of(wanted: pb.RetrieveRenderedRequest) -> str:
    """Return a short text for the entity tag that identifies the rendering parameters."""
    form = pb.RetrieveRenderedRequest()
    form.CopyFrom(wanted)
    form.ClearField("resource")
    form.ClearField("range")
    return "rendered-" + blake2b(form.SerializeToString(deterministic=True), digest_size=_TAG_BYTES).hexdigest()


def _is_possible(name: str, possible: Sequence[str]) -> bool:
    if name == ANY or name in possible:
        return True
    if name.endswith("/*"):
        return any(each.startswith(name[:-1]) for each in possible)
    return "text/html" in possible and name.startswith(_FAMILIES)


def chosen(parameters: Sequence[Parameter], name: str, values: Mapping[str, Choice]) -> list[Choice]:
    """Return the values for the words of a comma-separated parameter, without duplicates.

    Raises:
        Refusal: 400, a word is unknown.
    """
    names = [text.strip().lower() for text in (first(parameters, name) or "").split(",") if text.strip()]
    for text in names:
        if text not in values:
            raise invalid(name, f"The value {shown(text)} is not among {', '.join(values)}.")
    return [values[text] for text in dict.fromkeys(names)]
