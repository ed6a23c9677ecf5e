"""Part 10 files in another transfer syntax, as streams."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from server.dicom.elements import transfer_syntax
from server.dicom.elements.element_headers import table_of
from server.dicom.part10 import file_meta
from server.dicom.part10.deflate import Inflater
from server.dicom.part10.file_meta import FileMeta
from server.dicom.part10.parser import unreadable
from server.dicom.part10.recoder import Recoder
from server.model.buffer import Buffer


class Rewriter:
    """Converts a Part 10 file (deflated ones already inflated), fed in pieces, to another transfer syntax.

    Args:
        source_uid, target_uid: transfer syntaxes; all compressed ones are explicit little endian except for pixel data.
        sop_class_uid, sop_instance_uid: of the data set, for the file meta information.
        changes, stop_at, size_bytes: see `Recoder`.
    """

    def __init__(
        self,
        source_uid: str,
        target_uid: str,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        changes: Mapping[int, tuple[str, bytes] | None] | None = None,
        stop_at: int | None = None,
        size_bytes: int | None = None,
    ) -> None:
        self._source = transfer_syntax.transfer_syntax(source_uid)
        self._target_uid = target_uid
        self._sop_class_uid = sop_class_uid
        self._sop_instance_uid = sop_instance_uid
        self._changes = changes
        self._stop_at = stop_at
        self._size_bytes = size_bytes
        self._recoder: Recoder | None = None
        self._held = b""
        self._end = 0

    @property
    def has_stopped(self) -> bool:
        """Whether it waits for `resume`."""
        return self._recoder is not None and self._recoder.has_stopped

    def feed(self, piece: Buffer) -> bytes:
        """Process the next bytes of the file and return the resulting output.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, the file differs from the one that was stored.
        """
        self._end += len(piece)
        self._held += piece
        written = b""
        if self._recoder is None:
            found = file_meta.read_meta(self._held, is_whole=False)
            if not isinstance(found, FileMeta):
                return b""
            written = file_meta.new_file_meta(
                self._held[: found.end],
                sop_class_uid=self._sop_class_uid,
                sop_instance_uid=self._sop_instance_uid,
                transfer_syntax_uid=self._target_uid,
            )
            self._recoder = self._new_recoder(found.end)
            self._held = self._held[found.end :]
        elif len(self._held) < self._recoder.needed:
            return b""
        recoder = self._recoder
        recoder.feed(self._held, self._end - len(self._held))
        self._held = self._held[len(self._held) - (self._end - recoder.at) :] if recoder.at < self._end else b""
        return written + recoder.taken()

    def resume(self, vr: str, length: int | None, at: int) -> bytes:
        """Return the header of the new pixel data, whose value the caller sends next; then continue at `at` in the
        file.

        length: of the value in bytes; None for compressed pixel data, whose value is its items and delimiter.
        """
        assert self._recoder is not None, "it has stopped"
        self._recoder.write_pixels(vr, length)
        self._recoder.resume(at)
        self._held, self._end = b"", at
        return self._recoder.taken()

    def finish(self) -> bytes:
        """Return the remaining output after the whole file was fed.

        Raises:
            InvalidRequest: UNREADABLE_INSTANCE, the file is truncated.
        """
        if self._recoder is None:
            raise unreadable("The file ends within its file meta information.")
        self._recoder.finish(self._end, self._held)
        return self._recoder.taken()

    def _new_recoder(self, at: int) -> Recoder:
        source = self._source
        return Recoder(
            at,
            explicit=table_of(is_implicit=False, is_big_endian=source.is_big_endian),
            implicit=table_of(is_implicit=True, is_big_endian=source.is_big_endian),
            is_implicit=source.is_implicit,
            to_implicit=self._target_uid == transfer_syntax.IMPLICIT_LITTLE,
            changes=self._changes,
            stop_at=self._stop_at,
            keeps_compressed_icons=self._source.uid == self._target_uid,
            has_big_endian_pixels=source.has_big_endian_pixels,
            size_bytes=self._size_bytes,
        )


async def inflate(chunks: AsyncIterator[Buffer]) -> AsyncIterator[bytes]:
    """Yield a deflated file with its data set inflated; preamble and file meta information are unchanged.

    Offsets in `PixelLayout` and `BulkElement` of a deflated instance refer to this form.

    Raises:
        InvalidRequest: UNREADABLE_INSTANCE, the deflated stream is incomplete or damaged.
    """
    held = b""
    inflater: Inflater | None = None
    async for chunk in chunks:
        if inflater is None:
            held += chunk
            found = file_meta.read_meta(held, is_whole=False)
            if not isinstance(found, FileMeta):
                continue
            yield held[: found.end]
            inflater, chunk = Inflater(), held[found.end :]
        for piece in inflater.inflate(chunk):
            yield piece
            await asyncio.sleep(0)  # a small chunk may become large
    if inflater is None:
        raise unreadable("The file ends within its file meta information.")
    inflater.finish()
