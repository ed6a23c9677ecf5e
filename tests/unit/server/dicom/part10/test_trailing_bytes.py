"""Bytes after the last element: Data Set Trailing Padding (PS3.10 section 7.2), and other bytes found in files."""

import random
import tracemalloc

import pytest

from server.dicom.ingest.reader import Description
from server.dicom.part10.rewriter import Rewriter
from server.model.errors import DicomStoreError
from tests import data
from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    element,
    part10,
    part10_of,
)
from tests.unit.server.dicom.reading import LENIENT, STRICT, json_of, read

SYNTAXES = [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]
SECOND = part10(SOPInstanceUID="1.2.3.4")
TRAILERS = {
    "zeros": bytes(100_000),
    "a few zeros": bytes(12),
    "0xFF": b"\xff" * 100_001,
    "spaces": b" " * 50_002,
    "a second file": SECOND,
    "zeros and a second file": bytes(1003) + SECOND,
    "a second file with a preamble": b"II*\0" * 32 + SECOND[128:],
    "zeros, then 0xFF": bytes(800) + b"\xff" * 800,
}
GARBAGE = {
    "text": b"\r\n-- sent by ROUTER-7, 2019 --\r\n" * 40,
    "noise": random.Random(5).randbytes(5000),
    "spaces and text": b" " * 64 + b"END OF FILE",
    "items": b"\xfe\xff\0\xe0\4\0\0\0abcd" * 3,
    "a padding element that is cut off": b"\xfc\xff\xfc\xffOB\0\0\xff\xff\0\0" + bytes(99),
    "line end": b"\r\n",
}


def _image(syntax: str) -> bytes:
    if syntax == JPEG_BASELINE:
        return part10(transfer_syntax=syntax, fragments=[[b"\xff\xd8\xff0", b"12"]], SOPInstanceUID="1.2.3")
    return part10(transfer_syntax=syntax, frames=[b"abcdefgh" * 9], SOPInstanceUID="1.2.3")


def _report(syntax: str) -> bytes:
    return part10(transfer_syntax=syntax, SOPInstanceUID="1.2.3")


def _findings(found: Description) -> list[str]:
    return [finding.tag for finding in found.findings]


@pytest.mark.parametrize("chunk", [7, 1 << 20])
@pytest.mark.parametrize("trailer", [*TRAILERS, *GARBAGE])
@pytest.mark.parametrize("syntax", [*SYNTAXES, JPEG_BASELINE])
def test_bytes_after_pixel_data_are_not_part_of_the_data_set(syntax: str, trailer: str, chunk: int) -> None:
    file, added = _image(syntax), {**TRAILERS, **GARBAGE}[trailer]
    found, plain = read(file + added, chunk=chunk, max_header_bytes=9000), read(file)
    assert (found.dicom_json, found.pixels, found.bulk) == (plain.dicom_json, plain.pixels, plain.bulk)
    assert _findings(found) == ([] if trailer in ("zeros", "a few zeros") else ["FFFCFFFC"])


@pytest.mark.parametrize("chunk", [7, 1 << 20])
@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_filler_and_a_second_file_may_follow_a_data_set_without_pixel_data(
    syntax: str, trailer: str, chunk: int
) -> None:
    found = read(_report(syntax) + TRAILERS[trailer], chunk=chunk, max_header_bytes=9000)
    assert found.dicom_json == read(_report(syntax)).dicom_json
    assert found.sop_uid == "1.2.3"
    assert _findings(found) == ([] if trailer in ("zeros", "a few zeros") else ["FFFCFFFC"])


@pytest.mark.parametrize("trailer", ["text", "noise", "spaces and text", "items"])
@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_other_bytes_after_a_data_set_without_pixel_data_are_refused(syntax: str, trailer: str) -> None:
    with pytest.raises(DicomStoreError):
        read(_report(syntax) + GARBAGE[trailer])


@pytest.mark.parametrize("mode", [LENIENT, STRICT])
@pytest.mark.parametrize("chunk", [7, 1 << 20])
@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_no_element_after_pixel_data_or_zeros_is_lost(syntax: str, chunk: int, mode) -> None:
    behind = [
        element(0x7FE10010, "LO", b"CREATOR ", syntax),
        element(0x7FE11001, "UN", b"abcd", syntax),
        element(0x00081030, "LO", b"late", syntax),
        element(0xFFFCFFFC, "OB", bytes(3000), syntax),
    ]
    if syntax == EXPLICIT_LITTLE:
        behind.insert(3, element(0x7FE31001, "UN", b"efgh", IMPLICIT_LITTLE))  # without VR and private creator
    found = read(_image(syntax) + b"".join(behind) + bytes(4000), mode, chunk=chunk)
    parsed = json_of(found)
    assert parsed["7FE11001"]["InlineBinary"] == "YWJjZA=="
    assert parsed["00081030"]["Value"] == ["late"]
    assert parsed["FFFCFFFC"] == {"vr": "OB", "BulkDataURI": "bulkdata:FFFCFFFC"}
    assert parsed.get("7FE31001", {}).get("InlineBinary") == ("ZWZnaA==" if syntax == EXPLICIT_LITTLE else None)
    assert _findings(found) == []
    required = data.required_elements(syntax)
    gap = read(part10_of([*required[:3], bytes(800), *required[3:]], syntax), mode, chunk=chunk)
    assert (gap.errors, gap.study_uid) == ((), f"{data.UID_ROOT}.1")


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b" "])
def test_trailing_bytes_are_not_kept_in_memory(filler: bytes) -> None:
    file = _report(EXPLICIT_LITTLE) + filler * (1 << 25)
    tracemalloc.start()
    read(file, chunk=1 << 16, max_header_bytes=10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("trailer", [*TRAILERS, *GARBAGE])
@pytest.mark.parametrize("source", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_trailing_bytes_are_removed_from_reencoded_files(source: str, trailer: str) -> None:
    file = _image(source)

    def reencoded(whole: bytes, chunk: int) -> bytes:
        target = IMPLICIT_LITTLE if source == EXPLICIT_LITTLE else EXPLICIT_LITTLE
        rewriter = Rewriter(source, target, sop_class_uid="1.2", sop_instance_uid="1.2.3", size_bytes=len(whole))
        pieces = [rewriter.feed(whole[start : start + chunk]) for start in range(0, len(whole), chunk)]
        return b"".join([*pieces, rewriter.finish()])

    whole = file + {**TRAILERS, **GARBAGE}[trailer]
    assert reencoded(whole, 97) == reencoded(whole, 1 << 20) == reencoded(file, 1 << 20)
