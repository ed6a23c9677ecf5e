"""Multipart bodies: the first byte selects the chunk size, the rest is a body with the boundary `b`."""

from collections.abc import Iterator

from facade.multipart import (
    MAX_HEADER_BYTES,
    Event,
    MalformedMultipart,
    MultipartReader,
    MultipartWriter,
    PartBegin,
    PartEnd,
)
from facade.request.accept import parse_media_type
from tests.fuzz.target import pieces, require

BOUNDARY = "b"

Part = tuple[dict[str, str], bytes, bool]
"""Headers, body, and whether its end was found."""


def seeds() -> Iterator[bytes]:
    """Yield bodies with one and several parts, odd line breaks, padding, folded headers, and malformed ones."""
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    bodies = [
        b"",
        part + b"data\r\n--b--\r\n",
        part + b"one\r\n" + part + b"two\r\n--b--",
        b"preamble\r\n" + part + b"\r\n--b--epilogue",
        part + b"a\r\n--bc\r\n--b-\r\n--b \t\r\n\r\nx\r\n--b",
        b"--b\r\n\r\n\r\n--b--",
        b"--b\r\n\r\n\r\n--b\r\n\r\n--b--",
        b"--b\r\nA: b\r\n c\r\n\td\r\n\r\ndata\r\n--b--\r\n",
        b"--b\r\nno colon\r\n\r\n\r\n--b--",
        b"--b\nContent-Type: a/b\n\ndata\n--b--\n",
        b"--b" + b" " * 255 + b"\r\n\r\nx\r\n--b" + b" " * 256 + b"\r\n--b--",
        b"--b\r\nA: " + b"a" * 3000,
    ]
    for size in (0, 1, 7):
        for body in bodies:
            yield bytes([size]) + body
    yield bytes([2]) + b'multipart/related; type="application/dicom"; boundary="a b\\"c"'


def check(data: bytes) -> None:
    """Check that the result does not depend on chunks, that buffers are bounded, and that parts survive writing."""
    size, body = data[0] if data else 0, data[1:]
    _check_boundary(body[:300].decode("latin-1"))
    whole = _parts(body, len(body) or 1)
    require(whole == _parts(body, size), "the parts do not depend on the chunks of the body")
    require(whole == _parts(body[:200], 1) or len(body) > 200, "the parts do not depend on the chunks of the body")
    if whole is not None:
        require(sum(len(part) for _, part, _ in whole) <= len(body), "the parts are in the body")
        ended = [(headers, part) for headers, part, has_ended in whole if has_ended]
        require(
            ended == _written_again([part for _, part in ended], [head for head, _ in ended]), "parts can be copied"
        )


def _parts(body: bytes, size: int) -> list[Part] | None:
    """Return the parts of a body fed in pieces; None if it is malformed."""
    reader = MultipartReader(BOUNDARY)
    events: list[Event] = []
    try:
        for piece in pieces(body, size):
            events += reader.feed(piece)
            require(len(reader._held) <= MAX_HEADER_BYTES + 1024, "the reader buffers at most the headers of a part")
        events += reader.close()
    except MalformedMultipart:
        return None
    parts: list[Part] = []
    is_open = False
    for event in events:
        if isinstance(event, PartBegin):
            require(not is_open, "parts do not overlap")
            parts.append((event.headers, b"", False))
        else:
            require(is_open, "data and ends are in a part")
            headers, found, _ = parts[-1]
            parts[-1] = (headers, found, True) if isinstance(event, PartEnd) else (headers, found + event, False)
        is_open = not isinstance(event, PartEnd)
    return parts


def _written_again(bodies: list[bytes], headers: list[dict[str, str]]) -> list[tuple[dict[str, str], bytes]]:
    """Return parts after writing and reading them with a new boundary; their headers are not written."""
    writer = MultipartWriter()
    boundary = writer.content_type("a/b").rpartition("=")[2]
    lines = b"".join(writer.begin("a/b") + body for body in bodies) + writer.end()
    reader = MultipartReader(boundary)
    read: list[bytes] = []
    for event in [*reader.feed(lines), *reader.close()]:
        if isinstance(event, PartBegin):
            require(event.headers == {"content-type": "a/b"}, "headers can be read")
            read.append(b"")
        elif not isinstance(event, PartEnd):
            read[-1] += event
    return list(zip(headers, read, strict=True))


def _check_boundary(content_type: str) -> None:
    """Check that any Content-Type gives a usable boundary, an error, or none."""
    media_type = parse_media_type(content_type)
    boundary = media_type.parameters.get("boundary") if media_type else None
    if boundary is not None:
        try:
            reader = MultipartReader(boundary)
        except MalformedMultipart:
            return
        body = f"--{boundary}\r\n\r\nx\r\n--{boundary}--".encode()
        require(b"x" in reader.feed(body), "a boundary that is accepted separates parts")
