"""Instances as the core sends them, ready for a C-STORE: complete, without their file meta information."""

import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import IO, Any, NamedTuple

from dicomstore.v1.resources_pb2 import ItemError
from dicomstore.v1.retrieve_service_pb2 import InstanceHead, RetrievedPiece, RetrieveInstancesResponse

from common.wire import fields

Bytes = bytes | bytearray

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_LONG_VRS = frozenset({b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF", b"OD", b"OL", b"OV", b"UC", b"UR", b"SV", b"UV"})
_MEMORY_BYTES = 1 << 20
"""Instances up to this size are kept in memory until they are complete, larger ones in a temporary file."""

_READ_BYTES = 256 << 10
_MAX_META_BYTES = 64 << 10


class Instance:
    """A complete instance; closed after use."""

    def __init__(self, study: str, series: str, uid: str, sop_class: str, transfer_syntax: str) -> None:
        self.study, self.series, self.uid = study, series, uid
        self.sop_class, self.transfer_syntax = sop_class, transfer_syntax
        self._parts: list[bytes | memoryview] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def append(self, data: bytes | memoryview) -> None:
        """Add bytes of the Part 10 file."""
        self._size += len(data)
        if self._file is None and self._size > _MEMORY_BYTES:
            self._file = tempfile.TemporaryFile(prefix="dicomstore-dimse-")  # noqa: SIM115 - see `close`
            self._file.writelines(self._parts)
            self._parts.clear()
        if self._file is None:
            self._parts.append(data)
        else:
            self._file.write(data)

    @property
    def size_bytes(self) -> int:
        """Size of the Part 10 file."""
        return self._size

    def data_set(self) -> Iterator[bytes | memoryview] | None:
        """Return the bytes of the encoded data set, whose number is even; None if this is no Part 10 file."""
        offset = data_set_offset(self._head())
        return None if offset is None else self._bytes_from(offset)

    def _bytes_from(self, offset: int) -> Iterator[bytes | memoryview]:
        is_odd = (self._size - offset) % 2  # a deflated data set, or bytes after the last element
        if self._file is None:
            parts: Iterable[bytes | memoryview] = self._parts
        else:
            self._file.seek(0)
            parts = iter(partial(self._file.read, _READ_BYTES), b"")
        for part in parts:
            view = memoryview(part)[offset:]
            offset -= len(part) - len(view)
            if view:
                yield view
        if is_odd:
            yield b"\0"

    def close(self) -> None:
        """Release its memory or file."""
        self._parts.clear()
        if self._file is not None:
            self._file.close()

    def _head(self) -> bytes:
        if self._file is not None:
            self._file.seek(0)
            return self._file.read(_MAX_META_BYTES)
        head = b""
        for part in self._parts:
            head += part[: _MAX_META_BYTES - len(head)]
        return head


class Failed(NamedTuple):
    """An instance that the core cannot send."""

    uid: str


def instances_of(responses: Iterable[Bytes], wanted: frozenset[str]) -> Iterator[Instance | Failed]:
    """Yield the instances of a stream, those with other SOP Instance UIDs left out.

    Each is yielded when its last byte has arrived and its checksum has been compared, and closed when the next one is
    requested.

    Args:
        responses: serialised messages of type RetrieveInstancesResponse, whose bytes are not copied.
    """
    current: Instance | None = None
    try:
        for response in responses:
            for piece in _pieces(response):
                if piece.head is not None and piece.head.id.sop_instance_uid in wanted:
                    address, head = piece.head.id, piece.head
                    current = Instance(
                        address.study_instance_uid,
                        address.series_instance_uid,
                        address.sop_instance_uid,
                        head.sop_class_uid,
                        head.transfer_syntax_uid,
                    )
                if piece.failed is not None:
                    uid = current.uid if current else piece.failed.instance.sop_instance_uid
                    if current is not None:
                        current.close()
                        current = None
                    if uid in wanted:
                        yield Failed(uid)
                    continue
                if current is None:
                    continue
                if piece.data:
                    current.append(piece.data)
                if piece.is_last:
                    yield current
                    current.close()
                    current = None
    finally:
        if current is not None:
            with suppress(OSError):
                current.close()


class _Piece(NamedTuple):
    """A RetrievedPiece."""

    head: InstanceHead | None
    data: memoryview | None
    is_last: bool
    failed: ItemError | None


def _pieces(response: Bytes) -> Iterator[_Piece]:
    for number, piece in fields(memoryview(response)):
        if number == RetrieveInstancesResponse.PIECES_FIELD_NUMBER and isinstance(piece, memoryview):
            found: dict[int, Any] = dict(fields(piece))
            head, failed = found.get(RetrievedPiece.HEAD_FIELD_NUMBER), found.get(RetrievedPiece.FAILED_FIELD_NUMBER)
            yield _Piece(
                None if head is None else InstanceHead.FromString(bytes(head)),
                found.get(RetrievedPiece.DATA_FIELD_NUMBER),
                bool(found.get(RetrievedPiece.LAST_FIELD_NUMBER)),
                None if failed is None else ItemError.FromString(bytes(failed)),
            )


def data_set_offset(head: bytes) -> int | None:
    """Return the position of the first byte after the file meta information (PS3.10 section 7.1); None without it."""
    position = _PREAMBLE_BYTES + len(_PREFIX)
    if head[_PREAMBLE_BYTES:position] != _PREFIX:
        position = 0
    start = position
    while head[position : position + 2] == b"\2\0":
        if position + 12 > len(head):
            return None
        if head[position + 4 : position + 6] in _LONG_VRS:
            (length,) = struct.unpack_from("<I", head, position + 8)
            position += 12 + length
        else:
            (length,) = struct.unpack_from("<H", head, position + 6)
            position += 8 + length
    return position if start < position <= len(head) else None
