"""Description of a scanned instance: identity, findings, metadata, index values and pixel layout."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from server.dicom.elements.canonical_json import integer, text
from server.dicom.elements.element_headers import element_head
from server.dicom.elements.transfer_syntax import ENCAPSULATED_UNCOMPRESSED
from server.dicom.elements.values import quoted
from server.dicom.ingest import validate
from server.dicom.matching.attributes import AVAILABLE_TRANSFER_SYNTAX_UID, RETURN_KEY_TAGS, attributes_of
from server.dicom.part10.json_scanner import Scanner
from server.dicom.pixel_data.frame_table import frame_table
from server.dicom.pixel_data.layout import SampleForm, native_layout, sample_forms
from server.model.instance import BulkElement, Finding, LevelAttributes, PixelLayout, ValidationMode
from server.model.search.query import Level

_SAMPLES_PER_PIXEL = "00280002"
_PHOTOMETRIC_INTERPRETATION = "00280004"
_NUMBER_OF_FRAMES = "00280008"
_ROWS = "00280010"
_COLUMNS = "00280011"
_BITS_ALLOCATED = "00280100"
_BITS_STORED = "00280101"
_LAYOUT_TAGS = {
    *(_SAMPLES_PER_PIXEL, _PHOTOMETRIC_INTERPRETATION, _NUMBER_OF_FRAMES),
    *(_ROWS, _COLUMNS, _BITS_ALLOCATED, _BITS_STORED),
}

_EXAMINED_TAGS = frozenset[str]().union(*RETURN_KEY_TAGS.values(), _LAYOUT_TAGS, validate.REQUIRED, validate.INDEXED)
_NUMBER_OF_FRAMES_TAG = int(_NUMBER_OF_FRAMES, 16)
_FRAME_COUNT_MISMATCH = "Number of Frames does not match the pixel data"
_LARGEST = 2**31 - 1
_LENGTH_MISMATCH = "The length of the value does not match the attributes that describe it"
_NOTHING = frozenset[str]()
_REFERENCE = '"BulkDataURI":"bulkdata:'
_FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}

MAX_FINDINGS = 100
"""Limit of errors, and of findings, per instance: the outcomes of many instances share a message and wait in memory."""


@dataclass(frozen=True, slots=True)
class Description:
    """The properties of an instance that are needed to store it.

    study_uid, series_uid, sop_uid, sop_class_uid: as read, without padding; "" if absent; possibly invalid.
    errors: faults that reject the instance, one per attribute, without values.
    findings: faults that are only reported, one per attribute, without values.
    is_implicit: the data set has implicit VR.
    is_mislabelled: see `StoredInstance`.
    has_multiple_values: an indexed attribute has several values, of which only the first is indexed.
    dicom_json: canonical (defined at RetrieveMetadata in retrieve_service.proto).
    invalid_tags: see `NewInstance`.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    errors: tuple[Finding, ...]
    findings: tuple[Finding, ...]
    is_implicit: bool
    is_mislabelled: bool
    has_multiple_values: bool
    dicom_json: bytes
    invalid_tags: frozenset[str]
    study: LevelAttributes
    series: LevelAttributes
    instance: LevelAttributes
    pixels: PixelLayout | None
    bulk: tuple[BulkElement, ...]


def describe(scanner: Scanner, json: list[str], transfer_syntax_uid: str, mode: ValidationMode) -> Description:
    """Return the description of a data set.

    Args:
        scanner: after the whole data set.
        json: its top-level elements in ascending order of tag.
        transfer_syntax_uid: from the file meta information, or guessed.
    """
    syntax = f'"{AVAILABLE_TRANSFER_SYNTAX_UID}":{{"vr":"UI","Value":[{quoted(transfer_syntax_uid)}]}}'
    json = _with_element(json, syntax)
    text = f"{{{','.join(json)}}}"
    elements = [element for element in json if element[1:9] in _EXAMINED_TAGS]
    examined: Mapping[str, Any] = orjson.loads(f"{{{','.join(elements)}}}")
    pixels = _layout(scanner, examined, transfer_syntax_uid)
    errors, findings = _validate(scanner, examined, mode)
    invalid = frozenset(scanner.notes.invalid)
    return Description(
        study_uid=validate.first_uid(examined, validate.STUDY_INSTANCE_UID),
        series_uid=validate.first_uid(examined, validate.SERIES_INSTANCE_UID),
        sop_uid=validate.first_uid(examined, validate.SOP_INSTANCE_UID),
        sop_class_uid=validate.first_uid(examined, validate.SOP_CLASS_UID),
        transfer_syntax_uid=transfer_syntax_uid,
        errors=errors,
        findings=findings,
        is_implicit=scanner.is_implicit,
        is_mislabelled=scanner.mislabelled > 0,
        has_multiple_values=validate.has_multiple_values(examined),
        dicom_json=text.encode("utf-8", "replace"),
        invalid_tags=_top_level(invalid) if invalid and mode is ValidationMode.LENIENT else _NOTHING,
        study=_cached_attributes(Level.STUDY, _of_level(elements, Level.STUDY), invalid),
        series=_cached_attributes(Level.SERIES, _of_level(elements, Level.SERIES), invalid),
        instance=attributes_of(Level.INSTANCE, examined),
        pixels=pixels,
        bulk=_referenced(scanner.bulk, text),
    )


