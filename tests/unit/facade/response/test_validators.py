"""Entity tags, conditions and ranges (RFC 9110 sections 13 and 14)."""

from types import SimpleNamespace

import pytest
from starlette.requests import Request

from facade.config import Settings
from facade.request.ranges import content_range, range_applies, range_of
from facade.response.validators import cached, entity_tag

SYNTAX = "1.2.840.10008.1.2.1"


def get(method: str = "GET", cache_seconds: int = 0, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    app = SimpleNamespace(state=SimpleNamespace(settings=Settings(cache_seconds=cache_seconds)))
    return Request({"type": "http", "method": method, "headers": raw, "app": app})


def test_a_response_has_a_strong_quoted_tag_of_its_version_and_form() -> None:
    said = cached(get(), 7, SYNTAX)

    assert said.headers == {"ETag": f'"7-{SYNTAX}"', "Cache-Control": "private, no-cache", "Vary": "Accept"}
    assert not said.is_known


def test_a_tag_has_only_characters_allowed_in_a_header() -> None:
    assert entity_tag(7, 'image/png; a="b"\r\n,ü') == '"7-image-png-a=-b-"'
    assert entity_tag("9-3", "") == '"9-3"'


def test_cache_seconds_allows_reuse_without_revalidation() -> None:
    headers = cached(get(cache_seconds=60), 7, SYNTAX).headers
    assert headers["Cache-Control"] == "private, max-age=60"
    assert headers["Vary"] == "Accept, msdicom-request-original"  # a cache must not reuse it for the original


@pytest.mark.parametrize(
    "condition",
    [
        f'"7-{SYNTAX}"',
        f"7-{SYNTAX}",
        f'W/"7-{SYNTAX}"',
        f'"6-{SYNTAX}", "7-{SYNTAX}"',
        f'"6-{SYNTAX}","7-{SYNTAX}" ',
        f"6-{SYNTAX}, 7-{SYNTAX}",
        "*",
    ],
)
def test_a_client_with_the_current_bytes_gets_304(condition: str) -> None:
    said = cached(get(if_none_match=condition), 7, SYNTAX)

    assert said.is_known
    assert said.not_modified().status_code == 304
    assert said.not_modified().headers["etag"] == f'"7-{SYNTAX}"'


@pytest.mark.parametrize("condition", ["", '"7"', f'"17-{SYNTAX}"', f'"7-{SYNTAX}.99"', f'"{SYNTAX}"', '"*"', "7"])
def test_a_client_with_other_bytes_gets_the_current_ones(condition: str) -> None:
    assert not cached(get(if_none_match=condition), 7, SYNTAX).is_known


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-65535", (0, 100)),
        ("bytes=10-", (10, 90)),
        ("bytes=99-99", (99, 1)),
        ("bytes=-5", (95, 5)),
        ("bytes=-500", (0, 100)),
        ("Bytes = 3 - 4", (3, 2)),
        ("bytes=100-", None),
        ("bytes=-0", None),
    ],
)
def test_a_range_is_limited_to_the_body(text: str, expected: tuple[int, int] | None) -> None:
    requested = range_of(get(range=text))
    assert requested is not None
    part = requested.within(100)

    assert (part and (part.offset_bytes, part.length_bytes)) == expected


@pytest.mark.parametrize("text", ["", "bytes=", "bytes=-", "bytes=5-3", "bytes=1-2,4-5", "lines=0-1", "bytes=a-b"])
def test_anything_but_a_single_range_is_ignored(text: str) -> None:
    assert range_of(get(range=text)) is None


def test_a_range_is_for_get_only() -> None:
    assert range_of(get("HEAD", range="bytes=0-1")) is None


def test_a_range_is_converted_for_the_core() -> None:
    requested, open_end = range_of(get(range="bytes=5-9")), range_of(get(range="bytes=5-"))
    assert requested is not None
    assert open_end is not None

    assert (requested.for_core().offset_bytes, requested.for_core().length_bytes) == (5, 5)
    assert (open_end.for_core().offset_bytes, open_end.for_core().length_bytes) == (5, 0)
    assert range_of(get(range="bytes=-5")).needs_size  # type: ignore[union-attr]


def test_content_range_gives_the_position_of_a_range() -> None:
    requested = range_of(get(range="bytes=5-9"))
    assert requested is not None
    part = requested.within(8)
    assert part is not None

    assert content_range(part, 8) == "bytes 5-7/8"


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [('"7-a"', True), ("7-a", True), ('"8-a"', False), ('W/"7-a"', False), ("Sun, 22 Nov 2026 10:00:00 GMT", False)],
)
def test_if_range_must_match_the_current_tag(condition: str, wanted: bool) -> None:
    assert range_applies(get(if_range=condition), '"7-a"') is wanted
    assert range_applies(get(), '"7-a"')
