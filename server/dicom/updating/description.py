"""The description of a changed file for the index, from that of the file before.

Nothing is read again: only the changed attributes differ, and the places of pixel data and bulk data have moved.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from sys import byteorder

import orjson

from server.dicom.elements.fields import find_element, top_level_elements
from server.dicom.matching.attributes import attributes_of, concerns
from server.dicom.updating.changes import UTF_8_ELEMENT, Changes
from server.model.instance import BulkElement, NewInstance, PixelLayout
from server.model.lifecycle.update import ChangedFile, Content
from server.model.lifecycle.version import Provenance
from server.model.search.query import Level


def changed_instance(before: Content, file: ChangedFile, changes: Changes, provenance: Provenance) -> NewInstance:
    """Return the index entry of an instance with changed attributes."""
    stored = before.stored
    changed, elements, is_of_instance = _texts(changes.json, file.has_utf_8)
    dicom_json = replaced(before.dicom_json, elements)
    return NewInstance(
        id=stored.id,
        sop_class_uid=stored.sop_class_uid,
        transfer_syntax_uid=stored.transfer_syntax_uid,
        size_bytes=file.size_bytes,
        crc32c=file.crc32c,
        locator=file.locator,
        dicom_json=dicom_json,
        study=changes.attributes(Level.STUDY, with_utf_8=file.has_utf_8),
        series=changes.attributes(Level.SERIES, with_utf_8=file.has_utf_8),
        instance=attributes_of(Level.INSTANCE, orjson.loads(dicom_json)) if is_of_instance else None,
        pixels=None if before.pixels is None else _moved_pixels(before.pixels, file.shifts),
        bulk=tuple(_moved_bulk(before.bulk, file.shifts, changed)) if before.bulk else (),
        invalid_tags=before.invalid_tags - changed,
        is_mislabelled=stored.is_mislabelled,
        provenance=provenance,
    )


@lru_cache(maxsize=4)
def _texts(json: tuple[str, ...], has_utf_8: bool) -> tuple[frozenset[str], Sequence[tuple[bytes, bytes]], bool]:
    """Return the tags of changed elements, tag and text of each, and whether the index has some of an instance."""
    texts = [*json, UTF_8_ELEMENT] if has_utf_8 else json
    elements = sorted((element[1:9], element) for element in texts)
    changed = frozenset(tag for tag, _ in elements)
    encoded = [(tag.encode(), text.encode("utf-8", "replace")) for tag, text in elements]
    return changed, encoded, concerns(Level.INSTANCE, changed)


def reverted_instance(earlier: Content, file: ChangedFile, provenance: Provenance) -> NewInstance:
    """Return the index entry of an instance with the content of an earlier version, whose bytes `file` has."""
    stored, data_set = earlier.stored, orjson.loads(earlier.dicom_json)
    return NewInstance(
        id=stored.id,
        sop_class_uid=stored.sop_class_uid,
        transfer_syntax_uid=stored.transfer_syntax_uid,
        size_bytes=file.size_bytes,
        crc32c=file.crc32c,
        locator=file.locator,
        dicom_json=earlier.dicom_json,
        study=attributes_of(Level.STUDY, data_set),
        series=attributes_of(Level.SERIES, data_set),
        instance=attributes_of(Level.INSTANCE, data_set),
        pixels=earlier.pixels,
        bulk=earlier.bulk,
        invalid_tags=earlier.invalid_tags,
        is_mislabelled=stored.is_mislabelled,
        provenance=provenance,
    )


def replaced(dicom_json: bytes, elements: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return canonical JSON with some elements replaced or inserted.

    Args:
        elements: tag and text of each, in ascending order of the tags.
    """
    parts: list[bytes] = []
    copied = 0
    for tag, text in elements:
        found = find_element(dicom_json, tag, copied + 1)
        if found is None:
            return _with_inserted(dicom_json, elements)
        parts += (dicom_json[copied : found[0]], text)
        copied = found[1]
    parts.append(dicom_json[copied:])
    return b"".join(parts)


def _with_inserted(dicom_json: bytes, elements: Sequence[tuple[bytes, bytes]]) -> bytes:
    """As `replaced`, also if the data set does not have some of the elements."""
    parts: list[bytes] = []
    copied, coming = 1, list(reversed(elements))
    for tag, start, end in top_level_elements(dicom_json):
        while coming and coming[-1][0] < tag:
            parts += (dicom_json[copied:start], coming.pop()[1], b",")
            copied = start
        if coming and coming[-1][0] == tag:
            parts += (dicom_json[copied:start], coming.pop()[1])
            copied = end
        if not coming:
            break
    rest = dicom_json[copied:-1]
    head = b"".join(parts)
    added = [text for _, text in reversed(coming)]
    body = head + rest
    return b"{%b}" % b",".join([body, *added] if body else added)


def tags_in(dicom_json: bytes, wanted: Iterable[int]) -> frozenset[int]:
    """Return those of the wanted tags that top-level elements have."""
    names = {b"%08X" % tag: tag for tag in wanted}
    return frozenset(names[tag] for tag, _, _ in top_level_elements(dicom_json, names) if tag in names)


def _moved_bulk(
    bulk: Iterable[BulkElement], shifts: Sequence[tuple[int, int]], changed: Collection[str]
) -> Iterator[BulkElement]:
    for element in bulk:
        if element.path.partition("/")[0] not in changed:
            offset = element.offset + _shift_at(shifts, element.offset)
            yield BulkElement(element.path, element.vr, offset, element.length)


def _shift_at(shifts: Iterable[tuple[int, int]], offset: int) -> int:
    """Return by how much the bytes at an offset are moved."""
    moved = 0
    for start, delta in shifts:
        if start > offset:
            break
        moved = delta
    return moved


def _moved_pixels(pixels: PixelLayout, shifts: Sequence[tuple[int, int]]) -> PixelLayout:
    delta = _shift_at(shifts, pixels.offset)
    if not pixels.table:  # `replace` takes four times as long
        return PixelLayout(
            pixels.number_of_frames, pixels.offset + delta, pixels.length, pixels.bits_allocated, pixels.frame_bits
        )
    records = array("Q", pixels.table)
    if byteorder == "big":
        records.byteswap()
    moved = array("Q", [position + delta if position else 0 for position in records])
    if byteorder == "big":
        moved.byteswap()
    return replace(pixels, offset=pixels.offset + delta, table=moved.tobytes())
