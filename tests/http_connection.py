"""An HTTP client for tests of thousands of requests, where httpx would take more time than the archive."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import httptools
import httpx

SECONDS = 20.0


@dataclass
class Answer:
    """A response; names of headers are lower case. An event stream has no end, so its body is not read."""

    status_code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def text(self) -> str:
        """The body."""
        return self.content.decode(errors="replace")


class HttpConnection:
    """Sends requests one after the other, on one connection while the server keeps it."""

    def __init__(self, base_url: str | httpx.URL) -> None:
        self._url = httpx.URL(base_url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def request(
        self, method: str, path: str, headers: Mapping[str, str | None], content: bytes | None = None
    ) -> Answer:
        """Return the response to a request.

        Raises: ConnectionError if the server closes the connection before the end of the response.
        """
        has_connection = self._streams is not None and not self._streams[0].at_eof()
        fields = {"Host": self._url.netloc.decode(), "Accept": "*/*"} | headers
        if content is not None:
            fields["Content-Length"] = str(len(content))
        lines = (f"{name}: {value}\r\n" for name, value in fields.items())
        message = "".join([f"{method} {path} HTTP/1.1\r\n", *lines, "\r\n"]).encode() + (content or b"")
        async with asyncio.timeout(SECONDS):
            try:
                return await self._exchange(message, method)
            except ConnectionResetError:
                if not has_connection:
                    raise
                return await self._exchange(message, method)  # the server closed the idle connection

    async def _exchange(self, message: bytes, method: str) -> Answer:
        if self._streams is None or self._streams[0].at_eof():
            self._close()
            self._streams = await asyncio.open_connection(self._url.host, self._url.port)
        reader, writer = self._streams
        response = _Response(method)
        try:
            writer.write(message)
            while not response.is_complete:
                if not (data := await reader.read(1 << 16)):
                    raise ConnectionResetError("closed before the end of the response")
                response.feed(data)
        except ConnectionError:
            self._close()
            raise
        if not response.keeps_connection:
            self._close()
        return response.answer

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _Response:
    """Callbacks of the parser of one response."""

    def __init__(self, method: str) -> None:
        self.answer = Answer()
        self.is_complete = False
        self.keeps_connection = False
        self._method = method
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # the connection is that of a WebSocket
            self.is_complete, self.keeps_connection = True, False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.answer.status_code = self._parser.get_status_code()
        is_stream = self.answer.headers.get("content-type", "").startswith("text/event-stream")
        if is_stream or self._method == "HEAD":
            self.is_complete = True

    def on_body(self, data: bytes) -> None:
        self.answer.content += data

    def on_message_complete(self) -> None:
        self.is_complete = True
        self.keeps_connection = self._parser.should_keep_alive()
