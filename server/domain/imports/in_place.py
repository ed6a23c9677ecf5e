"""Adopting files in place: the index refers to them, and their bytes are not copied."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from server.dicom.elements.external_metadata import ExternalAttribute
from server.domain.store.receive import Receiver, Store, StoreTarget
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.ids import Address, PartitionName
from server.model.instance import Locator, ValidationMode
from server.model.partition import DuplicatePolicy
from server.ports.blobs import BlobStore, BlobWriter, most_piece_bytes


class AdoptingStore:
    """`server.domain.store.upload.Destination`: stores instances whose bytes stay where they are.

    Args:
        folder: name of the adopted folder.
        next_path: returns the path below it of the file whose bytes the next receiver gets.
    """

    def __init__(self, store: Store, blobs: BlobStore, folder: str, next_path: Callable[[], str]) -> None:
        self._store = store
        self._blobs = blobs
        self._folder = folder
        self._next_path = next_path

    async def target(
        self,
        call: Call,
        address: Address,
        *,
        create_partition: bool,
        mode: ValidationMode,
        duplicates: DuplicatePolicy | None = None,
        reason: str = "",
        external: Sequence[ExternalAttribute] = (),
        expires_after: timedelta | None = None,
    ) -> StoreTarget:
        """See `Store`."""
        return await self._store.target(
            call,
            address,
            create_partition=create_partition,
            mode=mode,
            duplicates=duplicates,
            reason=reason,
            external=external,
            expires_after=expires_after,
        )

    def receive(self, target: StoreTarget, declared_size_bytes: int | None = None) -> Receiver:
        """See `Store`."""
        blobs = _AdoptedBlob(self._blobs, self._folder, self._next_path())
        return self._store.receive(target, declared_size_bytes, blobs)


class _AdoptedBlob:
    """`server.domain.store.receive.ReceiverBlobs` of one file."""

    def __init__(self, blobs: BlobStore, folder: str, path: str) -> None:
        self._blobs = blobs
        self._folder = folder
        self._path = path

    def open_write(
        self, size_hint: int | None = None, partition: PartitionName | None = None
    ) -> AbstractAsyncContextManager[BlobWriter]:
        """See the port."""
        return self._blobs.adopt(self._folder, self._path)

    def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[Buffer]:
        """See the port."""
        return self._blobs.read(locator, offset, length, piece_bytes, crc32c)
