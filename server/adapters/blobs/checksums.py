"""CRC-32C of a blob, and of each of its blocks of 64 KiB, in one pass.

That of the blob is combined from those of its blocks: CRCs are linear, so appending n bytes multiplies the CRC by a
matrix over GF(2) that depends only on n (Koopman, "Cyclic Redundancy Codes"; zlib's crc32_combine).
"""

from array import array
from collections.abc import Sequence
from functools import cache

from crc32c import crc32c

from server.model.buffer import Buffer

BLOCK_BYTES = 64 << 10
_HOLD_GIL = 0
_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
_BLOCK_BITS = BLOCK_BYTES.bit_length() - 1
_MAX_BITS = 40


def crc32c_of(data: Buffer, start: int = 0) -> int:
    """Return the CRC-32C of about one block, continued from `start`.

    By default `crc32c` releases the interpreter lock for 32 KiB or more, whose checksum takes a microsecond. If other
    threads work, getting the lock back takes ten times as long.
    """
    return crc32c(data, start, _HOLD_GIL)


class Checksums:
    """Checksums of bytes that arrive in pieces. `blocks` are those of complete blocks, see `all_blocks`."""

    __slots__ = ("_combined", "_current", "_current_bytes", "blocks")

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self._current = 0
        self._current_bytes = 0
        self._combined = (0, 0)  # the last length and result of `whole`

    def update(self, data: Buffer) -> None:
        """Add the next bytes."""
        if self._current_bytes + len(data) < BLOCK_BYTES:
            self._current = crc32c(data, self._current, _HOLD_GIL)
            self._current_bytes += len(data)
            return
        view = memoryview(data)  # slices are not copied
        start = BLOCK_BYTES - self._current_bytes
        self.blocks.append(crc32c(view[:start], self._current, _HOLD_GIL))
        last = len(view) - BLOCK_BYTES
        while start <= last:
            self.blocks.append(crc32c(view[start : start + BLOCK_BYTES], 0, _HOLD_GIL))
            start += BLOCK_BYTES
        self._current = crc32c(view[start:], 0, _HOLD_GIL)
        self._current_bytes = len(view) - start

    @property
    def all_blocks(self) -> list[int]:
        """The CRC of each block, the last of which may be shorter."""
        return [*self.blocks, self._current] if self._current_bytes else list(self.blocks)

    @property
    def length(self) -> int:
        """The number of bytes so far."""
        return len(self.blocks) * BLOCK_BYTES + self._current_bytes

    @property
    def whole(self) -> int:
        """The CRC of all bytes together."""
        if self._combined[0] != self.length:
            self._combined = self.length, _combined(self.all_blocks, self.length)
        return self._combined[1]


def joined(first: int, second: int, second_bytes: int) -> int:
    """Return the CRC of bytes with the CRC `first`, followed by `second_bytes` with the CRC `second`."""
    return _extended(first, second_bytes) ^ second


def without_start(whole: int, start: int, rest_bytes: int) -> int:
    """Return the CRC of the last `rest_bytes` of bytes with the CRC `whole`, of which those before have the CRC
    `start`."""
    return _extended(start, rest_bytes) ^ whole


def _extended(crc: int, count: int) -> int:
    """Return the contribution of a CRC to that of its bytes followed by `count` more."""
    for bit in range(count.bit_length()):
        if count >> bit & 1:
            crc = _appended(crc, bit)
    return crc


def _combined(blocks: Sequence[int], length: int) -> int:
    """Return the CRC of `length` bytes from those of their blocks; only the last block may be shorter."""
    if length <= BLOCK_BYTES:
        return blocks[0] if length else 0
    last_bytes = length % BLOCK_BYTES
    table = _tables()[_BLOCK_BITS]
    whole = 0
    for block in blocks[:-1] if last_bytes else blocks:  # as `_appended`, without a call for each block
        whole = (
            table[whole & 0xFF]
            ^ table[256 + (whole >> 8 & 0xFF)]
            ^ table[512 + (whole >> 16 & 0xFF)]
            ^ table[768 + (whole >> 24)]
            ^ block
        )
    if not last_bytes:
        return whole
    for bit in range(_BLOCK_BITS):
        if last_bytes >> bit & 1:
            whole = _appended(whole, bit)
    return whole ^ blocks[-1]


def _appended(crc: int, bit: int) -> int:
    """Return the contribution of a CRC to that of its bytes followed by 2**bit more."""
    table = _tables()[bit]
    return (
        table[crc & 0xFF] ^ table[256 + (crc >> 8 & 0xFF)] ^ table[512 + (crc >> 16 & 0xFF)] ^ table[768 + (crc >> 24)]
    )


@cache
def _tables() -> "list[array[int]]":
    """Return, for each power of two of appended bytes, the contribution of each value of each byte of a CRC."""
    # The columns of the matrix of one zero bit, squared to that of one byte.
    columns = [_POLYNOMIAL, *(1 << bit for bit in range(31))]
    for _ in range(3):
        columns = [_times(columns, column) for column in columns]
    tables = []
    for _ in range(_MAX_BITS + 1):
        tables.append(_table(columns))
        columns = [_times(columns, column) for column in columns]
    return tables


def _times(columns: list[int], vector: int) -> int:
    product, bit = 0, 0
    while vector:
        if vector & 1:
            product ^= columns[bit]
        vector >>= 1
        bit += 1
    return product


def _table(columns: list[int]) -> "array[int]":
    table = array("I", bytes(4 * 1024))
    for byte in range(4):
        for value in range(1, 256):
            lowest = value & -value
            rest = table[256 * byte + (value ^ lowest)]
            table[256 * byte + value] = rest ^ columns[8 * byte + lowest.bit_length() - 1]
    return table
