"""Ranges that are read without the library: only the expected response is taken."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from server.adapters.blobs.objects.plain_ranges import PlainRanges

BODY = bytes(range(256)) * 4000
RANGE = (1000, 300_000)
EXPECTED = BODY[1000:301_000]


def response(status: str = "206 Partial Content", body: bytes = EXPECTED, **headers: str) -> bytes:
    fields = {"Content-Length": f"{len(body)}", "Content-Range": f"bytes 1000-300999/{len(BODY)}"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@contextmanager
def server(*responses: bytes) -> Iterator[tuple[str, list[int]]]:
    """Serve responses; yield the URL, and the number of the connection of each request.

    A response that is shorter than it says ends the connection.
    """
    connections: list[int] = []
    left = list(responses)

    def serve() -> None:
        number = 0
        while left:
            number += 1
            connection, _ = listening.accept()
            with connection, suppress(ConnectionError):  # the client has left
                while left and connection.recv(10_000):
                    connections.append(number)
                    data = left.pop(0)
                    connection.sendall(data)
                    if b"onnection: close" in data[:300] or len(data) < len(EXPECTED):
                        break

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/bucket/object?X-Amz-Signature=1", connections
        thread.join()


def test_a_range_is_read_and_the_connection_is_used_again_unless_the_server_closes_it() -> None:
    with server(response(), response(), response(Connection="close"), response()) as (url, connections):
        ranges = PlainRanges(lambda _: url, 5, 5)
        found = [ranges.get("object", *RANGE) for _ in range(4)]
    assert found == [EXPECTED] * 4
    assert connections == [1, 1, 1, 2]
    with pytest.raises(TypeError):
        found[0][0] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    "unexpected",
    [
        response("200 OK"),
        response("503 Slow Down", b"<Error/>"),
        response("404 Not Found", b""),
        response(Content_Range=f"bytes 0-299999/{len(BODY)}"),
        response(body=EXPECTED[:-1]),
        response(Content_Length="299999"),
        response(Content_Encoding="gzip"),
        response()[:-1],
        response()[:100],
        b"",
        b"\r\n" * 20_000,
    ],
)
def test_an_unexpected_response_is_left_to_the_library_and_does_not_affect_the_next_request(unexpected: bytes) -> None:
    with server(unexpected[: len(EXPECTED)], response()) as (url, _):
        ranges = PlainRanges(lambda _: url, 5, 5)
        assert ranges.get("object", *RANGE) is None
        assert ranges.get("object", *RANGE) == EXPECTED


def test_after_some_failures_the_library_reads_everything_for_a_while() -> None:
    with server(*[response("503 Slow Down", b"")] * 3) as (url, connections):
        ranges = PlainRanges(lambda _: url, 5, 5)
        assert [ranges.get("object", *RANGE) for _ in range(10)] == [None] * 10
    assert len(connections) == 3


def test_a_server_that_sends_nothing_is_left_after_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/object"
        assert PlainRanges(lambda _: url, 5, 0.1).get("object", *RANGE) is None


def test_urls_with_tls_and_stores_that_cannot_sign_are_left_to_the_library() -> None:
    def refused(_: str) -> str:
        raise RuntimeError("cannot sign")

    for sign in (refused, lambda _: "https://127.0.0.1:1/object"):
        assert PlainRanges(sign, 5, 5).get("object", *RANGE) is None
