"""Generated data sets: the JSON equals that of pydicom, wherever pydicom can produce it."""

import struct
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary

from server.model.errors import DicomStoreError
from tests import data
from tests.data import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, element, part10_of, sequence
from tests.unit.server.dicom.reading import INDEXED_STRICT, LENIENT, differences, json_of, pydicom_json, read

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SYNTAXES = st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
_OWN_MEANING = {0x00080005, 0x00280103, 0x00283002}
_PUBLIC = sorted(
    (tag, entry[0])
    for tag, entry in DicomDictionary.items()
    if len(entry[0]) == 2 and entry[0] != "SQ" and 0x00080000 <= tag < 0x7FE00000 and tag not in _OWN_MEANING
)

_text = st.text(st.characters(codec="latin-1", exclude_characters="\x1b"), max_size=20).map(
    lambda t: t.encode("latin-1")
)
_codes = st.from_regex(rb"[A-Z0-9_ ]{0,16}(\\[A-Z0-9_ ]{0,16}){0,3}", fullmatch=True)
_decimals = st.from_regex(rb" ?[+-]?[0-9]{1,5}(\.[0-9]{0,6})?([eE][+-]?[0-9])? ?", fullmatch=True)
_integers = st.from_regex(rb" ?[+-]?[0-9]{1,9} ?", fullmatch=True)
_names = st.from_regex(
    rb"[A-Za-z \xc0-\xd6.'-]{0,12}(\^[A-Za-z ]{0,9}){0,4}(=[A-Za-z^]{0,9}){0,2}[ \0]?", fullmatch=True
)


def _several(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(values, min_size=1, max_size=4).map(b"\\".join)


_FINITE = {"allow_nan": False, "allow_infinity": False}
_WORDS = {
    "US": (2, st.integers(0, 0xFFFF).map(lambda n: struct.pack("<H", n))),
    "SS": (2, st.integers(-0x8000, 0x7FFF).map(lambda n: struct.pack("<h", n))),
    "UL": (4, st.integers(0, 0xFFFFFFFF).map(lambda n: struct.pack("<I", n))),
    "SL": (4, st.integers(-0x80000000, 0x7FFFFFFF).map(lambda n: struct.pack("<i", n))),
    "UV": (8, st.integers(0, 2**64 - 1).map(lambda n: struct.pack("<Q", n))),
    "SV": (8, st.integers(-(2**63), 2**63 - 1).map(lambda n: struct.pack("<q", n))),
    "FL": (4, st.floats(width=32, **_FINITE).map(lambda n: struct.pack("<f", n))),
    "FD": (8, st.floats(**_FINITE).map(lambda n: struct.pack("<d", n))),
    "AT": (2, st.integers(0, 0xFFFFFFFF).map(lambda n: struct.pack("<HH", n >> 16, n & 0xFFFF))),
    "OW": (2, st.binary(min_size=2, max_size=2)),
    "OL": (4, st.binary(min_size=4, max_size=4)),
    "OF": (4, st.binary(min_size=4, max_size=4)),
    "OD": (8, st.binary(min_size=8, max_size=8)),
    "OV": (8, st.binary(min_size=8, max_size=8)),
}
_STRINGS = {
    "CS": _codes,
    "DS": _several(_decimals),
    "IS": _several(_integers),
    "PN": _names,
    "UR": st.from_regex(rb"[!-~]{0,30} ?", fullmatch=True),
    "UI": st.from_regex(rb"[0-9.]{1,30}(\\[0-9.]{1,30}){0,2}\0?", fullmatch=True),
    "OB": st.binary(max_size=40),
    "UN": st.binary(max_size=40),
}


@st.composite
def _element(draw: st.DrawFn, form: str) -> tuple[int, bytes]:
    tag, vr = draw(st.sampled_from(_PUBLIC))
    if vr in _WORDS:
        unit, words = _WORDS[vr]
        values = draw(st.lists(words, max_size=4))
        raw = b"".join(_in_order(value, unit, form) for value in values)
    else:
        raw = draw(_STRINGS.get(vr, _text))
    return tag, element(tag, vr, raw, form)


def _in_order(value: bytes, unit: int, form: str) -> bytes:
    words = [value[i : i + unit] for i in range(0, len(value), unit)]
    return b"".join(word[::-1] if form == EXPLICIT_BIG else word for word in words)


def _data_set(form: str, depth: int) -> st.SearchStrategy[bytes]:
    plain = _element(form)
    either = plain if not depth else st.one_of(plain, plain, plain, _sequence(form, depth))
    return st.lists(either, max_size=8).map(_in_ascending_order)


@st.composite
def _sequence(draw: st.DrawFn, form: str, depth: int) -> tuple[int, bytes]:
    tag = draw(st.sampled_from([0x00081115, 0x00081140, 0x00400275, 0x0040A730, 0x00189346]))
    items = draw(st.lists(_data_set(form, depth - 1), max_size=3))
    return tag, sequence(tag, items, form, undefined=draw(st.booleans()))


def _in_ascending_order(elements: list[tuple[int, bytes]]) -> bytes:
    return b"".join(encoded for _, encoded in sorted(dict(elements).items()))


@st.composite
def _file(draw: st.DrawFn) -> bytes:
    form = draw(SYNTAXES)
    return part10_of(draw(_data_set(form, 2)), form)


@quick
@given(file=_file(), chunk=st.integers(1, 400))
def test_generated_data_sets_give_the_json_of_pydicom(file: bytes, chunk: int) -> None:
    expected = pydicom_json(file)
    assert expected is not None
    actual = json_of(read(file, INDEXED_STRICT, chunk=chunk))
    _remove_not_representable(actual, expected)
    assert differences(actual, expected) == []


@quick
@given(file=_file())
def test_valid_values_are_the_same_in_both_modes(file: bytes) -> None:
    lenient, strict = json_of(read(file, LENIENT)), json_of(read(file, INDEXED_STRICT))
    assert lenient.items() <= strict.items()


@quick
@given(
    terms=st.sampled_from([b"ISO_IR 100", b"ISO_IR 144", b"ISO_IR 192", b"GB18030", b"\\ISO 2022 IR 87"]),
    raw=st.binary(max_size=40).map(lambda raw: raw.replace(b"\x1b", b"")),
)
def test_any_bytes_in_any_character_set_decode_as_in_pydicom(terms: bytes, raw: bytes) -> None:
    charset = element(0x00080005, "CS", terms)
    required = data.required_elements()
    file = part10_of(
        [charset, *required[:2], element(0x00081030, "LO", raw), element(0x00104000, "LT", raw), *required[2:]]
    )
    try:
        actual = json_of(read(file, INDEXED_STRICT))
    except DicomStoreError as error:  # a value is only reported as a wrong length if it is one
        raise AssertionError from error
    expected = pydicom_json(file)
    assert expected is not None
    assert differences(actual, expected) == []


def _remove_not_representable(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Remove elements that pydicom cannot convert to JSON, at any depth."""
    for tag in actual.keys() - expected.keys() - {"00083002"}:
        del actual[tag]
    for tag in actual.keys() & expected.keys():
        if actual[tag]["vr"] == "SQ" == expected[tag]["vr"]:
            for item, other in zip(actual[tag].get("Value", []), expected[tag]["Value"], strict=False):
                _remove_not_representable(item, other)
