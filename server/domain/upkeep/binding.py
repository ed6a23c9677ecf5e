"""Checking that a data directory and a database belong to one archive.

Without its index, blobs look like leftovers; without its blobs, an index looks damaged. Both therefore have the id of
their archive, which is compared before anything is served, recovered or erased.
"""

from collections.abc import Collection
from dataclasses import replace
from enum import Enum

from server.model.archive import BlobsIdentity, IndexIdentity
from server.model.store_id import StoreId


class ArchiveMismatch(Exception):
    """Data directory and database do not belong together; the message has the reason and what to do."""


class Binding(Enum):
    """The action for a valid pair."""

    BOUND = "both carry the same id"
    TO_BIND = "neither has the id of another archive: give both the same id"


def binding_of(blobs: BlobsIdentity, index: IndexIdentity) -> Binding:
    """Compare the two identities.

    Raises:
        ArchiveMismatch
    """
    if index.damage and (blobs.id or blobs.has_blobs or not index.is_new):
        raise ArchiveMismatch(_DAMAGED.format(blobs=blobs, index=index))
    if index.id is not None:
        if index.id == blobs.id:
            if missing := index.stores - blobs.stores:
                raise ArchiveMismatch(_NO_STORE.format(blobs=blobs, index=index, missing=_named(missing)))
            return Binding.BOUND if blobs.is_bound else Binding.TO_BIND
        raise ArchiveMismatch((_OTHER if blobs.id else _NO_ID).format(blobs=blobs, index=index))
    if index.is_new:
        if blobs.has_blobs:
            raise ArchiveMismatch(_LOST_INDEX.format(blobs=blobs, index=index))
        return Binding.TO_BIND
    if blobs.id is not None and blobs.is_bound:
        raise ArchiveMismatch(_OTHER.format(blobs=blobs, index=index))
    if index.has_instances and not blobs.has_blobs:
        raise ArchiveMismatch(_NO_ID.format(blobs=blobs, index=index))
    return Binding.TO_BIND


def require_recoverable(blobs: BlobsIdentity, index: IndexIdentity) -> None:
    """Compare the two identities for a recovery, which creates an index or completes one of the same archive.

    Raises:
        ArchiveMismatch
    """
    if not index.is_new or index.id is not None:
        binding_of(blobs, replace(index, stores=blobs.stores))  # the journal says where blobs of other stores are


def lost_transactions(blobs: BlobsIdentity, index: IndexIdentity) -> str:
    """Return a description of the transactions that an index has lost; empty if none."""
    if blobs.is_recovering:
        return _RECOVERING.format(blobs=blobs, index=index) + _LOST
    if not index.mark.is_behind(blobs.mark):
        return ""
    return (_DAMAGED_LOG if index.damaged_log else _OLDER).format(blobs=blobs, index=index) + _LOST


def _named(stores: Collection[StoreId]) -> str:
    return " and ".join(store or "without an id" for store in sorted(stores))


_CORRECT = "Correct DICOMSTORE_DATA, DICOMSTORE_BLOBS or DICOMSTORE_DATABASE (`dicomstore config` shows them)"
_RESTORE = (
    "restore the index from a backup, or rebuild it from the stored bytes with `dicomstore recover` "
    "(docs/operations.md, When the index is lost, damaged or old)"
)
_UNTOUCHED = " Nothing was changed."

_DAMAGED = (
    "The index {index.place} is damaged: {index.damage}. The bytes in {blobs.place} are kept as they are. "
    f"{_CORRECT} if it is the wrong file, or move it away and {_RESTORE}.{_UNTOUCHED}"
)
_LOST_INDEX = (
    "The index {index.place} is empty, but there are instances in {blobs.place}: the index was lost, or is that of "
    f"another archive. {_CORRECT} if it is the wrong one, or {_RESTORE}.{_UNTOUCHED}"
)
_OTHER = (
    "The index {index.place} belongs to another archive than the instances in {blobs.place} "
    f"({{index.id}} and {{blobs.id}}). {_CORRECT}.{_UNTOUCHED}"
)
_NO_STORE = (
    "The index {index.place} refers to blobs in another store than {blobs.place}, the store {missing}: add its URL to "
    "DICOMSTORE_BLOBS_ALSO (docs/operations.md, Several stores). Nothing was changed."
)
_LOST = (
    " Reading goes on, nothing can be stored or deleted. Stop the archive, put the right index in its place or run "
    "`dicomstore recover`, and start it again (docs/operations.md, When the index is lost, damaged or old)"
)
_RECOVERING = "a recovery of the index {index.place} was interrupted."
_BEHIND = (
    "the index {index.place} is at version {index.mark.version} and sequence {index.mark.sequence}, {blobs.place} "
    "has seen {blobs.mark.version} and {blobs.mark.sequence}: "
)
_OLDER = _BEHIND + "the index is an older copy, or has lost transactions."
_DAMAGED_LOG = _BEHIND + "a frame of its write-ahead log is damaged; a copy of the log is in {index.damaged_log}."
_NO_ID = (
    "The index {index.place} belongs to an archive whose bytes are not in {blobs.place}: a database serves one "
    f"archive. {_CORRECT}, or restore the bytes of the archive, with its archive.json, from a backup.{_UNTOUCHED}"
)
