"""Range requests (RFC 9110 section 14): one byte range of a body without envelope.

A malformed range, several ranges, and an If-Range that does not match are ignored, as the RFC allows: the response is
the whole body.
"""

import re
from dataclasses import dataclass

from dicomstore.v1.resources_pb2 import ByteRange
from starlette.requests import Request

_RANGE = re.compile(r"\s*+bytes\s*+=\s*+([0-9]{0,18}+)\s*+-\s*+([0-9]{0,18}+)\s*+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestedRange:
    """The requested range: either `first`, with or without `last`, or only `suffix`.

    first, last: inclusive positions from 0; without `last` to the end.
    suffix: number of bytes at the end.
    """

    first: int | None
    last: int | None
    suffix: int | None

    @property
    def needs_size(self) -> bool:
        """Whether its start depends on the size of the whole body."""
        return self.first is None

    def within(self, size_bytes: int) -> ByteRange | None:
        """Return the range within a body of the given size; None if it is unsatisfiable (416)."""
        if self.first is None:
            assert self.suffix is not None
            length = min(self.suffix, size_bytes)
            return ByteRange(offset_bytes=size_bytes - length, length_bytes=length) if length else None
        if self.first >= size_bytes:
            return None
        end = size_bytes if self.last is None else min(self.last + 1, size_bytes)
        return ByteRange(offset_bytes=self.first, length_bytes=end - self.first)

    def for_core(self) -> ByteRange:
        """Return it for the core, which limits it to the size of the body. Requires `needs_size` to be false."""
        assert self.first is not None
        length = 0 if self.last is None else self.last - self.first + 1
        return ByteRange(offset_bytes=self.first, length_bytes=length)


def range_of(request: Request) -> RequestedRange | None:
    """Return the single range that a GET requests; None means the whole body. `range_applies` evaluates `If-Range`."""
    match = _RANGE.fullmatch(request.headers.get("range", "")) if request.method == "GET" else None
    if match is None:
        return None
    first, last = match[1], match[2]
    if not first:
        return RequestedRange(None, None, int(last)) if last else None
    if last and int(last) < int(first):
        return None
    return RequestedRange(int(first), int(last) if last else None, None)


def range_applies(request: Request, tag: str) -> bool:
    """Return whether the range applies to the representation with entity tag `tag` (RFC 9110 section 13.1.5).

    True without If-Range, or if If-Range is this tag. A date or a weak tag never matches.
    """
    condition = request.headers.get("if-range")
    return condition is None or condition.strip() in (tag, tag.strip('"'))


def content_range(part: ByteRange, size_bytes: int) -> str:
    """Return the Content-Range header of a range."""
    return f"bytes {part.offset_bytes}-{part.offset_bytes + part.length_bytes - 1}/{size_bytes}"
