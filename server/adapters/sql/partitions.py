"""Keys of data partitions, and which are deleted."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.tables.archive import partitions
from server.model.ids import PartitionName

_DEFAULT = 1
_DELETED = Prepared(
    select(partitions.c.key).where(
        partitions.c.key.in_(bindparam("keys", expanding=True)), partitions.c.deleted.is_not(None)
    )
)


class PartitionKeys:
    """Keys of partitions by name, including those of deleted ones. They never change, so they are cached."""

    def __init__(self) -> None:
        self._known: dict[PartitionName, int] = {}

    def of(self, connection: Connection, names: Collection[PartitionName]) -> dict[PartitionName, int]:
        """Return the keys of partitions that exist or did."""
        unknown = [name for name in set(names) if name not in self._known]
        if unknown:
            rows = connection.execute(select(partitions.c.name, partitions.c.key).where(partitions.c.name.in_(unknown)))
            self._known.update((PartitionName(name), key) for name, key in rows)
        return {name: self._known[name] for name in names if name in self._known}

    def one(self, connection: Connection, name: PartitionName) -> int | None:
        """Return the key of a partition; None if there never was one with this name."""
        return self.of(connection, (name,)).get(name)


def deleted_later(connection: Connection, keys: Collection[int]) -> Callable[[], Sequence[Any]]:
    """Return a function that returns those of some partitions that are deleted; see `Prepared.tuples_later`.

    The default partition, which most archives have only, cannot be deleted.
    """
    others = [key for key in keys if key != _DEFAULT]
    return _DELETED.tuples_later(connection, {"keys": others}) if others else tuple


def is_deleted(connection: Connection, key: int) -> bool:
    """Return whether a partition is deleted."""
    return bool(deleted_later(connection, [key])())
