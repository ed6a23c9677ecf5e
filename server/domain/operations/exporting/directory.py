"""The DICOMDIR of an export."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from server.dicom.media.directory_file import DirectoryEntry, DirectoryWriter, TooLarge
from server.model.buffer import Buffer
from server.model.errors import InvalidRequest, Reason
from server.model.lifecycle.export import ExportedFile

_PIECE_BYTES = 1 << 20


async def directory_of(operation_id: str, pages: AsyncIterator[Sequence[ExportedFile]]) -> AsyncGenerator[Buffer]:
    """Yield the DICOMDIR of an export. It is written to a temporary file, since records refer to later ones.

    Args:
        pages: its files, by patient, study, series and number.

    Raises:
        InvalidRequest: INVALID_FIELD, it would be too large.
    """
    with tempfile.TemporaryFile() as file:
        writer = DirectoryWriter(file, f"2.25.{int(operation_id, 16)}")

        def add(page: Sequence[ExportedFile]) -> None:
            for entry in page:
                writer.add(_entry(entry))

        try:
            async for page in pages:
                await asyncio.to_thread(add, page)
        except TooLarge:
            raise InvalidRequest(Reason.INVALID_FIELD, "The DICOMDIR is too large.", field="dicomdir") from None
        await asyncio.to_thread(writer.finish)
        file.seek(0)
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


def _entry(file: ExportedFile) -> DirectoryEntry:
    return DirectoryEntry(
        file.patient,
        file.study,
        file.series,
        file.instance,
        file.sop_class_uid,
        file.transfer_syntax_uid,
        file.path,
        file.directory,
    )
