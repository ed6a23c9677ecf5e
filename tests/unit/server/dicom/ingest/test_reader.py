"""The reader: descriptions of files."""

import json
import struct

import pytest

from server.dicom.ingest.reader import WINDOW_BYTES, InstanceReader
from server.model.errors import Exhausted, InvalidRequest, Reason
from tests import data
from tests.data import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, element, part10, part10_of, sequence
from tests.unit.server.dicom.reading import LENIENT, STRICT, json_of, read

ALL_SYNTAXES = [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]


def _with(*elements: bytes, syntax: str = EXPLICIT_LITTLE) -> bytes:
    return part10_of([*data.required_elements(syntax), *elements], syntax)


@pytest.mark.parametrize("syntax", ALL_SYNTAXES)
def test_identity_is_read_in_every_native_transfer_syntax(syntax: str) -> None:
    found = read(
        part10(transfer_syntax=syntax, SOPInstanceUID="1.2.3", StudyInstanceUID="1.2", SeriesInstanceUID="1.22")
    )
    assert (found.study_uid, found.series_uid, found.sop_uid) == ("1.2", "1.22", "1.2.3")
    assert found.sop_class_uid == data.SECONDARY_CAPTURE
    assert found.transfer_syntax_uid == syntax
    assert found.is_implicit == (syntax == IMPLICIT_LITTLE)
    assert found.errors == found.findings == ()


def test_json_is_canonical() -> None:
    text = read(part10(PatientName="A^B", Rows=2, frames=[b"ab"])).dicom_json.decode()
    parsed = json.loads(text)
    assert text == json.dumps(parsed, ensure_ascii=False, separators=(",", ":"))
    assert list(parsed) == sorted(parsed)
    assert not any(tag.startswith("0002") for tag in parsed)


def test_available_transfer_syntax_uid_is_added_and_replaces_one_in_the_file() -> None:
    stored = element(0x00083002, "UI", data.padded_uid("1.2.3"))
    required = data.required_elements()
    found = read(part10_of([*required[:2], stored, *required[2:]]))
    assert json_of(found)["00083002"] == {"vr": "UI", "Value": [EXPLICIT_LITTLE]}
    assert found.instance.elements["00083002"]["Value"] == [EXPLICIT_LITTLE]


def test_elements_are_sorted_and_the_last_of_duplicates_is_used() -> None:
    found = read(
        _with(
            element(0x00280011, "US", b"\2\0"),
            element(0x00280010, "US", b"\1\0"),
            element(0x00280011, "US", b"\3\0"),
        )
    )
    keys = list(json_of(found))
    assert keys == sorted(keys)
    assert json_of(found)["00280011"]["Value"] == [3]


def test_small_binary_values_are_inline_and_larger_ones_are_bulk_data() -> None:
    found = read(_with(element(0x00420011, "OB", b"a" * 1024), element(0x00660016, "OF", b"b" * 1028)))
    parsed = json_of(found)
    assert len(parsed["00420011"]["InlineBinary"]) == 1368
    assert parsed["00660016"] == {"vr": "OF", "BulkDataURI": "bulkdata:00660016"}
    (bulk,) = found.bulk
    assert (bulk.path, bulk.vr, bulk.length) == ("00660016", "OF", 1028)


def test_bulk_data_is_located_at_any_depth() -> None:
    value = bytes(range(256)) * 8
    item = element(0x54001010, "OW", value)
    file = _with(sequence(0x54000100, [element(0x54000110, "OB", b"ab"), item], undefined=True))
    found = read(file, chunk=100)
    (bulk,) = found.bulk
    assert bulk.path == "54000100/2/54001010"
    assert file[bulk.offset : bulk.offset + bulk.length] == value
    assert json_of(found)["54000100"]["Value"][1]["54001010"]["BulkDataURI"] == "bulkdata:54000100/2/54001010"


def test_big_endian_words_become_little_endian_in_json() -> None:
    found = read(_with(element(0x00281201, "OW", b"\0\1\0\2", EXPLICIT_BIG), syntax=EXPLICIT_BIG))
    assert json_of(found)["00281201"]["InlineBinary"] == "AQACAA=="


def test_empty_values_have_only_a_vr() -> None:
    found = read(part10(StudyDate="", PatientName="", Rows=None, ReferencedImageSequence=[]))
    parsed = json_of(found)
    assert parsed["00080020"] == {"vr": "DA"}
    assert parsed["00100010"] == {"vr": "PN"}
    assert parsed["00081140"] == {"vr": "SQ"}


