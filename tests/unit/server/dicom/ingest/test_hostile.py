"""Arbitrary bytes give a description or a DicomStoreError, and nothing else, in bounded time."""

import contextlib
import random
import struct
import time
import tracemalloc
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from server.dicom.ingest.describe import MAX_FINDINGS
from server.dicom.ingest.reader import WINDOW_BYTES, Description, InstanceReader
from server.model.errors import DicomStoreError, Reason
from tests import data
from tests.data import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG_BASELINE, element, part10, part10_of, sequence
from tests.unit.server.dicom.reading import INDEXED_STRICT, LENIENT, read

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NESTED = [
    sequence(0x00081140, [sequence(0x00081140, [element(0x00080020, "DA", b"20200101")], undefined=True)]),
    element(0x00090010, "LO", b"CREATOR "),
    element(0x00091001, "UN", b"abcdef"),
    element(0x00104000, "LT", b"some text " * 5),
    element(0x00420011, "OB", b"x" * 40),
]
FILES = [
    part10(frames=[b"abcd", b"efgh"], ImageType=["A", "B"], PatientWeight="70.5", PatientName="A^B=C"),
    part10(transfer_syntax=IMPLICIT_LITTLE, frames=[b"abcd"], LargestImagePixelValue=3),
    part10(transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8\xff0", b"12"], [b"\xff\xd8\xff4"]]),
    part10_of([*data.required_elements(), *NESTED]),
    part10(transfer_syntax=DEFLATED, frames=[b"abcdefgh" * 9]),
]
REAL = ["CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "rtplan.dcm", "priv_SQ.dcm", "UN_sequence.dcm"]


def _outcome(file: bytes, mode=LENIENT, chunk: int = 1 << 20):
    """Return the description or the reason; other exceptions fail the test."""
    try:
        return read(file, mode, chunk=chunk, max_header_bytes=1 << 20)
    except DicomStoreError as error:
        return error.reason


@pytest.mark.parametrize("file", FILES, ids=range(len(FILES)))
def test_truncation_at_every_offset(file: bytes) -> None:
    for end in range(len(file)):
        assert _outcome(file[:end]) == _outcome(file[:end], chunk=61)


@pytest.mark.parametrize("name", REAL)
def test_truncation_of_real_files(name: str) -> None:
    with open(str(get_testdata_file(name)), "rb") as stream:
        file = stream.read(6000)
    for end in range(0, len(file), 7):
        _outcome(file[:end], INDEXED_STRICT)


@pytest.mark.parametrize("file", FILES, ids=range(len(FILES)))
def test_every_byte_replaced(file: bytes) -> None:
    for at in range(128, len(file)):
        for value in (0x00, 0xFF, 0x41):
            _outcome(file[:at] + bytes([value]) + file[at + 1 :])


@quick
@given(
    file=st.sampled_from(FILES),
    edits=st.lists(st.tuples(st.integers(132, 900), st.integers(0, 12), st.binary(max_size=12)), max_size=5),
    chunk=st.integers(1, 2000),
    mode=st.sampled_from([LENIENT, INDEXED_STRICT]),
)
def test_mutations(file: bytes, edits: list[tuple[int, int, bytes]], chunk: int, mode) -> None:
    for at, removed, added in edits:
        file = file[:at] + added + file[at + removed :]
    assert _outcome(file, mode) == _outcome(file, mode, chunk)


@quick
@given(
    body=st.binary(max_size=600), syntax=st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, data.EXPLICIT_BIG, "1.2.3"])
)
def test_any_data_set(body: bytes, syntax: str) -> None:
    _outcome(data.file_head(syntax) + body)


_HEADS = st.sampled_from(
    [0x00080005, 0x00081140, 0x00280103, 0x00280106, 0x00283006, 0x7FE00010, 0x7FE00001, 0xFFFEE000]
)
_HEADS |= st.sampled_from(
    [0xFFFEE00D, 0xFFFEE0DD, 0x00090010, 0x00091001, 0x00020010, 0x00100020, 0x0020000D, 0x00000002]
)
_LENGTHS = st.sampled_from([0, 1, 2, 4, 8, 14, 60, 0xFFFE, 0xFFFFFFFE, 0xFFFFFFFF])


