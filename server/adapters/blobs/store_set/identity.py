"""Identity of the archive and progress of the index, recorded in several stores. All functions block.

Each store has the archive's id. It is written to a store that has none when the set is first used.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from server.model.archive import ArchiveId, BlobsIdentity, Mark
from server.model.errors import Reason, Unavailable
from server.model.store_id import NO_ID, StoreId
from server.ports.storage import Storage

_CORRECT = "Correct DICOMSTORE_BLOBS or DICOMSTORE_BLOBS_ALSO. Nothing was changed."


class SetIdentity:
    """IdentityRecord (see `server.ports.archive`) of several stores.

    Args:
        stores: the primary one first.
    """

    def __init__(self, stores: Sequence[Storage]) -> None:
        self._stores = stores

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See the port. Stores are locked in the same order whichever is the primary one."""
        stores = {os.path.realpath(store.identity.read().place): store for store in self._stores}
        if len(stores) < len(self._stores):
            raise _refused("Two URLs are the same directory")
        with ExitStack() as stack:
            for place in sorted(stores):
                stack.enter_context(stores[place].identity.lock())
            yield

    def read(self) -> BlobsIdentity:
        """See the port. `is_bound` and `is_recovering` are true if they are for one store.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE, also when the stores cannot belong together.
        """
        found = [store.identity.read() for store in self._stores]
        known = [one for one in found if one.id is not None]
        for one in known:
            if one.id != known[0].id:
                raise _refused(f"{known[0].place} and {one.place} belong to different archives")
        owners: dict[StoreId, BlobsIdentity] = {}
        for one in found:
            for store in one.stores if one.has_blobs else ():
                if store in owners:
                    raise _refused(_same_id(owners[store], one, store))
                owners[store] = one
        return replace(
            found[0],
            id=known[0].id if known else None,
            is_bound=any(one.is_bound for one in known),
            has_blobs=any(one.has_blobs for one in found),
            mark=highest(one.mark for one in found),
            is_recovering=any(one.is_recovering for one in found),
            requires_authentication=any(one.requires_authentication for one in found),
            stores=frozenset[StoreId]().union(*(one.stores for one in found)),
            further={store: one.place for one in found[1:] for store in one.stores if store not in found[0].stores},
            has_unbound_stores=any(one.id is None or not one.is_bound for one in found),
            writes_elsewhere=any(store.marks.is_in_use() for store in self._stores[1:]),
        )

    def write(self, archive: ArchiveId, *, is_bound: bool, is_recovering: bool = False) -> None:
        """See the port. A store without blobs gets a store id if another one has none."""
        self.assign_store_id()
        for store in self._stores:
            found = store.identity.read()
            if (found.id, found.is_bound, found.is_recovering) != (archive, is_bound, is_recovering):
                store.identity.write(archive, is_bound=is_bound, is_recovering=is_recovering)

    def assign_store_id(self) -> None:
        """Give ids to stores without blobs, until at most one store has none."""
        without = [store for store in self._stores if NO_ID in store.identity.read().stores]
        for store in [store for store in without if not store.identity.read().has_blobs][: len(without) - 1]:
            store.identity.assign_store_id()

    def require_authentication(self) -> None:
        """See the port."""
        for store in self._stores:
            store.identity.require_authentication()


class SetMarks:
    """MarkRecord (see `server.ports.archive`): all marks count, and the primary store has that of this process."""

    def __init__(self, stores: Sequence[Storage]) -> None:
        self._stores = stores
        self._primary = stores[0].marks
        self.record = self._primary.record

    @property
    def latest(self) -> Mark:
        """See the port."""
        return self._primary.latest

    def enter(self) -> Mark:
        """See the port."""
        mark = highest([*(store.identity.read().mark for store in self._stores), self._primary.enter()])
        if mark != self._primary.latest:
            self._primary.record(mark)
        return mark

    def is_in_use(self) -> bool:
        """See the port."""
        return any(store.marks.is_in_use() for store in self._stores)


def highest(marks: Iterable[Mark]) -> Mark:
    """Return the highest version, with its shard, and the highest sequence."""
    found = list(marks)
    newest = max(found, key=lambda mark: mark.version)
    return replace(newest, sequence=max(mark.sequence for mark in found))


def _same_id(one: BlobsIdentity, other: BlobsIdentity, store: StoreId) -> str:
    if store == NO_ID:
        return f"{one.place} and {other.place} hold blobs without a store id, which cannot be told apart"
    return f"{one.place} and {other.place} have the same store id {store}: one is a copy of the other"


def _refused(text: str) -> Unavailable:
    return Unavailable(Reason.STORAGE_UNAVAILABLE, f"{text}. {_CORRECT}")
