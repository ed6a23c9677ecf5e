"""Writing changed files. Bytes after the last change are shared with the stored file, not copied."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from crc32c import crc32c as crc32c_of

from server.dicom.elements.transfer_syntax import transfer_syntax
from server.dicom.part10.rewriter import inflate
from server.dicom.updating.changes import Changes, NotEncodable
from server.dicom.updating.description import tags_in
from server.dicom.updating.editing import FileEditor, not_possible
from server.dicom.updating.edits import Edit, Edits
from server.dicom.updating.layouts import Layouts
from server.model.buffer import Buffer
from server.model.ids import PartitionName
from server.model.instance import StoredInstance
from server.model.lifecycle.update import ChangedFile, Content
from server.model.receipt import Receipt
from server.ports.blobs import BlobStore, Tail

_PIECE_BYTES = 64 << 10  # the blob store verifies blocks of this size
_FIRST_BYTES = 4 << 10
_FOLLOWING_BYTES = 64
"""Bytes after the last change that are also copied, if they have been read: the next update of the same attributes then
finds the following element without reading the shared bytes."""

_MIN_SHARED_BYTES = 16 << 10
"""Fewer bytes are copied, because reading two blobs costs more than storing them again."""


class Rewriting:
    """Writes changed files.

    Args:
        receipt: returns a receipt with the current time for an instance in a partition.
    """

    def __init__(self, blobs: BlobStore, receipt: Callable[[PartitionName], Receipt]) -> None:
        self._blobs = blobs
        self._receipt = receipt

    async def rewrite(self, content: Content, changes: Changes, layouts: Layouts | None = None) -> ChangedFile:
        """Write the file of an instance with changes; return its blob, which is committed and not settled.

        Args:
            layouts: of other files with the same changes.

        Raises:
            InvalidRequest: INVALID_INSTANCE, the instance cannot be changed; UNREADABLE_INSTANCE.
            DataLoss, Exhausted, Unavailable: as the blob store.
        """
        stored = content.stored
        is_deflated = transfer_syntax(stored.transfer_syntax_uid).is_deflated
        write = self._rewrite_deflated if is_deflated else self._rewrite
        for to_utf_8 in (False, True):
            editor = FileEditor(
                stored.transfer_syntax_uid,
                changes,
                sop_class_uid=stored.sop_class_uid,
                sop_instance_uid=stored.id.instance,
                present=partial(tags_in, content.dicom_json, changes.tags),
                to_utf_8=to_utf_8,
                layouts=None if is_deflated else layouts,
            )
            try:
                return await write(stored, editor)
            except NotEncodable:
                continue
        raise not_possible("A new value has characters that cannot be encoded, or is too long.")

    async def _rewrite(self, stored: StoredInstance, editor: FileEditor) -> ChangedFile:
        return await self._written(stored, *await self._edits(stored, editor))

    async def _edits(self, stored: StoredInstance, editor: FileEditor) -> tuple[bytes, Edits]:
        """Return the edits of a file, and those of its first bytes that have been read and are to be written again."""
        start: Buffer = b""
        shared = await self._blobs.shared(stored.locator)
        own_bytes = shared.own_bytes if shared is not None else 0
        while not editor.is_done and editor.at < stored.size_bytes:
            at = editor.at
            length = min(_PIECE_BYTES - at % _PIECE_BYTES, stored.size_bytes - at)
            if at < own_bytes:  # an updated file: its own bytes contain the last changes, and mostly these, too
                length = min(length, own_bytes - at)
            piece = await self._blobs.read_piece(stored.locator, at, length, stored.crc32c)
            start = start or piece
            size = _FIRST_BYTES  # mostly enough, and feeding copies
            while not editor.is_done and editor.at < at + length:
                editor.feed(piece[editor.at - at : editor.at - at + size])
                size *= 4
        edits = editor.finish(stored.size_bytes)
        return bytes(start[: _end_of_copy(stored, len(start), edits)]), edits

    async def copy(self, stored: StoredInstance) -> ChangedFile:
        """Write a file with the bytes of another version, which it shares; return its blob as `rewrite`.

        Raises:
            DataLoss, Exhausted, Unavailable: as the blob store.
        """
        return await self._written(stored, b"", Edits([Edit(0, 0, b"")], has_utf_8=False))

    async def _written(self, stored: StoredInstance, start: bytes, edits: Edits) -> ChangedFile:
        """Write a file with edits. `start` are bytes of it that have been read."""
        end = _end_of_copy(stored, len(start), edits)
        async with self._blobs.open_write(partition=stored.id.partition) as writer:
            if end <= len(start):
                await writer.write(_edited(start[:end], edits.edits))
                before_crc32c = crc32c_of(start[:end])
            else:
                before_crc32c = 0
                read = self._blobs.read(stored.locator, 0, end, crc32c=stored.crc32c)
                edited = _Edited(edits.edits, 0)
                async for piece in read:
                    before_crc32c = crc32c_of(piece, before_crc32c)
                    for part in edited.take(piece):
                        await writer.write(part)
                for part in edited.finish():
                    await writer.write(part)
            receipt = self._receipt(stored.id.partition)
            if end == stored.size_bytes:
                size_bytes = stored.size_bytes + edits.shifts[-1][1]
                crc32c = writer.crc32c
                return _file(await writer.commit(receipt), size_bytes, crc32c, edits)
            tail = Tail(stored.locator, stored.size_bytes, stored.crc32c, end, before_crc32c)
            derived = await writer.commit_before(tail, receipt)
            return _file(derived.locator, derived.size_bytes, derived.crc32c, edits)

    async def _rewrite_deflated(self, stored: StoredInstance, editor: FileEditor) -> ChangedFile:
        """Write a deflated file: all of its data set is compressed again."""
        position = 0
        async for piece in self._inflated(stored):
            end = position + len(piece)
            if not editor.is_done and editor.at < end:
                editor.feed(piece[editor.at - position :])
            position = end
        edits = editor.finish(position)
        meta, *others = edits.edits
        deflater, size_bytes = zlib.compressobj(wbits=-15), len(meta.new)
        edited = _Edited(others, meta.end)
        async with self._blobs.open_write(partition=stored.id.partition) as writer:
            await writer.write(meta.new)

            async def write(parts: Sequence[Buffer]) -> None:
                nonlocal size_bytes
                for part in parts:
                    if part:
                        size_bytes += len(part)
                        await writer.write(part)

            position = 0
            async for piece in self._inflated(stored):
                skipped = min(len(piece), max(0, meta.end - position))
                position += len(piece)
                await write([deflater.compress(part) for part in edited.take(piece[skipped:])])
                await asyncio.sleep(0)
            await write([deflater.compress(part) for part in edited.finish()])
            await write([deflater.flush()])
            await write([bytes(size_bytes % 2)])  # to an even length, PS3.5 section A.5
            crc32c = writer.crc32c
            return _file(await writer.commit(self._receipt(stored.id.partition)), size_bytes, crc32c, edits)

    def _inflated(self, stored: StoredInstance) -> AsyncIterator[bytes]:
        return inflate(self._blobs.read(stored.locator, crc32c=stored.crc32c))


class _Edited:
    """Applies edits to bytes that arrive in pieces, from the position `at` of the file."""

    def __init__(self, edits: Sequence[Edit], at: int) -> None:
        self._coming = list(reversed(edits))
        self._at = at
        self._is_begun = False  # the new bytes of the next edit are written, its old ones follow

    def take(self, piece: Buffer) -> list[Buffer]:
        """Return the output that follows from the next bytes."""
        parts: list[Buffer] = []
        start, end = self._at, self._at + len(piece)
        position = start
        while self._coming and self._coming[-1].start < end:
            edit = self._coming[-1]
            if not self._is_begun:
                parts += (piece[position - start : edit.start - start], edit.new)
                position = edit.start
            self._is_begun = edit.end > end
            position = min(max(position, edit.end), end)
            if self._is_begun:
                break
            self._coming.pop()
        parts.append(piece[position - start :])
        self._at = end
        return [part for part in parts if part]

    def finish(self) -> list[Buffer]:
        """Return the output of edits at the end."""
        return [edit.new for edit in reversed(self._coming) if edit.new and not self._is_begun]


def _end_of_copy(stored: StoredInstance, available: int, edits: Edits) -> int:
    """Return the end of the bytes that are not shared. `available`: number of the first bytes that have been read."""
    end = min(edits.end + _FOLLOWING_BYTES, available) if edits.end <= available else edits.end
    return stored.size_bytes if stored.size_bytes - end < _MIN_SHARED_BYTES else end


def _edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    parts, position = [], 0
    for edit in edits:
        parts += [data[position : edit.start], edit.new]
        position = edit.end
    parts.append(data[position:])
    return b"".join(parts)


def _file(locator: str, size_bytes: int, crc32c: int, edits: Edits) -> ChangedFile:
    return ChangedFile(locator, size_bytes, crc32c, edits.shifts, edits.has_utf_8)
