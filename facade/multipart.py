"""Incremental reader and writer of multipart/related (RFC 2387, RFC 2046 section 5.1); without I/O.

The reader buffers at most the length of a delimiter of a body, and `MAX_HEADER_BYTES` of part headers. It skips
preamble and epilogue and allows spaces after a delimiter. A line that only starts with the delimiter is data, because
binary parts may contain any bytes.
"""

import enum
import uuid
from dataclasses import dataclass

MAX_HEADER_BYTES = 16 * 1024
"""Size limit of all headers of a part."""

MAX_BOUNDARY_CHARS = 256
"""RFC 2046 allows 70; some clients use more."""

_MAX_PADDING_BYTES = 256
_SMALL_BYTES = 64 * 1024
_JOINED_BYTES = 4 * 1024


class MalformedMultipart(Exception):
    """The body violates the multipart syntax. The text is sent to the client."""


@dataclass(frozen=True, slots=True)
class PartBegin:
    """Start of a part; header names are in lower case."""

    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class PartEnd:
    """End of a part: its closing delimiter was read."""


Event = PartBegin | bytes | memoryview | PartEnd
"""Events of a body: for each part its start, any number of data chunks, and its end.

A large chunk is a view of what was fed. A small one is a copy, so that it keeps nothing else in memory.
"""


class _State(enum.Enum):
    TEXT = enum.auto()  # the preamble or a body
    HEADERS = enum.auto()
    EPILOGUE = enum.auto()


