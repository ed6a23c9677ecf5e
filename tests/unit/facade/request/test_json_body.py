"""Small JSON bodies: accepted extensions of JSON, and the cost of parsing."""

import time

import orjson
import pytest

from facade.errors import Refusal
from facade.request.json_body import MAX_BYTES, _without_extras, parse_json

PATIENCE_S = 10
"""Reading a body once takes well below a second; reading it once for each of its characters takes hours."""


def test_comments_and_trailing_commas_are_removed() -> None:
    text = b'[{"a": 1, /* , ] */ "b": "x",}, // end }\n]'
    assert orjson.loads(_without_extras(text)) == [{"a": 1, "b": "x"}]


def test_strings_are_not_changed() -> None:
    text = rb'["// no comment", "/* nor this */", ",]", "a \" // b", "\\"]'
    assert _without_extras(text) == text


def test_an_unterminated_comment_is_invalid() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(_without_extras(b"[1] /* open"))


@pytest.mark.parametrize("levels", [255, 1000, 2000])
def test_a_body_that_is_nested_too_deeply_is_400(levels: int) -> None:
    for begin, end in ((b"[", b"]"), (b'{"a":', b"}")):
        with pytest.raises(Refusal) as refused:
            parse_json(begin * levels + b"1" + end * levels)
        assert refused.value.status == 400


@pytest.mark.parametrize("part", [b"/*", rb"\"", b"/*x", b", ", b'"/*', b"//", b"[", b",\n//\n"])
def test_the_longest_body_is_parsed_in_linear_time(part: bytes) -> None:
    for start in (b"", b'"', b"/*"):
        body = (start + part * MAX_BYTES)[:MAX_BYTES]
        began = time.monotonic()
        _without_extras(body)
        assert time.monotonic() - began < PATIENCE_S
