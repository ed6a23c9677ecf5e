"""Blobs of instances that are moved to another store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from server.model.ids import Version
from server.model.instance import Locator
from server.model.store_id import StoreId


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """The blob of a version of an instance: its locator, size and CRC-32C."""

    version: Version
    locator: Locator
    size_bytes: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class BlobsOfInstance:
    """The blobs of an instance in one store. They are moved together, because they may share bytes.

    first: the lowest of their locators in the page.
    blobs: of all versions that are in the store, in ascending order.
    """

    first: Locator
    blobs: Sequence[StoredBlob]


@dataclass(frozen=True, slots=True)
class BlobPage:
    """Blobs of one store.

    instances: those that have one of the blobs, in order of their first locators.
    last: the locator after which the next page begins; None after the last page.
    """

    instances: Sequence[BlobsOfInstance] = ()
    last: Locator | None = None


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """What the index has in a store.

    versions, size_bytes: number and total size of versions of instances; those of deleted instances count until they
        are erased. Versions that share bytes count with all of theirs.
    old_copies: blobs that were moved and wait to be erased.
    erased_by: time until which they are kept; None without any.
    """

    store: StoreId
    versions: int = 0
    size_bytes: int = 0
    old_copies: int = 0
    erased_by: datetime | None = None