def _referenced(bulk: Mapping[str, BulkElement], text: str) -> tuple[BulkElement, ...]:
    """Return the bulk data that the metadata contain; of elements that occur twice, they contain only the last."""
    if not bulk or text.count(_REFERENCE) == len(bulk):
        return tuple(bulk.values())
    found = {reference.partition('"')[0] for reference in text.split(_REFERENCE)[1:]}
    return tuple(element for path, element in bulk.items() if path in found)


def _top_level(paths: frozenset[str]) -> frozenset[str]:
    return frozenset(path for path in paths if "/" not in path)


def _of_level(elements: list[str], level: Level) -> str:
    kept = RETURN_KEY_TAGS[level]
    return ",".join([element for element in elements if element[1:9] in kept])


@lru_cache(maxsize=256)
def _cached_attributes(level: Level, elements: str, invalid: frozenset[str]) -> LevelAttributes:
    """Return the attributes of a level; cached, because most instances of a study or series share them."""
    return attributes_of(level, orjson.loads(f"{{{elements}}}"), invalid)


def _with_element(json: list[str], added: str) -> list[str]:
    """Return the elements without group 0002, with one element inserted or replaced."""
    at, after_group = bisect_left(json, added[:10]), bisect_left(json, '"0003')
    rest = at + 1 if json[at : at + 1] and json[at].startswith(added[:10]) else at
    before = [element for element in json[:after_group] if not element.startswith('"0002')]
    return [*before, *json[after_group:at], added, *json[rest:]]


def _validate(
    scanner: Scanner, elements: Mapping[str, Any], mode: ValidationMode
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Return errors and findings."""
    notes = scanner.notes
    required = validate.required_error(elements, mode)
    if not notes.count and required is None and mode is ValidationMode.LENIENT:  # the case of nearly all instances
        return (), tuple(validate.lenient_findings(elements, notes))
    broken: list[Finding] = []
    if mode is not ValidationMode.LENIENT:
        broken += validate.indexed_errors(scanner.raw, elements)
    if mode is ValidationMode.INDEXED_STRICT:
        findings = list(validate.irregular_findings(notes))
    else:
        broken += validate.lenient_errors(notes)
        findings = list(validate.lenient_findings(elements, notes))
    if mode is ValidationMode.STRICT:
        broken += findings
    errors = {finding.path: finding for finding in reversed([required, *broken]) if finding is not None}
    ordered = tuple(errors[path] for path in sorted(errors)[:MAX_FINDINGS])
    return ordered, tuple(finding for finding in findings if finding.path not in errors)[:MAX_FINDINGS]


def _layout(scanner: Scanner, elements: Mapping[str, Any], syntax_uid: str) -> PixelLayout | None:
    """Return the layout of the pixel data; contradictions to the data set are added to the scanner's notes."""
    pixel_data = scanner.pixel_data
    if pixel_data is None or not pixel_data.length:
        return None
    stated = _number(elements, _NUMBER_OF_FRAMES)
    number_of_frames = max(stated, 1)
    forms = _sample_forms(elements, pixel_data.tag)
    size = _number(elements, _ROWS), _number(elements, _COLUMNS)
    if pixel_data.fragments is not None:
        # Uncompressed frames are delimited by their size.
        form = forms[0]
        frame_bytes = -(-form.frame_bits(*size) // 8) if syntax_uid == ENCAPSULATED_UNCOMPRESSED else 0
        table = frame_table(pixel_data.fragments, stated, scanner.extended_offsets, frame_bytes)
        number_of_frames = len(table) // PixelLayout.RECORD_BYTES or number_of_frames
        layout = PixelLayout(number_of_frames, pixel_data.offset, pixel_data.length, form.bits_allocated, 0, table)
    else:
        layout, fitting = native_layout(
            forms,
            size=size,
            number_of_frames=number_of_frames,
            offset=pixel_data.offset,
            length=pixel_data.length,
            missing=pixel_data.missing,
        )
        if fitting is not forms[0] and all(size):
            _note(scanner, pixel_data.tag, pixel_data.vr, _LENGTH_MISMATCH)
    if layout.is_understood and layout.number_of_frames != max(stated, 1):
        _note(scanner, _NUMBER_OF_FRAMES_TAG, "IS", _FRAME_COUNT_MISMATCH)
    return layout


def _sample_forms(elements: Mapping[str, Any], tag: int) -> tuple[SampleForm, ...]:
    """Return the possible forms of the samples, that of the attributes first."""
    photometric = text(elements, _PHOTOMETRIC_INTERPRETATION).upper()
    samples = max(_number(elements, _SAMPLES_PER_PIXEL), 1)
    if bits := _FLOAT_BITS.get(tag):
        return (SampleForm(samples, photometric, bits),)
    return sample_forms(samples, photometric, _number(elements, _BITS_ALLOCATED), _number(elements, _BITS_STORED))


def _note(scanner: Scanner, tag: int, vr: str, message: str) -> None:
    scanner.notes.add_irregular(element_head(tag, vr), message)


def _number(elements: Mapping[str, Any], tag: str) -> int:
    """Return a count or size; 0 if it is invalid, or larger than in any pixel data."""
    element = elements.get(tag)
    if element is None:
        return 0
    values = element.get("Value")
    found = values[0] if values else None
    if type(found) is not int:
        found = integer(elements, tag) or 0
    return found if 0 < found <= _LARGEST else 0
