"""Guarantees of the reader for one Part 10 file."""

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import orjson

from facade.response.dicom_json import with_bulk_data_urls, without_bulk_data
from facade.response.dicom_xml import native_xml_of
from server.dicom.elements.dictionary import public_vr
from server.dicom.elements.transfer_syntax import (
    DEFLATED,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    transfer_syntax,
)
from server.dicom.ingest.describe import MAX_FINDINGS
from server.dicom.ingest.reader import WINDOW_BYTES, Description, InstanceReader
from server.dicom.part10.deflate import Inflater
from server.dicom.part10.file_meta import FileMeta, read_meta
from server.dicom.part10.rewriter import Rewriter
from server.dicom.pixel_data.codecs.syntaxes import NATIVE
from server.model.errors import DicomStoreError, Reason
from server.model.instance import PixelLayout, ValidationMode
from tests.fuzz.target import pieces, require

MODES = tuple(ValidationMode)
_MAX_HEADER_BYTES = 1 << 20
_SMALL_HEADER_BYTES = 400
_MAX_JSON_FACTOR = 64
_TEXT_VRS = frozenset({"CS", "LO", "SH", "PN", "DA", "TM", "UI"})
_TRAILING_PADDING = "FFFCFFFC"
_OWN_GROUPS = frozenset({"0000", "0002"})
_REASONS = {Reason.UNREADABLE_INSTANCE, Reason.HEADER_TOO_LARGE, Reason.INSTANCE_TOO_LARGE}


def check_file(file: bytes, mode: ValidationMode, chunk: int) -> None:
    """Check the guarantees of the reader: the same result for all chunks, within the file, and readable again.

    chunk: size in bytes of one of the chunkings; 0 for growing chunks. Also, the size of small windows of the reader,
        which find differences between its paths for complete and for incomplete elements.
    """
    size, window = len(file) or 1, 1 + chunk * 5 % 97
    whole = outcome(file, mode, size)
    require(whole == outcome(file, mode, chunk), "the result does not depend on the chunks of the file")
    small = outcome(file, mode, size, window=window)
    require(small == outcome(file, mode, chunk, window=window, as_views=True), "views are read like bytes")
    _check_same(file, whole, small)
    _check_same(file, whole, outcome(file, mode, size, window=chunk or size))
    if chunk % 4 == 0:
        _check_same(file, *(outcome(file, mode, size, limit=_SMALL_HEADER_BYTES, window=w) for w in (size, window)))
    if isinstance(whole, Description):
        size_bytes = len(_inflated(file)) if whole.transfer_syntax_uid == DEFLATED else len(file)
        _check_description(whole, size_bytes)
        _check_metadata(whole)
        _check_copies(file, whole, chunk)


def _check_same(file: bytes, one: Description | Reason, other: Description | Reason) -> None:
    """Check that the outcomes of two window sizes are equal.

    A damaged deflated file may have faults in the stream and in its content: which is found first depends on zlib.
    """
    is_same = one == other
    if DEFLATED.encode() in file and isinstance(one, Reason) and isinstance(other, Reason):
        is_same = True
    require(is_same, "the result does not depend on the windows of the reader")


def outcome(
    file: bytes,
    mode: ValidationMode,
    chunk: int,
    *,
    as_views: bool = False,
    limit: int = _MAX_HEADER_BYTES,
    window: int = 0,
) -> Description | Reason:
    """Return the description of a file, or the reason why it cannot be stored.

    window: size of the windows of the reader; 0 for those of the archive.
    """
    reader = InstanceReader(mode, limit, (window, window) if window else WINDOW_BYTES)
    try:
        for piece in pieces(file, chunk):
            reader.feed(memoryview(piece) if as_views else piece)
            require(reader.header_bytes <= limit + len(piece) + 8192, "the reader's memory is bounded")
        return reader.finish()
    except DicomStoreError as error:
        require(error.reason in _REASONS, "a file that cannot be stored has a reason")
        return error.reason


def _check_description(found: Description, size_bytes: int) -> None:
    require(len(found.errors) <= MAX_FINDINGS and len(found.findings) <= MAX_FINDINGS, "findings are bounded")
    require(len(found.dicom_json) <= _MAX_JSON_FACTOR * size_bytes, "metadata is proportional to the file")
    for element in found.bulk:
        require(min(element.offset, element.length) >= 0, "bulk data has a position")
        require(element.offset + element.length <= size_bytes, "bulk data is in the file")
    if found.pixels is not None:
        _check_layout(found.pixels, size_bytes)


