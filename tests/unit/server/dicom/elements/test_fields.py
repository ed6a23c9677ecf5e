"""Selection of attributes from canonical DICOM JSON."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from server.dicom.elements.fields import fields, find_element, first_value, top_level_elements
from server.model.errors import DicomStoreError
from tests.corpus import corpus, name_of
from tests.unit.server.dicom.reading import read

IDENTIFYING = {"00080016", "00080018", "0020000D", "0020000E"}


@pytest.mark.parametrize("path", corpus(), ids=name_of)
def test_each_attribute_of_the_corpus_can_be_selected(path: Path) -> None:
    try:
        dicom_json = read(path.read_bytes()).dicom_json
    except DicomStoreError:
        return
    whole = json.loads(dicom_json)
    some = list(whole)[::7] + list(whole)[-1:]
    included, excluded = fields(some, []), fields([], some)
    assert included
    assert excluded
    assert included.of(dicom_json) == _without_frame_items(dicom_json, whole, IDENTIFYING | set(some))
    assert excluded.of(dicom_json) == _without_frame_items(dicom_json, whole, whole.keys() - (set(some) - IDENTIFYING))
    for tag, element in whole.items():
        if element["vr"] != "SQ":
            values = element.get("Value") or [""]
            assert first_value(dicom_json, tag) == ("" if values[0] is None else str(values[0]))


@pytest.mark.parametrize("path", corpus(), ids=name_of)
def test_a_single_element_is_found_where_a_walk_finds_it(path: Path) -> None:
    try:
        dicom_json = read(path.read_bytes()).dicom_json
    except DicomStoreError:
        return
    walked = {tag: (start, end) for tag, start, end in top_level_elements(dicom_json)}
    nested = set(re.findall(rb'"([0-9A-F]{8})":\{', dicom_json))
    for tag in walked.keys() | nested | {b"00000000", b"00101001", b"FFFFFFFF"}:
        assert find_element(dicom_json, tag) == walked.get(tag), tag
    for before, tag in pairwise(walked):
        assert find_element(dicom_json, tag, walked[before][0]) == walked[tag]


def _without_frame_items(dicom_json: bytes, whole: dict[str, object], tags: set[str]) -> bytes:
    """Return the expected selection, computed by removing the text of every other element."""
    starts = {}
    position = 1
    for tag in whole:
        position = starts[tag] = dicom_json.index(f'"{tag}":{{"vr":"'.encode(), position)
        position += len(json.dumps(whole[tag], separators=(",", ":"), ensure_ascii=False).encode()) // 2
    ends = [*list(starts.values())[1:], len(dicom_json)]
    pieces = [
        dicom_json[start : end - 1] for (tag, start), end in zip(starts.items(), ends, strict=True) if tag in tags
    ]
    return b"{" + b",".join(pieces) + b"}"


def test_quotation_marks_and_brackets_in_values_are_ordinary_characters() -> None:
    last = rb'"00100020":{"vr":"LO","Value":["a\\\"]},"]}'
    tricky = rb'{"00081110":{"vr":"SQ","Value":[{"00100020":{"vr":"LO","Value":["]}]\"},"]}},{}]},' + last + b"}"
    included = fields(["00100020"], [])
    assert included
    assert included.of(tricky) == b"{" + last + b"}"
    assert first_value(tricky, "00100020") == 'a\\"]},'
    assert find_element(tricky, b"00100020") == (tricky.index(last), len(tricky) - 1)


def test_sequences_of_any_depth_are_skipped() -> None:
    deep = b'{"00081110":{"vr":"SQ","Value":[' + b'{"00081110":{"vr":"SQ","Value":[' * 60 + b"]}}" * 60
    deep += b']},"00100020":{"vr":"LO"}}'
    excluded = fields([], ["ReferencedStudySequence"])
    assert excluded
    assert excluded.of(deep) == b'{"00100020":{"vr":"LO"}}'


def test_an_empty_selection_selects_everything() -> None:
    assert fields([], []) is None
    assert fields([], ["NoSuchKeyword", "A.B"]) is None


def test_a_dotted_path_includes_its_sequence() -> None:
    found = fields(["ReferencedStudySequence.PatientID"], ["ReferencedSeriesSequence.PatientID"])
    assert found
    assert (found.included, found.excluded) == ({"00081110"}, frozenset())
