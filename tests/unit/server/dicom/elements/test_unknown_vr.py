"""Elements with VRs that PS3.5 does not define (section 7.1.2)."""

import struct
from base64 import b64decode

import pytest

from server.dicom.part10.rewriter import Rewriter
from tests import data
from tests.data import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, element, part10_of, sequence
from tests.unit.server.dicom.reading import json_of, read

EXPLICIT = [EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]
TAG = 0x00091001


def _unknown(raw: bytes, form: str, length: str, vr: bytes = b"ZZ", tag: int = TAG) -> bytes:
    """Return an element with a 16-bit or a 32-bit length."""
    order = ">" if form == EXPLICIT_BIG else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr
    return (
        head
        + (struct.pack(f"{order}H", len(raw)) if length == "short" else struct.pack(f"{order}HI", 0, len(raw)))
        + raw
    )


def _file(middle: list[bytes], form: str, last: bytes = b"") -> bytes:
    required = data.required_elements(form)
    return part10_of([*required[:2], *middle, *required[2:], last], form)


@pytest.mark.parametrize("chunk", [1, 1000, 1 << 20])
@pytest.mark.parametrize("length", ["short", "long"])
@pytest.mark.parametrize("form", EXPLICIT)
def test_a_length_of_32_or_of_16_bits_is_read(form: str, length: str, chunk: int) -> None:
    values = [b"", b"AB", b"CSUIPN", bytes(range(250)), b"UL\4\0" * 6, b"Z" * 998]
    for raw in values:
        value = _unknown(raw, form, length)
        item = sequence(0x0040A730, [value, value + element(0x00100010, "PN", b"A", form)], form, undefined=bool(raw))
        found = read(_file([value], form, item + _unknown(raw, form, length, tag=0x7FE11001)), chunk=chunk)
        parsed = json_of(found)
        inner = parsed["0040A730"]["Value"]
        for shown in (parsed["00091001"], inner[0]["00091001"], inner[1]["00091001"], parsed["7FE11001"]):
            assert shown["vr"] == "UN"
            assert b64decode(shown.get("InlineBinary", "")) == raw
        assert inner[1]["00100010"]["Value"] == [{"Alphabetic": "A"}]
        assert found.sop_uid == f"{data.UID_ROOT}.1.1.1"
        assert found.study_uid == f"{data.UID_ROOT}.1"
        assert {finding.tag for finding in found.findings} == {"00091001", "7FE11001"}


@pytest.mark.parametrize("chunk", [1000, 1 << 20])
@pytest.mark.parametrize(("length", "size"), [("short", 1026), ("short", 65_534), ("long", 1026), ("long", 200_000)])
@pytest.mark.parametrize("form", [EXPLICIT_LITTLE, EXPLICIT_BIG])
def test_a_long_value_is_bulk_data(form: str, length: str, size: int, chunk: int) -> None:
    raw = bytes(range(1, 251)) * (size // 250) + b"!" * (size % 250)
    file = _file([_unknown(raw, form, length), _unknown(b"AB", form, "short", b"YY", 0x00091002)], form)
    found = read(file, chunk=chunk)
    [bulk] = found.bulk
    assert (bulk.path, bulk.vr, file[bulk.offset : bulk.offset + bulk.length]) == ("00091001", "UN", raw)
    assert json_of(found)["00091002"] == {"vr": "UN", "InlineBinary": "QUI="}


def test_a_sequence_of_an_unknown_vr_has_implicit_vr_items() -> None:
    items = sequence(TAG, [element(0x00080100, "SH", b"A1", IMPLICIT_LITTLE)], IMPLICIT_LITTLE, undefined=True)[8:]
    head = struct.pack("<HH2sHI", TAG >> 16, TAG & 0xFFFF, b"ZZ", 0, 0xFFFFFFFF)
    parsed = json_of(read(_file([head + items], EXPLICIT_LITTLE)))
    assert parsed["00091001"] == {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["A1"]}}]}


@pytest.mark.parametrize("vr", [b"??", b"OX", b"AA"])
def test_lower_case_and_other_letters_are_an_unknown_vr_too(vr: bytes) -> None:
    parsed = json_of(read(_file([_unknown(b"abcd", EXPLICIT_LITTLE, "short", vr)], EXPLICIT_LITTLE)))
    assert parsed["00091001"] == {"vr": "UN", "InlineBinary": "YWJjZA=="}


@pytest.mark.parametrize("vr", [b"??", b"OX"])
@pytest.mark.parametrize("length", ["short", "long"])
def test_an_item_may_begin_with_an_element_of_an_unknown_vr(length: str, vr: bytes) -> None:
    item = _unknown(b"abcd", EXPLICIT_LITTLE, length, vr) + element(0x00200010, "SH", b"S1")
    [found] = json_of(read(_file([sequence(0x00081110, [item])], EXPLICIT_LITTLE)))["00081110"]["Value"]
    assert found == {"00091001": {"vr": "UN", "InlineBinary": "YWJjZA=="}, "00200010": {"vr": "SH", "Value": ["S1"]}}


@pytest.mark.parametrize("target", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
@pytest.mark.parametrize("length", ["short", "long"])
@pytest.mark.parametrize("form", [EXPLICIT_LITTLE, EXPLICIT_BIG])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_an_unknown_vr_is_reencoded_as_un(form: str, length: str, target: str, chunk: int) -> None:
    file = _file([_unknown(b"abcdef", form, length)], form, _unknown(b"xyz!", form, length, tag=0x7FE11001))
    rewriter = Rewriter(form, target, sop_class_uid="1.2", sop_instance_uid="1.2.3")
    pieces = [rewriter.feed(file[start : start + chunk]) for start in range(0, len(file), chunk)]
    new = b"".join([*pieces, rewriter.finish()])
    if target == EXPLICIT_LITTLE:
        assert b"\x09\0\x01\x10UN\0\0\6\0\0\0abcdef" in new
    parsed = json_of(read(new))
    assert (parsed["00091001"]["InlineBinary"], parsed["7FE11001"]["InlineBinary"]) == ("YWJjZGVm", "eHl6IQ==")