class MultipartReader:
    """Parses chunks of a body, split anywhere, into events.

    Raises:
        MalformedMultipart: the boundary is invalid (on construction), or headers of a part are malformed.
    """

    def __init__(self, boundary: str) -> None:
        if not 0 < len(boundary) <= MAX_BOUNDARY_CHARS or not boundary.isascii() or not boundary.isprintable():
            raise MalformedMultipart("The multipart boundary is not usable.")
        self._delimiter = b"\r\n--" + boundary.encode()
        self._state = _State.TEXT
        self._in_part = False
        self._empty = True
        # The first delimiter needs no line break before it; adding one makes it like all others.
        self._held = b"\r\n"
        # Number of bytes before the next data chunk that belong to the framing.
        self._skip = 0

    def feed(self, data: bytes) -> list[Event]:
        """Parse the next chunk and return its events."""
        if not data or self._state is _State.EPILOGUE:
            return []
        events: list[Event] = []
        position = 0
        if self._empty:
            self._empty = False
            position = self._usual_start(data)
        if self._held:
            data, position = self._join(data, events)
        self._read(data, position, events)
        return events

    def _usual_start(self, data: bytes) -> int:
        """Return the position of the first headers if the body begins with a complete first delimiter, else 0."""
        start = 0 if data.startswith(b"\r\n") else 2
        end = len(self._delimiter) - start
        if not data.startswith(self._delimiter[start:]) or not data.startswith(b"\r\n", end):
            return 0
        self._held = b""
        self._state = _State.HEADERS
        return end + 2

    def _join(self, data: bytes, events: list[Event]) -> tuple[bytes, int]:
        """Parse the buffered bytes with the start of `data`, without copying all of `data`.

        Returns the buffer and the position to continue with.
        """
        beginning = self._held + data[:_JOINED_BYTES]
        self._held = b""
        self._read(beginning, 0, events)
        if len(data) <= _JOINED_BYTES:
            return data, len(data)
        held, self._held = self._held, b""
        return (data, _JOINED_BYTES - len(held)) if len(held) <= _JOINED_BYTES else (held + data[_JOINED_BYTES:], 0)

    def _read(self, buffer: bytes, position: int, events: list[Event]) -> None:
        while position < len(buffer):
            if self._state is _State.TEXT:
                position = self._text(buffer, position, events)
            elif self._state is _State.HEADERS:
                position = self._headers(buffer, position, events)
            else:
                break

    def close(self) -> list[Event]:
        """Return the remaining events at the end of the body.

        A body that ends directly after a boundary counts as complete. A part that is cut off has no PartEnd.

        Raises:
            MalformedMultipart: the body is not empty and has no delimiter.
        """
        events: list[Event] = []
        if self._state is _State.TEXT:
            if self._held.startswith(self._delimiter):
                self._end_part(events)
            elif not self._in_part and not self._empty:
                raise MalformedMultipart("The body does not contain the multipart boundary.")
        return events

    def _text(self, buffer: bytes, position: int, events: list[Event]) -> int:
        """Parse data up to and including the next delimiter line; return the next position."""
        delimiter = self._delimiter
        found = buffer.find(delimiter, position)
        if found < 0:
            # Only the last CR can begin a delimiter that is not complete yet: a boundary contains none.
            end = buffer.rfind(b"\r", max(position, len(buffer) - len(delimiter) + 1))
            if end < 0 or not delimiter.startswith(buffer[end:]):
                end = len(buffer)
            return self._hold(buffer, position, end, events)
        after = found + len(delimiter)
        rest = buffer[after : after + _MAX_PADDING_BYTES]
        line, line_break, _ = rest.partition(b"\r\n")
        if rest.startswith(b"--"):
            self._state = _State.EPILOGUE
            end = len(buffer)
        elif line_break and not line.strip(b" \t"):
            self._state = _State.HEADERS
            end = after + len(line) + len(line_break)
        elif len(rest) < _MAX_PADDING_BYTES and (rest == b"-" or not rest.removesuffix(b"\r").strip(b" \t")):
            return self._hold(buffer, position, found, events)  # undecided without more data
        else:
            self._emit(buffer, position, after, events)  # a longer line that only starts with the delimiter
            return after
        self._emit(buffer, position, found, events)
        self._end_part(events)
        return end

    def _headers(self, buffer: bytes, position: int, events: list[Event]) -> int:
        """Parse the headers of a part; return the start of its body."""
        if buffer.startswith(b"\r\n", position):
            block, end = b"", position
        else:
            end = buffer.find(b"\r\n\r\n", position)
            if (end if end >= 0 else len(buffer)) - position > MAX_HEADER_BYTES:
                raise MalformedMultipart("The headers of a part are too long.")
            if end < 0:
                self._held = buffer[position:]
                return len(buffer)
            block, end = buffer[position:end], end + 2
        events.append(PartBegin(_parse_headers(block)))
        self._in_part = True
        self._state = _State.TEXT
        # The line break that ends the headers may already be that of the next delimiter, if there is no body.
        self._skip = 2
        return end

    def _hold(self, buffer: bytes, position: int, end: int, events: list[Event]) -> int:
        """Emit data up to `end` and buffer the rest."""
        self._emit(buffer, position, end, events)
        self._held = buffer[end:]
        return len(buffer)

    def _emit(self, buffer: bytes, start: int, end: int, events: list[Event]) -> None:
        if not self._in_part or end <= start:
            return
        start += self._skip
        self._skip = 0
        if end - start == len(buffer) or end - start < _SMALL_BYTES:
            if end > start:
                events.append(buffer[start:end])
        else:
            events.append(memoryview(buffer)[start:end])

    def _end_part(self, events: list[Event]) -> None:
        if self._in_part:
            events.append(PartEnd())
            self._in_part = False


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    unfolded = block.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    for line in unfolded.split(b"\r\n") if unfolded else ():
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            raise MalformedMultipart("A part has a malformed header.")
        headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    return headers


class MultipartWriter:
    """Writes the framing of parts. The boundary has only hex digits, so it is valid with and without quotes."""

    def __init__(self) -> None:
        self._boundary = uuid.uuid4().hex
        self._begun = False

    def content_type(self, media_type: str) -> str:
        """Return the Content-Type of the body with parts of `media_type`."""
        return f'multipart/related; type="{media_type}"; boundary={self._boundary}'

    def begin(self, content_type: str, location: str = "") -> bytes:
        """Return the delimiter and the headers of a part: its type, and its own URL if it has one.

        Some viewers search for the exact spelling "Content-Type:", so it must not change.
        """
        lead = "\r\n--" if self._begun else "--"
        self._begun = True
        located = f"\r\nContent-Location: {location}" if location else ""
        return f"{lead}{self._boundary}\r\nContent-Type: {content_type}{located}\r\n\r\n".encode()

    def end(self) -> bytes:
        """Return the closing delimiter."""
        lead = "\r\n--" if self._begun else "--"
        return f"{lead}{self._boundary}--\r\n".encode()