def _sequence_head(tag: int, form: str, vr: bytes = b"SQ") -> bytes:
    """Return the header of a sequence of undefined length."""
    order = ">" if form == EXPLICIT_BIG else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    return head + (b"" if form == IMPLICIT_LITTLE else vr + b"\0\0") + b"\xff\xff\xff\xff"


@pytest.mark.parametrize("syntax", ALL_SYNTAXES)
def test_an_empty_sequence_has_no_value_and_empty_items_are_kept(syntax: str) -> None:
    """PS3.18 section F.2.5."""
    end = struct.pack(">HHI" if syntax == EXPLICIT_BIG else "<HHI", 0xFFFE, 0xE0DD, 0)
    empty = [
        sequence(0x00081110, [], syntax),
        _sequence_head(0x00081111, syntax) + end,
        element(0x00081115, "UN", b"", syntax),
        *([_sequence_head(0x00081120, syntax, b"UN") + end] if syntax != EXPLICIT_BIG else []),
    ]
    full = [sequence(0x00081140, [b""], syntax), sequence(0x00081199, [b"", b""], syntax, undefined=True)]
    nested = sequence(0x0040A730, [b"".join([*empty, *full])], syntax, undefined=True)
    found = json_of(read(_with(*empty, *full, nested, syntax=syntax)))
    for data_set in (found, found["0040A730"]["Value"][0]):
        assert [data_set[f"{one:08X}"] for one in (0x00081110, 0x00081111, 0x00081115)] == [{"vr": "SQ"}] * 3
        assert data_set.get("00081120", {"vr": "SQ"}) == {"vr": "SQ"}
        assert data_set["00081140"] == {"vr": "SQ", "Value": [{}]}
        assert data_set["00081199"] == {"vr": "SQ", "Value": [{}, {}]}


@pytest.mark.parametrize("chunk", [1, 1 << 20])
@pytest.mark.parametrize("syntax", ALL_SYNTAXES)
def test_group_lengths_are_left_out_of_the_metadata(syntax: str, chunk: int) -> None:
    """PS3.18 section F.2.2: at any depth, public or private, with any VR."""
    lengths = [element(tag, "UL", b"\1\2\3\4", syntax) for tag in (0x00080000, 0x00090000, 0x00100000, 0x7FE00000)]
    odd = [element(0x00110000, "OB", bytes(2000), syntax), sequence(0x00130000, [b""], syntax)]
    other = element(0x00080050, "SH", b"A1", syntax)
    nested = sequence(0x00081140, [b"".join([*lengths, *odd, other])], syntax)
    found = read(_with(*lengths, *odd, other, nested, syntax=syntax), chunk=chunk)
    plain = read(_with(other, sequence(0x00081140, [other], syntax), syntax=syntax))
    assert (found.dicom_json, found.bulk, found.findings) == (plain.dicom_json, (), ())


@pytest.mark.parametrize("syntax", ALL_SYNTAXES)
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_floats_that_are_not_finite_are_bulk_data_at_any_depth(syntax: str, chunk: int) -> None:
    order = ">" if syntax == EXPLICIT_BIG else "<"
    doubles = struct.pack(f"{order}4d", 1.5, float("nan"), float("inf"), float("-inf"))
    singles = struct.pack(f"{order}2f", float("-inf"), 2.5)
    many = struct.pack(f"{order}9000f", *[0.5] * 8999, float("nan"))
    finite = struct.pack(f"{order}2d", 1.5, 1.7976931348623157e308)
    item = element(0x00189220, "FD", doubles, syntax) + element(0x00700022, "FL", singles, syntax)
    file = _with(
        element(0x00189220, "FD", doubles, syntax),
        element(0x00189087, "FD", finite, syntax),
        sequence(0x00189117, [item], syntax),
        element(0x00700022, "FL", many, syntax),
        syntax=syntax,
    )
    found = read(file, chunk=chunk)
    parsed = json.loads(found.dicom_json, parse_constant=pytest.fail)
    assert parsed["00189220"] == {"vr": "FD", "BulkDataURI": "bulkdata:00189220"}
    assert parsed["00189087"]["Value"] == [1.5, 1.7976931348623157e308]
    inner = parsed["00189117"]["Value"][0]
    assert inner["00700022"] == {"vr": "FL", "BulkDataURI": "bulkdata:00189117/1/00700022"}
    assert [(bulk.path, bulk.vr, bulk.length) for bulk in found.bulk] == [
        ("00189220", "FD", 32),
        ("00189117/1/00189220", "FD", 32),
        ("00189117/1/00700022", "FL", 8),
        ("00700022", "FL", 36_000),
    ]
    if syntax != DEFLATED:
        values = [file[bulk.offset : bulk.offset + bulk.length] for bulk in found.bulk]
        assert values == [doubles, doubles, singles, many]
    assert found.findings == ()


