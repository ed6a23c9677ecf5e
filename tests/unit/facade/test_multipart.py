"""multipart/related according to RFC 2046 section 5.1, split anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade import multipart
from facade.multipart import (
    MAX_HEADER_BYTES,
    Event,
    MalformedMultipart,
    MultipartReader,
    MultipartWriter,
    PartBegin,
    PartEnd,
)

Parts = list[tuple[dict[str, str], bytes]]


def read(body: bytes, *, boundary: str = "b", cuts: list[int] | None = None) -> tuple[Parts, bool]:
    """Return headers and bytes of all parts, and whether the last one was complete."""
    reader = MultipartReader(boundary)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts or []), len(body)]
    events: list[Event] = []
    for start, end in pairwise(edges):
        events += reader.feed(body[start:end])
    events += reader.close()
    parts: Parts = []
    complete = True
    for event in events:
        match event:
            case PartBegin(headers):
                parts.append((headers, b""))
                complete = False
            case PartEnd():
                complete = True
            case data:
                parts[-1] = (parts[-1][0], parts[-1][1] + bytes(data))
    return parts, complete


def one(body: bytes) -> bytes:
    parts, complete = read(body)
    assert complete
    assert len(parts) == 1
    return parts[0][1]


def test_a_part_is_the_data_between_headers_and_delimiter() -> None:
    parts, complete = read(b"--b\r\nContent-Type: application/dicom\r\nX-Y:  z \r\n\r\nDICM\r\n--b--\r\n")

    assert parts == [({"content-type": "application/dicom", "x-y": "z"}, b"DICM")]
    assert complete


def test_preamble_and_epilogue_are_skipped() -> None:
    assert one(b"This is MIME.\r\n--b\r\n\r\nDICM\r\n--b--\r\nbye --b\r\n--b\r\n\r\nX") == b"DICM"


def test_a_line_break_may_come_before_the_first_delimiter() -> None:
    assert one(b"\r\n--b\r\n\r\nDICM\r\n--b--") == b"DICM"


def test_spaces_may_follow_a_delimiter() -> None:
    parts, _ = read(b"--b \t\r\n\r\nA\r\n--b  \r\n\r\nB\r\n--b--")
    assert [data for _, data in parts] == [b"A", b"B"]


def test_line_breaks_inside_a_part_are_kept() -> None:
    assert one(b"--b\r\n\r\n\r\n\r\nA\r\n\n\r\r\n\r\n--b--") == b"\r\n\r\nA\r\n\n\r\r\n"


def test_a_line_that_only_starts_with_the_delimiter_is_data() -> None:
    assert one(b"--b\r\n\r\nA\r\n--bc\r\nB\r\n--b--") == b"A\r\n--bc\r\nB"


def test_a_part_may_start_with_a_longer_delimiter() -> None:
    assert one(b"--b\r\n\r\n--bc\r\n--b--") == b"--bc"


@pytest.mark.parametrize("body", [b"--b\r\nA: b\r\n\r\n\r\n--b--", b"--b\r\nA: b\r\n\r\n--b--", b"--b\r\n\r\n--b--"])
def test_a_part_may_be_empty(body: bytes) -> None:
    assert one(body) == b""


def test_headers_may_be_folded() -> None:
    parts, _ = read(b"--b\r\nContent-Type: application/dicom;\r\n transfer-syntax=1.2\r\n\r\nA\r\n--b--")

    assert parts[0][0] == {"content-type": "application/dicom; transfer-syntax=1.2"}


def test_a_body_may_have_no_parts() -> None:
    assert read(b"--b--\r\n") == ([], True)


def test_an_empty_body_has_no_parts() -> None:
    assert read(b"") == ([], True)


def test_a_body_that_ends_inside_a_part_leaves_it_incomplete() -> None:
    assert read(b"--b\r\n\r\nA\r\n--b\r\n\r\nDIC") == ([({}, b"A"), ({}, b"DIC")], False)


def test_a_body_that_ends_directly_after_a_boundary_is_complete() -> None:
    assert read(b"--b\r\n\r\nA\r\n--b") == ([({}, b"A")], True)


def test_a_body_without_its_boundary_is_malformed() -> None:
    with pytest.raises(MalformedMultipart):
        read(b"--other\r\n\r\nA\r\n--other--")


def test_a_header_without_a_colon_is_malformed() -> None:
    with pytest.raises(MalformedMultipart):
        read(b"--b\r\nnonsense\r\n\r\nA\r\n--b--")


def test_too_long_headers_are_malformed() -> None:
    with pytest.raises(MalformedMultipart):
        read(b"--b\r\nA: " + b"x" * (MAX_HEADER_BYTES + 1))


@pytest.mark.parametrize("boundary", ["", "x" * 257, "ä", "a\r\nb"])
def test_an_invalid_boundary_is_malformed(boundary: str) -> None:
    with pytest.raises(MalformedMultipart):
        MultipartReader(boundary)


tricky = st.lists(st.sampled_from([b"\r", b"\n", b"--", b"-", b"b", b"\r\n--", b"\r\n--b", b"x", b" "]), max_size=12)


@given(st.lists(tricky.map(b"".join), max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_parts_are_unchanged_however_the_body_is_split(bodies: list[bytes], cuts: list[int]) -> None:
    # A boundary that occurs in no body, as the standard demands of writers; "b" is its beginning.
    framed = b"".join(b"--b~\r\nN: v\r\n\r\n" + data + b"\r\n" for data in bodies) + b"--b~--"

    assert read(framed, boundary="b~", cuts=cuts) == ([({"n": "v"}, data) for data in bodies], True)


@given(st.lists(tricky.map(b"".join), max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_large_chunks_are_views_and_unchanged(bodies: list[bytes], cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:  # as if these bodies were large
        patch.setattr(multipart, "_SMALL_BYTES", 2)
        patch.setattr(multipart, "_JOINED_BYTES", 3)
        test_parts_are_unchanged_however_the_body_is_split.hypothesis.inner_test(bodies, cuts)  # type: ignore[attr-defined]


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_body_is_parsed_or_malformed(body: bytes, cuts: list[int]) -> None:
    try:
        whole = read(b"--b\r\n" + body)
    except MalformedMultipart:
        with pytest.raises(MalformedMultipart):
            read(b"--b\r\n" + body, cuts=cuts)
    else:
        assert read(b"--b\r\n" + body, cuts=cuts) == whole


def test_the_reader_parses_the_output_of_the_writer() -> None:
    writer = MultipartWriter()
    content_type = writer.content_type("application/dicom")
    body = (
        writer.begin("application/dicom; transfer-syntax=1.2") + b"A" + writer.begin("text/plain") + b"B" + writer.end()
    )

    parts, complete = read(body, boundary=content_type.rpartition("boundary=")[2])

    assert content_type.startswith('multipart/related; type="application/dicom"; boundary=')
    assert parts == [
        ({"content-type": "application/dicom; transfer-syntax=1.2"}, b"A"),
        ({"content-type": "text/plain"}, b"B"),
    ]
    assert complete


def test_each_part_starts_as_viewers_expect() -> None:
    writer = MultipartWriter()
    boundary = writer.content_type("x/y").rpartition("=")[2]

    assert (
        writer.begin("x/y; transfer-syntax=1.2")
        == f"--{boundary}\r\nContent-Type: x/y; transfer-syntax=1.2\r\n\r\n".encode()
    )
    assert writer.begin("x/y").startswith(f"\r\n--{boundary}\r\nContent-Type: ".encode())
    assert writer.end() == f"\r\n--{boundary}--\r\n".encode()
