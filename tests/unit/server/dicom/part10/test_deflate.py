"""The deflated transfer syntax: all bytes come out, in pieces of bounded size."""

import zlib

import pytest

from server.dicom.part10 import deflate
from server.dicom.part10.deflate import Inflater
from server.model.errors import Exhausted, InvalidRequest

LARGEST_PIECE = 1 << 18


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def inflated(stream: bytes, step: int) -> bytes:
    inflater = Inflater()
    pieces = [piece for at in range(0, len(stream), step) for piece in inflater.inflate(stream[at : at + step])]
    inflater.finish()
    assert all(len(piece) <= LARGEST_PIECE for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("size", [0, 1, LARGEST_PIECE - 1, LARGEST_PIECE, LARGEST_PIECE + 164, 8 * LARGEST_PIECE + 257])
def test_all_bytes_of_highly_compressed_data_are_returned(size: int, step: int) -> None:
    """The decompressor may have read all input while it still holds output."""
    for extra in (0, 1, 63, 258):
        data = bytes(size + extra)
        assert inflated(deflated(data), step) == data


def test_a_decompression_bomb_ends_at_the_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "MAX_INFLATED_BYTES", 1 << 20)
    sizes: list[int] = []
    with pytest.raises(Exhausted):
        sizes.extend(map(len, Inflater().inflate(deflated(bytes(1 << 26)))))
    assert sum(sizes) <= 1 << 20


@pytest.mark.parametrize("stream", [b"", b"\xff" * 9, deflated(bytes(100))[:-1]])
def test_an_incomplete_or_damaged_stream_is_refused(stream: bytes) -> None:
    with pytest.raises(InvalidRequest):
        inflated(stream, 4)
