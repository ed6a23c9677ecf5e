"""Range requests (RFC 9110 section 14): one range of bytes of a body without envelope.

A range that can't be read, several ranges, and one whose If-Range names other bytes, all mean the whole body; that is
what the RFC says, and what a client gets that knows no ranges.
"""

import re
from dataclasses import dataclass

from dicomstore.v1.resources_pb2 import ByteRange
from starlette.requests import Request

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RangeWish:
    """One range as the client wrote it. Either `first` is given, with or without `last`, or only `suffix`.

    first, last: positions from 0, both included; without `last` to the end.
    suffix: so many bytes at the end.
    """

    first: int | None
    last: int | None
    suffix: int | None

    @property
    def needs_size(self) -> bool:
        """Say whether where it begins depends on the size of the whole."""
        return self.first is None

    def within(self, size_bytes: int) -> ByteRange | None:
        """Return the part of a body that it means; None if there is no such part (416)."""
        if self.first is None:
            assert self.suffix is not None
            length = min(self.suffix, size_bytes)
            return ByteRange(offset_bytes=size_bytes - length, length_bytes=length) if length else None
        if self.first >= size_bytes:
            return None
        end = size_bytes if self.last is None else min(self.last + 1, size_bytes)
        return ByteRange(offset_bytes=self.first, length_bytes=end - self.first)

    def as_asked(self) -> ByteRange:
        """Return it as the core takes it, which cuts it at the end of the whole. Not for one that needs the size."""
        assert self.first is not None
        length = 0 if self.last is None else self.last - self.first + 1
        return ByteRange(offset_bytes=self.first, length_bytes=length)


def range_of(request: Request) -> RangeWish | None:
    """Return the one range that a GET asks for; None means the whole. `If-Range` is looked at by `still_wanted`."""
    match = _RANGE.fullmatch(request.headers.get("range", "")) if request.method == "GET" else None
    if match is None:
        return None
    first, last = match[1], match[2]
    if not first:
        return RangeWish(None, None, int(last)) if last else None
    if last and int(last) < int(first):
        return None
    return RangeWish(int(first), int(last) if last else None, None)


def still_wanted(request: Request, tag: str) -> bool:
    """Say whether a part of the bytes with entity tag `tag` is what the client wants (RFC 9110 section 13.1.5).

    Without If-Range it is; with one only if that is this very tag. A date or a weak tag never is.
    """
    condition = request.headers.get("if-range")
    return condition is None or condition.strip() in (tag, tag.strip('"'))


def content_range(part: ByteRange, size_bytes: int) -> str:
    """Return the Content-Range header of a part."""
    return f"bytes {part.offset_bytes}-{part.offset_bytes + part.length_bytes - 1}/{size_bytes}"