def _check_layout(pixels: PixelLayout, size_bytes: int) -> None:
    end = pixels.offset + pixels.length
    require(end <= size_bytes, "pixel data is in the file")
    if not pixels.is_encapsulated:
        if pixels.is_understood:
            require(
                pixels.number_of_frames * pixels.frame_bits <= 8 * pixels.length + 7, "frames are in the pixel data"
            )
        return
    require(len(pixels.table) % PixelLayout.RECORD_BYTES == 0, "the frame table has whole records")
    for at in range(0, len(pixels.table), PixelLayout.RECORD_BYTES):
        start, stop = (int.from_bytes(pixels.table[at + part : at + part + 8], "little") for part in (0, 8))
        require(start == stop == 0 or pixels.offset <= start < stop <= end, "frames are in the pixel data")


def _check_metadata(found: Description) -> None:
    parsed: dict[str, Any] = orjson.loads(found.dicom_json)
    require(list(parsed) == sorted(parsed), "metadata is in the order of tags")
    references = dict(_references(parsed, ""))
    bulk = {element.path: element.vr for element in found.bulk}
    require(all(uri == f"bulkdata:{path}" for path, uri in references.items()), "bulk data is named by its path")
    require(references.keys() == bulk.keys(), "metadata refers to all bulk data")
    absolute = json.loads(with_bulk_data_urls(found.dicom_json, "http://a/instances/1"))
    require(len(dict(_references(absolute, ""))) == len(references), "URLs of bulk data are absolute")
    require(not dict(_references(json.loads(without_bulk_data(found.dicom_json)), "")), "bulk data can be omitted")
    document = ElementTree.fromstring(native_xml_of(found.dicom_json))
    require(len(document) == len(parsed), "XML has all attributes")


def _references(data_set: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for tag, element in data_set.items():
        if "BulkDataURI" in element:
            yield f"{path}{tag}", element["BulkDataURI"]
        elif element["vr"] == "SQ":
            for number, item in enumerate(element.get("Value", ()), start=1):
                yield from _references(item, f"{path}{tag}/{number}/")


_EIGHT_TIMES_FF = "FFFFFFFF"
"""A tag that no element may have. With undefined length in implicit VR, it looks like trailing bytes."""


def _check_copies(file: bytes, found: Description, chunk: int) -> None:
    """Check that a file can be re-encoded, if it needs no decoding, and that the copy has the same content."""
    source = found.transfer_syntax_uid
    if transfer_syntax(source).uid != source or found.errors:
        return
    targets = (EXPLICIT_LITTLE, IMPLICIT_LITTLE) if source in NATIVE or found.pixels is None else (source,)
    inflated = _inflated(file) if source == DEFLATED else file
    target = targets[chunk % len(targets)]
    if target == IMPLICIT_LITTLE and _EIGHT_TIMES_FF in orjson.loads(found.dicom_json):
        return
    copies = {_rewritten(inflated, found, target, size) for size in (len(file), 1 + chunk)}
    require(len(copies) == 1, "a copy does not depend on the chunks of the file")
    copy = _read(copies.pop())
    require(copy.sop_uid == found.sop_uid and copy.study_uid == found.study_uid, "a copy keeps its identity")
    # In implicit VR, elements after Pixel Data with lower tags cannot be told from trailing bytes.
    if not any(finding.path == _TRAILING_PADDING for finding in copy.findings):
        require(_texts(copy).items() >= _texts(found).items(), "a copy keeps its attributes")


def _read(file: bytes) -> Description:
    """Return the description of a file; other errors than for `outcome` are violations."""
    reader = InstanceReader(ValidationMode.LENIENT, _MAX_HEADER_BYTES)
    reader.feed(file)
    return reader.finish()


def _texts(found: Description) -> dict[str, Any]:
    """Return top-level text attributes of the VR in the dictionary; others may change with the VR, which implicit
    encoding loses. Command elements are not copied.
    """
    parsed: dict[str, Any] = orjson.loads(found.dicom_json)
    return {
        tag: element
        for tag, element in parsed.items()
        if element["vr"] in _TEXT_VRS and public_vr(int(tag, 16)) == element["vr"] and tag[:4] not in _OWN_GROUPS
    } | {"00083002": None}


def _rewritten(file: bytes, found: Description, target: str, chunk: int) -> bytes:
    source = EXPLICIT_LITTLE if found.transfer_syntax_uid == DEFLATED else found.transfer_syntax_uid
    rewriter = Rewriter(
        source, target, sop_class_uid=found.sop_class_uid, sop_instance_uid=found.sop_uid, size_bytes=len(file)
    )
    return b"".join([*(rewriter.feed(piece) for piece in pieces(file, chunk)), rewriter.finish()])


def _inflated(file: bytes) -> bytes:
    """Return a deflated file with its data set inflated; `check_file` has accepted it."""
    start = _file_meta_end(file)
    inflater = Inflater()
    return file[:start] + b"".join(inflater.inflate(file[start:]))


def _file_meta_end(file: bytes) -> int:
    found = read_meta(file, is_whole=True)
    assert isinstance(found, FileMeta)
    return found.end
