"""Files in another uncompressed transfer syntax: pydicom reads the same values."""

import contextlib
import re
import warnings
from collections.abc import AsyncIterator
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from server.dicom.part10.rewriter import Rewriter, inflate
from server.model.errors import DicomStoreError, InvalidRequest
from tests import data
from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    element,
    part10,
    part10_of,
    sequence,
)
from tests.unit.server.dicom.reading import differences, json_of, read

SOURCES = [IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG]
TARGETS = [IMPLICIT_LITTLE, EXPLICIT_LITTLE]
PAIRS = list(product(SOURCES, TARGETS))
PUBLIC_FILES = [
    *("MR_small_bigendian.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "reportsi.dcm", "rtdose.dcm"),
    *("rtdose_expb.dcm", "rtplan.dcm", "nested_priv_SQ.dcm", "waveform_ecg.dcm", "color-px.dcm", "liver_expb.dcm"),
]


async def _reencoded(file: bytes, source: str, target: str, chunk: int = 1000) -> bytes:
    return b"".join([piece async for piece in _pieces(file, source, target, chunk)])


async def _pieces(file: bytes, source: str, target: str, chunk: int) -> AsyncIterator[bytes]:
    rewriter = Rewriter(source, target, sop_class_uid="1.2", sop_instance_uid="1.2.3")
    chunks = _chunks(file, chunk)
    async for piece in inflate(chunks) if source == DEFLATED else chunks:
        yield rewriter.feed(piece)
    yield rewriter.finish()


async def _chunks(file: bytes, chunk: int) -> AsyncIterator[bytes]:
    for start in range(0, len(file), chunk):
        yield file[start : start + chunk]


def _bundled(name: str) -> bytes:
    return Path(str(pydicom.data.get_testdata_file(name))).read_bytes()


def _load(file: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(file))


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_values_are_preserved(source: str, target: str, chunk: int) -> None:
    item = data.dataset(PatientName="A^B", Rows=7)
    file = part10(
        transfer_syntax=source,
        frames=[b"ABCDEFGH"] * 2,
        BitsAllocated=16,
        Columns=4,
        PatientWeight="70.5",
        PixelPaddingValue=3,
        EventTimeOffset=1.5,
        ReferencedImageSequence=[item, item],
        FrameIncrementPointer=0x00181063,
    )
    new = await _reencoded(file, source, target, chunk)
    expected = _load(new)
    assert expected.file_meta.TransferSyntaxUID == target
    assert expected.file_meta.FileMetaInformationGroupLength == new.index(b"\x08\0\x16\0") - 144
    assert _values(expected) == _values(_load(file))
    assert read(new).errors == ()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PUBLIC_FILES)
async def test_real_files_keep_their_values(name: str, target: str) -> None:
    file = _bundled(name)
    source = read(file).transfer_syntax_uid
    new = await _reencoded(file, source, target, 4096)
    before, after = json_of(read(file)), json_of(read(new))
    if target == IMPLICIT_LITTLE:
        _forget_private(before)
        _forget_private(after)
    assert differences(before, after) == []


@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_no_group_length_remains_at_any_depth(source: str, target: str) -> None:
    lengths = [element(tag, "UL", b"\x8e\x8f\x90\x91", source) for tag in (0x00080000, 0x00090000)]
    item = b"".join([*lengths, element(0x00081150, "UI", b"1.2\0", source)])
    tail = [sequence(0x00081140, [item], source), element(0x00100000, "UL", b"\x8e\x8f\x90\x91", source)]
    file = part10_of([lengths[0], *data.required_elements(source), *tail], source)
    new = await _reencoded(file, source, target)
    assert not re.search(rb"[\x8e-\x91]{4}", new)
    assert json_of(read(new))["00081140"]["Value"] == [{"00081150": {"vr": "UI", "Value": ["1.2"]}}]


async def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    text = element(0x00104000, "LT", b"a" * 70_000, IMPLICIT_LITTLE)
    required = data.required_elements(IMPLICIT_LITTLE)
    file = part10_of([*required[:3], text, *required[3:]], IMPLICIT_LITTLE)
    new = await _reencoded(file, IMPLICIT_LITTLE, EXPLICIT_LITTLE)
    assert b"\x10\0\0\x40UN\0\0" in new
    assert _load(new)[0x00104000].value == b"a" * 70_000


async def test_pixel_cells_of_32_bits_are_byte_swapped_as_a_whole() -> None:
    little = _bundled("rtdose.dcm")
    big = _bundled("rtdose_expb.dcm")
    new = await _reencoded(big, EXPLICIT_BIG, EXPLICIT_LITTLE)
    assert _load(new).PixelData == _load(little).PixelData


async def test_large_values_are_streamed() -> None:
    file = part10(frames=[bytes(3_000_000)], Rows=1000, Columns=3000)
    pieces = [len(piece) async for piece in _pieces(file, EXPLICIT_LITTLE, IMPLICIT_LITTLE, 65536)]
    assert max(pieces) < 140_000
    assert sum(pieces) > 3_000_000


async def test_offsets_of_the_layout_refer_to_the_inflated_file() -> None:
    file = part10(transfer_syntax=DEFLATED, frames=[b"frame one ", b"frame two "])
    layout = read(file, chunk=17).pixels
    inflated = b"".join([piece async for piece in inflate(_chunks(file, 30))])
    assert layout is not None
    assert inflated[layout.offset : layout.offset + layout.length] == b"frame one frame two "
    assert inflated.startswith(file[: file.index(b"1.2.840.10008.1.2.1.99")])


async def test_a_damaged_file_is_detected() -> None:
    file = part10(ReferencedImageSequence=[data.dataset()])
    with pytest.raises(InvalidRequest):
        await _reencoded(file[:-20], EXPLICIT_LITTLE, IMPLICIT_LITTLE)


def _values(data_set: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in data_set:
        if item.VR == "SQ":
            found[str(item.tag)] = [_values(inner) for inner in item.value]
        elif item.VR == "OW" and not data_set.original_encoding[1]:
            found[str(item.tag)] = b"".join(item.value[i : i + 2][::-1] for i in range(0, len(item.value), 2))
        else:
            found[str(item.tag)] = item.value
    return found


def _forget_private(elements: dict[str, Any]) -> None:
    """Remove private elements: with implicit VR their VR, and whether they are bytes, is unknown."""
    for tag in list(elements):
        if int(tag[3], 16) % 2 or tag in ("00083002", "7FE00010") or tag.startswith("54"):
            del elements[tag]
        else:
            for item in elements[tag].get("Value", []) if elements[tag]["vr"] == "SQ" else []:
                _forget_private(item)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    edits=st.lists(st.tuples(st.integers(300, 900), st.integers(0, 9), st.binary(max_size=9)), max_size=3),
    source=st.sampled_from(SOURCES),
    target=st.sampled_from(TARGETS),
    chunk=st.integers(20, 900),
)
async def test_every_readable_file_is_rewritten_or_gives_a_defined_error(
    edits: list[tuple[int, int, bytes]], source: str, target: str, chunk: int
) -> None:
    item = data.dataset(PatientName="A^B", Rows=7, ReferencedImageSequence=[data.dataset()])
    file = part10(
        transfer_syntax=source, frames=[b"ABCDEFGH"], ReferencedImageSequence=[item, item], PatientWeight="1.5"
    )
    for at, removed, added in edits:
        file = file[:at] + added + file[at + removed :]
    with contextlib.suppress(DicomStoreError):
        read(file)
        new = await _reencoded(file, source, target, chunk)
        assert new == await _reencoded(file, source, target, 1 << 20)
        read(new)