def test_number_strings_that_json_cannot_represent_stay_strings() -> None:
    decimals = element(0x00281050, "DS", b"1\\1e999\\NaN\\-Infinity\\1_0")
    integers = element(0x00280008, "IS", b"1_0\\12")
    parsed = json.loads(read(_with(integers, decimals), STRICT).dicom_json, parse_constant=pytest.fail)
    assert parsed["00281050"]["Value"] == [1.0, "1e999", "NaN", "-Infinity", "1_0"]
    assert parsed["00280008"]["Value"] == ["1_0", 12]


def test_pixel_representation_may_follow_an_element_that_depends_on_it() -> None:
    early = sequence(0x00081140, [element(0x00280106, "US", b"\xff\xff", IMPLICIT_LITTLE)], IMPLICIT_LITTLE)
    zero_velocity = element(0x00189810, "SS", b"\xfe\xff", IMPLICIT_LITTLE)
    signed = element(0x00280103, "US", b"\1\0", IMPLICIT_LITTLE)
    required = data.required_elements(IMPLICIT_LITTLE)
    found = read(part10_of([*required[:2], early, required[2], zero_velocity, *required[3:], signed], IMPLICIT_LITTLE))
    assert json_of(found)["00189810"] == {"vr": "SS", "Value": [-2]}
    assert json_of(found)["00081140"]["Value"] == [{"00280106": {"vr": "SS", "Value": [-1]}}]


def test_private_elements_without_vr_are_looked_up_by_their_creator() -> None:
    block = [
        element(0x00090010, "LO", b"GEMS_IDEN_01", IMPLICIT_LITTLE),
        element(0x00091001, "LO", b"GE_GENESIS_FF ", IMPLICIT_LITTLE),
        element(0x000910FE, "UN", b"??", IMPLICIT_LITTLE),
    ]
    required = data.required_elements(IMPLICIT_LITTLE)
    parsed = json_of(read(part10_of([*required[:2], *block, *required[2:]], IMPLICIT_LITTLE)))
    assert parsed["00090010"] == {"vr": "LO", "Value": ["GEMS_IDEN_01"]}
    assert parsed["00091001"] == {"vr": "LO", "Value": ["GE_GENESIS_FF"]}
    assert parsed["000910FE"] == {"vr": "UN", "InlineBinary": "Pz8="}


def test_unknown_of_undefined_length_is_a_sequence_of_implicit_items() -> None:
    content = sequence(
        0x00091001, [element(0x00080100, "SH", b"code", IMPLICIT_LITTLE)], IMPLICIT_LITTLE, undefined=True
    )
    unknown = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + content[8:]
    required = data.required_elements()
    parsed = json_of(read(part10_of([*required[:2], unknown, *required[2:]])))
    assert parsed["00091001"] == {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["code"]}}]}


def test_missing_transfer_syntax_is_guessed_from_the_first_element() -> None:
    for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG):
        body = b"".join(data.required_elements(syntax))
        meta = element(0x00020000, "UL", struct.pack("<I", 14)) + element(0x00020001, "OB", b"\0\1")
        found = read(bytes(128) + b"DICM" + meta + body)
        assert found.transfer_syntax_uid == syntax
        assert found.study_uid == f"{data.UID_ROOT}.1"


def test_multiple_values_of_a_search_key_are_reported() -> None:
    assert read(part10(AccessionNumber="A")).has_multiple_values is False
    assert read(part10(AccessionNumber=["A", "B"])).has_multiple_values is True
    assert read(part10(OtherPatientIDs=["A", "B"])).has_multiple_values is False


