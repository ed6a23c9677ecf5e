"""Long headers and queries of repeated characters take time in proportion to their length."""

import contextlib
import time
from collections.abc import Callable

import pytest
from starlette.requests import Request

from facade import proxies
from facade.errors import Refusal
from facade.request.accept import parse_accept, preferred_coding
from facade.request.json_body import parse_json
from facade.request.query import parameters_of, require_utf8
from facade.request.ranges import range_of
from facade.request.rendering import parse_viewport, parse_window
from facade.request.search_query import parse_search

LONGEST = 64 * 1024
PIECES = ["a", "0", " ", "\t", '"', "\\", "a=", ";", ",", 'a="', "a;", "q=0.", "/", "-", "&a=", "[,", "/*", "*"]


def request(query: str = "", **headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "query_string": query.encode(), "headers": named})


PARSERS: dict[str, Callable[[str], object]] = {
    "Accept": parse_accept,
    "Accept-Encoding": lambda text: preferred_coding([text], ("zstd", "gzip")),
    "Accept-Charset": lambda text: require_utf8(request(accept_charset=text, prefer="handling=strict")),
    "Range": lambda text: range_of(request(range=f"bytes={text}")),
    "Host": proxies.is_host,
    "Forwarded": lambda text: proxies.forwarded({"forwarded": text}),
    "X-Forwarded-Prefix": lambda text: proxies.forwarded({"x-forwarded-prefix": text}),
    "query": lambda text: parse_search(parameters_of(request(text)), strict=False),
    "window": parse_window,
    "viewport": parse_viewport,
    "JSON": lambda text: parse_json(text.encode()),
}


@pytest.mark.parametrize("parser", PARSERS)
def test_the_time_to_parse_is_linear(parser: str) -> None:
    """Quadratic time would be seconds."""
    for piece in PIECES:
        text = piece * (LONGEST // len(piece))
        start = time.process_time()
        with contextlib.suppress(Refusal):
            PARSERS[parser](text)
        assert time.process_time() - start < 1, piece
