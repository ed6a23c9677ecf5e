"""Parsers of the bodies of store requests: from chunks of a body to the pieces of its instances; without I/O."""

from typing import Protocol

from starlette.requests import Request

from facade.errors import Refusal
from facade.multipart import MultipartReader, PartBegin, PartEnd
from facade.request.accept import parse_media_type
from facade.request.body import require_no_coding
from facade.request.upload import UploadPiece

MAX_PARTS = 10_000
"""Maximum number of instances in a request. With more, the response is 413 and has the outcomes of the first ones."""

_INSTANCE = "application/dicom"


class StoreBody(Protocol):
    """The body of a store request; raises `Refusal` and `MalformedMultipart`."""

    has_too_many_parts: bool
    """Whether the rest of the body is ignored, because it has more than `MAX_PARTS` parts."""

    def feed(self, data: bytes) -> list[UploadPiece]:
        """Parse the next chunk and return the pieces in it."""
        ...

    def close(self) -> list[UploadPiece]:
        """Return the remaining pieces at the end of the body."""
        ...


def store_body_of(request: Request) -> StoreBody:
    """Return the parser for a request.

    Raises:
        Refusal: 415, the body is neither one instance nor a multipart of instances; 400, it has a `start` parameter.
        MalformedMultipart: the boundary is invalid.
    """
    headers = request.headers
    media_type = parse_media_type(headers.get("content-type", ""))
    require_no_coding(request)
    if media_type is not None and media_type.name == _INSTANCE:
        length = headers.get("content-length", "")
        return _SinglePart(int(length) if length.isdecimal() else None)
    root = media_type.parameters.get("type", "").lower() if media_type else ""
    if media_type is None or media_type.name != "multipart/related" or root not in ("", _INSTANCE):
        raise Refusal(415, f'The body must be {_INSTANCE} or multipart/related; type="{_INSTANCE}".')
    if not media_type.parameters.get("boundary"):
        raise Refusal(415, "The multipart boundary is missing.")
    if "start" in media_type.parameters:
        raise Refusal(400, "The start parameter of multipart/related is not supported.")
    return _Multipart(MultipartReader(media_type.parameters["boundary"]), root)


class _SinglePart:
    """A body that is one instance."""

    has_too_many_parts = False

    def __init__(self, declared_size_bytes: int | None) -> None:
        self._declared_size_bytes = declared_size_bytes

    def feed(self, data: bytes) -> list[UploadPiece]:
        declared_size_bytes, self._declared_size_bytes = self._declared_size_bytes, None
        return [UploadPiece(1, data, declared_size_bytes=declared_size_bytes)]

    def close(self) -> list[UploadPiece]:
        return [UploadPiece(1, declared_size_bytes=self._declared_size_bytes, last=True)]


class _Multipart:
    """A body with an instance in each part."""

    def __init__(self, reader: MultipartReader, root_type: str) -> None:
        self.has_too_many_parts = False
        self._reader = reader
        self._root_type = root_type
        self._item = 0
        self._is_open = False

    def feed(self, data: bytes) -> list[UploadPiece]:
        pieces: list[UploadPiece] = []
        has_data = False  # of the open item
        for event in self._reader.feed(data):
            if isinstance(event, PartBegin):
                self._check(event.headers)
                if self._item == MAX_PARTS:
                    self.has_too_many_parts = True
                    break
                self._item += 1
                self._is_open, has_data = True, False
            elif isinstance(event, PartEnd):
                if has_data:
                    pieces[-1].last = True
                else:
                    pieces.append(UploadPiece(self._item, last=True))
                self._is_open = False
            else:
                pieces.append(UploadPiece(self._item, event))
                has_data = True
        return pieces

    def close(self) -> list[UploadPiece]:
        if any(isinstance(event, PartEnd) for event in self._reader.close()):
            return [UploadPiece(self._item, last=True)]
        if self._is_open:  # the body ended before the part did
            return [UploadPiece(self._item, last=True, aborted=True)]
        return []

    def _check(self, headers: dict[str, str]) -> None:
        media_type = parse_media_type(headers.get("content-type", self._root_type))
        if media_type is None or media_type.name != _INSTANCE:
            raise Refusal(415, f"All parts must be {_INSTANCE}.")