def test_search_and_return_keys_come_from_the_same_pass() -> None:
    found = read(part10(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100", InstanceNumber=7))
    assert found.study.keys["PatientName"] == "muller^jorg"
    assert found.study.elements["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert found.instance.keys["InstanceNumber"] == "7"


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"DICM",
        bytes(132),
        b"<html>" * 40,
        data.file_head()[:150],
        part10()[:-1],
        _with(element(0x00280010, "US", b"\1\0", length=4)),
        _with(sequence(0x00081140, [b""], undefined=True)[:-8]),
        part10(transfer_syntax=DEFLATED)[:-12],
        data.file_head(DEFLATED) + b"\xff" * 100,
        _with(b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\x08\0\x40\x11SQ\0\0"),
        _with(b"\xfe\xff\0\xe0\0\0\0\0" + bytes(8)),
    ],
    ids=range(12),
)
def test_a_file_that_is_not_dicom_or_truncated_is_refused(file: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read(file)
    assert refusal.value.reason is Reason.UNREADABLE_INSTANCE


def test_a_wrong_prefix_is_refused_before_the_end_of_the_file() -> None:
    reader = InstanceReader(LENIENT, 1 << 20)
    with pytest.raises(InvalidRequest):
        reader.feed(b"\x89PNG" + bytes(WINDOW_BYTES[0]))


def test_a_header_over_the_limit_is_refused_before_all_of_it_is_read() -> None:
    reader = InstanceReader(LENIENT, 10_000)
    with pytest.raises(Exhausted) as refusal:
        reader.feed(data.file_head() + element(0x00080001, "UT", b"", length=1 << 30) + bytes(WINDOW_BYTES[0]))
    assert refusal.value.reason is Reason.HEADER_TOO_LARGE


@pytest.mark.parametrize(
    "start",
    [
        data.file_head() + element(0x00080001, "UT", b"", length=1 << 30),
        data.file_head() + element(0x00080001, "LT", b"", IMPLICIT_LITTLE, length=1 << 30),
        bytes(128) + b"DICM" + element(0x00020102, "OB", b"", length=1 << 30),
    ],
    ids=["explicit", "implicit", "file meta information"],
)
def test_an_element_over_the_limit_that_exceeds_the_file_counts_as_truncated(start: bytes) -> None:
    reader = InstanceReader(LENIENT, 10_000)
    with pytest.raises(Exhausted):
        reader.feed(start + bytes(WINDOW_BYTES[0]))
    assert reader.is_cut_off_at(len(start) + (1 << 30) - 1)
    assert not reader.is_cut_off_at(len(start) + (1 << 30))


def test_many_elements_over_the_limit_do_not_count_as_truncated() -> None:
    reader = InstanceReader(LENIENT, 5_000)
    file = _with(*(element(0x00291000 + i, "LO", b"a" * 60) for i in range(200)))
    with pytest.raises(Exhausted):
        reader.feed(file)
    assert not reader.is_cut_off_at(len(file))


def test_bulk_values_do_not_count_against_the_header_limit() -> None:
    file = _with(element(0x00420011, "OB", bytes(200_000)), element(0x7FE00010, "OW", bytes(300_000)))
    assert read(file, chunk=1000, max_header_bytes=2_000).pixels is not None


def test_many_small_elements_count_against_the_header_limit() -> None:
    file = _with(*(element(0x00291000 + i, "LO", b"a" * 60) for i in range(200)))
    with pytest.raises(Exhausted):
        read(file, chunk=512, max_header_bytes=5_000)


def test_nesting_depth_is_limited() -> None:
    deep = b""
    for _ in range(100):
        deep = sequence(0x00081140, [deep])
    with pytest.raises(InvalidRequest):
        read(_with(deep))


def test_elements_after_pixel_data_are_read() -> None:
    file = part10(frames=[b"abcd"], DataSetTrailingPadding=b"\0\0")
    found = read(file, chunk=3)
    assert "FFFCFFFC" in json_of(found)
    assert found.pixels is not None


@pytest.mark.parametrize("chunk", [1, 100, 3000])
def test_a_file_may_end_with_a_bulk_value_in_an_item(chunk: int) -> None:
    file = _with(sequence(0x54000100, [element(0x54001010, "OW", bytes(4000))]))
    assert read(file, chunk=chunk) == read(file)


def test_padding_after_the_last_element_is_ignored() -> None:
    file = part10()
    assert read(file + b"\0" * 7).dicom_json == read(file).dicom_json


def test_a_cached_sequence_gives_the_same_json_bulk_data_and_findings() -> None:
    bulk = sequence(0x54000100, [element(0x54001010, "OW", bytes(1026))])
    invalid = sequence(0x00081140, [element(0x00080020, "DA", b"bogus ")])
    text = sequence(0x00081115, [element(0x00080104, "LO", b"\xc4\xe9")])
    latin, greek = (element(0x00080005, "CS", term) for term in (b"ISO_IR 100", b"ISO_IR 126"))
    required = data.required_elements()
    files = [
        part10_of([charset, *required[:2], text, invalid, *required[2:], bulk]) for charset in (latin, greek, latin)
    ]
    first, other, again = (read(file) for file in files)
    assert first == again
    assert json_of(first)["00081115"]["Value"][0]["00080104"]["Value"] == ["Äé"]
    assert json_of(other)["00081115"]["Value"][0]["00080104"]["Value"] == ["Δι"]
    assert [finding.tag for finding in again.findings] == ["00080020"]
    assert [found.path for found in again.bulk] == ["54000100/1/54001010"]


def test_a_cached_value_gives_the_same_json_and_findings() -> None:
    latin, greek = (element(0x00080005, "CS", term) for term in (b"ISO_IR 100", b"ISO_IR 126"))
    required = data.required_elements()
    text = element(0x00081030, "LO", b"\xc4\xe9")
    bogus, day = (element(0x00080020, "DA", value) for value in (b"bogus ", b"20240229"))
    numbers, other = (element(0x00280010, "US", struct.pack("<HH", 7, number)) for number in (8, 9))

    def parsed(*elements: bytes) -> tuple[object, object, object, list[str]]:
        found = read(part10_of(sorted([*required, *elements], key=lambda one: (one[1::-1], one[3:1:-1]))))
        parsed = json_of(found)
        values = (parsed.get(tag, {}).get("Value") for tag in ("00081030", "00080020", "00280010"))
        return (*values, [finding.tag for finding in found.findings])  # type: ignore[return-value]

    for _ in range(2):
        assert parsed(latin, text, bogus, numbers) == (["Äé"], ["bogus"], [7, 8], ["00080020"])
        assert parsed(greek, text, bogus, numbers) == (["Δι"], ["bogus"], [7, 8], ["00080020"])
        assert parsed(greek, text, day, other) == (["Δι"], ["20240229"], [7, 9], [])


def test_the_number_of_entries_of_a_lookup_table_is_unsigned() -> None:
    descriptor = element(0x00281101, "SS", struct.pack("<hhh", -256, -2, 16))
    assert json_of(read(_with(descriptor)))["00281101"]["Value"] == [65280, -2, 16]


def test_lookup_table_data_without_vr_is_us_or_ow() -> None:
    for entries, expected in ((1, {"vr": "US", "Value": [513]}), (2, {"vr": "OW", "InlineBinary": "AQI="})):
        item = element(0x00283002, "US", struct.pack("<HHH", entries, 0, 16), IMPLICIT_LITTLE)
        item += element(0x00283006, "OW", b"\1\2", IMPLICIT_LITTLE)
        file = _with(sequence(0x00283000, [item], IMPLICIT_LITTLE), syntax=IMPLICIT_LITTLE)
        assert json_of(read(file))["00283000"]["Value"][0]["00283006"] == expected


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (b"abc  \n", ["abc  \n"]),
        (b"a  \\ b \0\\\\c\0 ", ["a", " b", "", "c"]),
        (b"  \\  ", ["", ""]),
        (b"a\\b" * 20_001, ["a", *["ba"] * 20_000, "b"]),
    ],
)
def test_padding_is_removed_from_each_value(raw: bytes, values: list[str]) -> None:
    found = read(_with(element(0x00189900, "UC", raw)))
    assert json_of(found)["00189900"]["Value"] == values


def test_large_arrays_are_converted_completely() -> None:
    numbers = list(range(-30_000, 30_000))
    raw = struct.pack(f"<{len(numbers)}h", *numbers)
    decimals = "\\".join(f"{number}.5" for number in range(20_000)).encode()
    file = _with(
        element(0x00189810, "SS", raw, IMPLICIT_LITTLE),
        element(0x00280103, "US", b"\1\0", IMPLICIT_LITTLE),
        element(0x30060050, "DS", decimals, IMPLICIT_LITTLE),
        syntax=IMPLICIT_LITTLE,
    )
    parsed = json_of(read(file))
    assert parsed["00189810"]["Value"] == numbers
    assert parsed["30060050"]["Value"] == [number + 0.5 for number in range(20_000)]


def test_a_data_set_with_too_many_elements_is_refused() -> None:
    with pytest.raises(Exhausted):
        read(part10_of(element(0x00280010, "US", b"") * 200_000))