@st.composite
def _soup(draw: st.DrawFn) -> bytes:
    """Well-formed headers with arbitrary lengths and contents."""
    form = draw(st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE]))
    pieces = []
    for tag in draw(st.lists(_HEADS, max_size=12)):
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        length = draw(_LENGTHS)
        if form == EXPLICIT_LITTLE and tag >> 16 != 0xFFFE:
            head += draw(st.sampled_from([b"SQ", b"UN", b"OW", b"UT", b"OB"])) + b"\0\0"
        pieces.append(head + struct.pack("<I", length) + draw(st.binary(max_size=min(length, 60))))
    return data.file_head(form) + b"".join(pieces)


@quick
@given(file=_soup(), chunk=st.integers(1, 200))
def test_any_structure(file: bytes, chunk: int) -> None:
    assert _outcome(file) == _outcome(file, chunk=chunk)


def _seconds(file: bytes, chunk: int = 1 << 20) -> float:
    start = time.process_time()
    with contextlib.suppress(DicomStoreError):
        read(file, chunk=chunk, max_header_bytes=1 << 26)
    return time.process_time() - start


HOSTILE = {
    "items": lambda n: part10_of([*data.required_elements(), sequence(0x00081140, [b""] * n, undefined=True)]),
    "open sequences": lambda n: part10_of(
        b"".join([b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"] * n)
    ),
    "elements of one tag": lambda n: part10_of([element(0x00280010, "US", b"\1\0")] * n),
    "backslashes": lambda n: part10_of([*data.required_elements(), element(0x00104001, "UT", b"\\" * n)]),
    "spaces": lambda n: part10_of([*data.required_elements(), element(0x00104001, "UT", b"a" + b" " * n + b"\n")]),
    "escapes": lambda n: part10_of([*data.required_elements(), element(0x00104001, "UT", b"\x1b" * n)]),
    "values": lambda n: part10_of([*data.required_elements(), element(0x00189900, "UC", b"1\\" * n)]),
    "delimiters": lambda n: part10_of(b"\xfe\xff\x0d\xe0\0\0\0\0" * n),
    "fragments": lambda n: part10_of(
        [element(0x7FE00010, "OB", b"\xfe\xff\0\xe0\0\0\0\0" * n, length=0xFFFFFFFF), b"\xfe\xff\xdd\xe0\0\0\0\0"]
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_parsing_takes_linear_time(kind: str) -> None:
    shorter, longer = (min(_seconds(HOSTILE[kind](n), 4096) for _ in range(2)) for n in (4_000, 32_000))
    assert longer < max(shorter, 0.002) * 30  # linear would be 8, quadratic 64


def test_a_value_in_tiny_chunks_takes_linear_time() -> None:
    file = part10_of([*data.required_elements(), element(0x00104001, "UT", b"a" * 200_000)])
    assert _seconds(file, chunk=1) < 2.0


def test_a_deflate_bomb_is_inflated_in_bounded_memory() -> None:
    deflate = zlib.compressobj(9, wbits=-15)
    head = b"".join(data.required_elements()) + element(0x7FE00010, "OB", b"", length=200_000_000)
    body = deflate.compress(head)
    for _ in range(200):
        body += deflate.compress(bytes(1_000_000))
    body += deflate.flush()
    found = _outcome(data.file_head(DEFLATED) + body)
    assert found.pixels is not None
    assert found.pixels.length == 200_000_000


_DATE = element(0x00080020, "DA", b"20200101")


def _outcomes(file: bytes, *, max_header_bytes: int = 1 << 20) -> list[object]:
    """Return the outcome of a file for chunks, and windows of the reader, of several sizes."""
    found: list[object] = []
    for chunk in (1, 3, 64, 200, 1 << 20):
        try:
            found.append(read(file, chunk=chunk, max_header_bytes=max_header_bytes))
        except DicomStoreError as error:
            found.append(error.reason)
    return found


def test_a_search_for_the_end_of_fragments_ends_with_the_item_that_contains_them() -> None:
    garbage = element(0x00420011, "OB", b"\xff" * 100, length=0xFFFFFFFF)
    file = part10_of(
        [*data.required_elements(), sequence(0x00400275, [garbage]), element(0x00400555, "SQ", b""), _DATE]
    )
    first, *others = _outcomes(file)
    assert isinstance(first, Description)
    assert b'"00400275":{"vr":"SQ","Value":[{"00420011"' in first.dicom_json
    assert b'"00080020"' in first.dicom_json
    assert others == [first] * 4


def test_looking_ahead_does_not_count_as_header() -> None:
    """An element with an unknown VR is understood by what follows its value."""
    unknown = struct.pack("<HH2sH", 0x0040, 0x9999, b"XX", 3000) + bytes(3000)
    file = part10_of([*data.required_elements(), unknown, element(0x00420012, "LO", b"text")])
    for limit in (2000, 3300, 4000):
        first, *others = _outcomes(file, max_header_bytes=limit)
        assert others == [first] * 4


def test_an_item_shows_that_an_element_without_vr_is_a_sequence() -> None:
    """In implicit VR, whatever the dictionary says: 0040,0553 is ST."""
    file = part10_of(
        [
            *data.required_elements(IMPLICIT_LITTLE),
            sequence(
                0x00400553, [element(0x00080020, "DA", b"20200101", IMPLICIT_LITTLE)], IMPLICIT_LITTLE, undefined=True
            ),
        ],
        IMPLICIT_LITTLE,
    )
    assert b'"00400553":{"vr":"SQ","Value":[{"00080020":' in read(file).dicom_json


def test_the_limit_of_the_header_includes_meta_information_in_all_chunks() -> None:
    file = part10(PatientComments="x")
    end = len(data.file_head()) + 200
    for limit in range(end - 250, end, 7):
        first, *others = _outcomes(file, max_header_bytes=limit)
        assert others == [first] * 4


def test_a_header_over_the_limit_is_reported_before_later_faults() -> None:
    file = part10_of([*data.required_elements(), element(0x00104000, "UT", b"x" * 300), b"\xff" * 12 + b"garbage"])
    assert _outcomes(file) == [Reason.UNREADABLE_INSTANCE] * 5
    assert _outcomes(file, max_header_bytes=400) == [Reason.HEADER_TOO_LARGE] * 5


def _long_file(syntax: str) -> bytes:
    """Return a file of several windows of the reader."""
    texts = [element(0x00291000 + number, "UT", b"%07d " % number * number) for number in range(100)]
    bulk = [element(0x00420011, "OB", random.Random(1).randbytes(50_000)), element(0x7FE00010, "OW", bytes(6))]
    return part10_of([*data.required_elements(), *texts, *bulk], syntax)


@pytest.mark.parametrize("chunk", [1, 100, WINDOW_BYTES[0] - 1, 3 * WINDOW_BYTES[0] + 5])
@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, DEFLATED])
def test_the_outcome_does_not_depend_on_the_chunks_of_a_file(syntax: str, chunk: int) -> None:
    def outcome(body: bytes, limit: int, size: int) -> object:
        reader = InstanceReader(LENIENT, limit)
        try:
            for start in range(0, len(body), size):
                reader.feed(memoryview(body)[start : start + size])
            return reader.finish()
        except DicomStoreError as error:
            return error.reason

    file = _long_file(syntax)
    middle = len(file) // 2
    damaged = file[:middle] + b"\xff" * 100 + file[middle + 100 :]
    for body in (file, file[:middle], damaged):
        for limit in (1 << 20, 25_000):
            assert outcome(body, limit, chunk) == outcome(body, limit, len(body))
    assert isinstance(outcome(file, 1 << 20, chunk), Description)
    assert outcome(file, 25_000, chunk) is Reason.HEADER_TOO_LARGE


@pytest.mark.parametrize(
    ("syntax", "elements"),
    [
        # A group length in the group of items is a delimiter of eight bytes, whatever its length.
        (
            IMPLICIT_LITTLE,
            [
                element(0xFFFE0000, "UL", b"x" * 49, IMPLICIT_LITTLE),
                element(0x00400555, "LO", b"text", IMPLICIT_LITTLE),
            ],
        ),
        (IMPLICIT_LITTLE, [element(0xFFFE0000, "UL", b"", IMPLICIT_LITTLE, length=300)]),
        # Anything may follow padding, whatever its value representation.
        (EXPLICIT_LITTLE, [element(0xFFFCFFFC, "LO", b""), b"not an element: padding"]),
        (EXPLICIT_LITTLE, [element(0xFFFCFFFC, "LO", b"x" * 40), b"not an element: padding"]),
    ],
    ids=range(4),
)
def test_complete_and_incomplete_elements_have_the_same_meaning(syntax: str, elements: list[bytes]) -> None:
    first, *others = _outcomes(part10_of([*data.required_elements(syntax), *elements], syntax))
    assert others == [first] * 4


def test_a_table_of_offsets_counts_as_header() -> None:
    items = data.encapsulated([[b"\xff\xd8ab"], [b"\xff\xd8cd"]], basic_offset_table=False)[8:]
    table = b"\xfe\xff\0\xe0" + struct.pack("<I", 8000) + bytes(8000)
    pixels = element(0x7FE00010, "OB", table + items, length=0xFFFFFFFF)
    for end in (b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xfe\xff\0\xe0\xff\xff\xff\xff"):  # the second is unreadable
        file = part10_of([*data.required_elements(), pixels, end], JPEG_BASELINE)
        assert _outcomes(file, max_header_bytes=8000) == [Reason.HEADER_TOO_LARGE] * 5
        first, *others = _outcomes(file, max_header_bytes=9000)
        assert first is not Reason.HEADER_TOO_LARGE
        assert others == [first] * 4


def test_bulk_data_of_an_element_that_occurs_again_is_not_listed() -> None:
    long, short = (element(0x00420011, "OB", b"x" * size) for size in (2000, 4))
    found = read(part10_of([*data.required_elements(), long, short, element(0x00420012, "LO", b"a ")]))
    assert found.bulk == ()
    assert b'"00420011":{"vr":"OB","InlineBinary":"eHh4eA=="}' in found.dicom_json


def _deep(elements: list[bytes]) -> bytes:
    """Return a file with elements in an item 60 levels deep."""
    nested = b"".join(elements)
    for _ in range(60):
        nested = sequence(0x0040A730, [nested], undefined=True)
    return part10_of([*data.required_elements(), nested])


def test_entries_of_bulk_data_count_as_header() -> None:
    """A float that is NaN is bulk data. Twelve bytes, nested deeply, have an entry with a path of 700 characters."""
    file = _deep([element(0x00189000 + number, "FL", b"\0\0\xc0\x7f") for number in range(1000)])
    assert len(file) < 16_000
    assert _outcomes(file, max_header_bytes=1 << 20) == [Reason.HEADER_TOO_LARGE] * 5
    assert len(read(file, max_header_bytes=1 << 22).bulk) == 1000
    reader = InstanceReader(LENIENT, 1 << 20)
    with pytest.raises(DicomStoreError):
        reader.feed(file)
    assert reader.header_bytes < (1 << 20) + 4096  # also within one chunk


def test_faults_in_items_take_bounded_memory() -> None:
    wrong = [element(0x00400000 + number, "DA", b"xx") for number in range(1, 8_000)]
    tracemalloc.start()
    try:
        found = read(_deep(wrong))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.findings) == MAX_FINDINGS
    assert peak_bytes < 10_000_000  # of which the recorded paths are less than 3 MB, instead of 16


def test_a_fault_at_the_top_level_is_recorded_after_many_in_items() -> None:
    items = [element(0x00400000 + number, "DA", b"xx") for number in range(1, 3000)]
    file = part10_of([*data.required_elements(), sequence(0x00400275, items), element(0x00400002, "DA", b"xx")])
    assert "00400002" in read(file).invalid_tags


def test_a_sequence_with_a_delimiter_before_its_end_is_read_in_the_same_way_each_time() -> None:
    """Equal sequences of several files are parsed once."""
    delimiter = b"\xfe\xff\xdd\xe0\0\0\0\0"
    items = b"\xfe\xff\0\xe0\x10\0\0\0" + _DATE + delimiter + element(0x00400555, "SQ", b"")
    file = part10_of([*data.required_elements(), element(0x00400275, "SQ", items)])
    first, *others = (*_outcomes(file), *_outcomes(file))
    assert b'"00400555"' in read(file).dicom_json
    assert others == [first] * 9
