"""Frames as streams: extraction, defragmentation, bit alignment and byte swapping."""

import struct
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.dicom.pixel_data.frames import defragment, frame_span, realign, swap_bytes, word_bytes
from server.model.errors import DataLoss, NotFound, Reason
from server.model.instance import PixelLayout


async def _chunks(whole: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


async def _joined(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


def _items(*fragments: bytes) -> bytes:
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(fragment)) + fragment for fragment in fragments)


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
async def test_fragments_are_joined_without_item_headers(size: int) -> None:
    assert await _joined(defragment(_chunks(_items(b"abc", b"", b"defgh"), size))) == b"abcdefgh"


@pytest.mark.parametrize("damaged", [_items(b"abcd")[:-1], b"garbage!" * 2, _items(b"ab") + b"\xfe\xff"])
async def test_damaged_fragments_are_detected(damaged: bytes) -> None:
    with pytest.raises(DataLoss):
        await _joined(defragment(_chunks(damaged, 5)))


def test_a_native_frame_is_a_range_of_the_file() -> None:
    layout = PixelLayout(3, 1000, 36, 8, 96)
    assert frame_span(layout, 0) == (1000, 12, 0)
    assert frame_span(layout, 2) == (1024, 12, 0)


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_frame_numbers_out_of_range_are_refused(index: int) -> None:
    with pytest.raises(NotFound) as refusal:
        frame_span(PixelLayout(3, 1000, 36, 8, 96), index)
    assert refusal.value.reason is Reason.FRAME_NOT_FOUND
    assert refusal.value.metadata == {"frame": str(index + 1), "number_of_frames": "3"}


def test_a_truncated_frame_does_not_exist() -> None:
    with pytest.raises(NotFound):
        frame_span(PixelLayout(3, 1000, 35, 8, 96), 2)


@given(
    frame_bits=st.integers(1, 70),
    index=st.integers(0, 6),
    size=st.integers(1, 9),
    unit=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**32 - 1),
)
async def test_one_bit_frames_are_extracted_from_the_bit_stream(
    frame_bits: int, index: int, size: int, unit: int, seed: int
) -> None:
    bits = np.random.default_rng(seed).integers(0, 2, 7 * frame_bits, dtype=np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    packed += bytes(-len(packed) % unit)
    offset, length, leading = frame_span(PixelLayout(7, 0, len(packed), 1, frame_bits), index, unit)
    assert offset % unit == 0
    span = packed[offset : offset + length]
    assert len(span) == length
    frame = await _joined(realign(_chunks(span, size), leading, frame_bits))
    wanted = np.packbits(bits[index * frame_bits : (index + 1) * frame_bits], bitorder="little").tobytes()
    assert frame == wanted


@pytest.mark.parametrize("size", [1, 3, 7, 64])
@pytest.mark.parametrize("unit", [1, 2, 4, 8])
async def test_words_are_byte_swapped_across_chunks(unit: int, size: int) -> None:
    numbers = np.arange(5, dtype=f"<u{unit}") + 1
    big = numbers.astype(f">u{unit}").tobytes()
    assert await _joined(swap_bytes(_chunks(big, size), unit)) == numbers.tobytes()


async def test_an_incomplete_last_word_is_unchanged() -> None:
    assert await _joined(swap_bytes(_chunks(b"abcde", 2), 2)) == b"badce"


@pytest.mark.parametrize(
    ("vr", "bits", "unit"),
    [
        ("OB", 8, 1),
        ("OW", 8, 2),
        ("OW", 16, 2),
        ("OW", 32, 4),
        ("OW", 0, 2),
        ("OF", 32, 4),
        ("OD", 64, 8),
        ("UN", 16, 1),
    ],
)
def test_word_size_by_vr(vr: str, bits: int, unit: int) -> None:
    assert word_bytes(vr, bits) == unit
