"""Conversion of files to messages of StoreInstances: several small files in one, a large file in several messages."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from crc32c import crc32c as crc32c_of
from dicomstore.v1 import store_service_pb2 as pb

from cli.opening import closed, opened
from cli.upload.files import PIECE_BYTES, PREFIX_BYTES, LocalFile, is_index_file, looks_like_dicom


class NotDicom(Exception):
    """The file is not DICOM and was not named by the user, so it is skipped."""


class Unsendable(Exception):
    """The file could not be read completely; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Content:
    """The contents of a small file."""

    data: bytes
    crc32c: int


def read_all(batch: Iterable[LocalFile]) -> list[Content | NotDicom | Unsendable]:
    """Read small files in order; blocking. Reads at most one byte more than the expected size of each."""
    return [_read(file) for file in batch]


def _read(file: LocalFile) -> Content | NotDicom | Unsendable:
    try:
        with open(file.path, "rb") as opened:
            prefix = opened.read(PREFIX_BYTES)
            if is_foreign(file, prefix):
                return NotDicom()
            data = prefix + opened.read(max(0, file.size_bytes - len(prefix)) + 1)
    except OSError as error:
        return Unsendable(error.strerror or str(error))
    if len(data) != file.size_bytes:
        return Unsendable(CHANGED)
    return Content(data, crc32c_of(data))


CHANGED = "changed during the upload"


def is_foreign(file: LocalFile, prefix: bytes) -> bool:
    """Return whether a file that starts with `prefix` is to be skipped."""
    return not file.named and (not looks_like_dicom(prefix) or is_index_file(file.path))


def whole(item: int, content: Content) -> pb.InstancePiece:
    """Return the only piece of a small file."""
    return pb.InstancePiece(
        item=item,
        data=content.data,
        last=True,
        declared_size_bytes=len(content.data),
        crc32c=content.crc32c,
    )


def given_up(item: int) -> pb.InstancePiece:
    """Return the piece that aborts an item."""
    return pb.InstancePiece(item=item, last=True, aborted=True)


async def pieces(item: int, file: LocalFile) -> AsyncGenerator[pb.InstancePiece, None]:
    """Yield the pieces of a large file, with one piece in memory. The first has the size, the last has the checksum.

    Raises:
        NotDicom: before the first piece.
        Unsendable: at any time; if a piece was yielded, the item must be aborted.
    """
    crc32c = sent_bytes = 0
    try:
        opened_file = await opened(file.path, "rb")
        try:
            while data := await opened_file.read(PIECE_BYTES):
                first = sent_bytes == 0
                if first and is_foreign(file, data):
                    raise NotDicom
                sent_bytes += len(data)
                crc32c = crc32c_of(data, crc32c)
                if sent_bytes > file.size_bytes:
                    break
                last = sent_bytes == file.size_bytes
                if last and await opened_file.read(1):
                    break
                yield pb.InstancePiece(
                    item=item,
                    data=data,
                    last=last,
                    declared_size_bytes=file.size_bytes if first else None,
                    crc32c=crc32c if last else None,
                )
                if last:
                    return
        finally:
            await closed(opened_file)
    except OSError as error:
        raise Unsendable(error.strerror or str(error)) from error
    raise Unsendable(CHANGED)
