"""Labels of studies, series and instances.

The owner of a label is the key of a study, series or instance. Keys remain the same in new versions, and in deleted and
restored rows, so that only the erasure of the bytes removes labels (`writing.locators`).
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, SmallInteger, bindparam, delete, insert, literal, select

from server.adapters.sql.core import counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.rows import SERIES_KEY, STUDY_KEY, address, depth, within
from server.adapters.sql.tables.instances import instances, series
from server.adapters.sql.tables.lifecycle import labels
from server.adapters.sql.tables.studies import studies
from server.model.ids import Address, PartitionName, Uid
from server.model.lifecycle.label import Labels
from server.model.search.query import Level
from server.ports.lifecycle.labels import Change

_OWNERS = {
    Level.STUDY: Prepared(select(studies.c.key, studies.c.shard).where(studies.c.key == STUDY_KEY)),
    Level.SERIES: Prepared(select(series.c.key, series.c.shard).where(series.c.key == SERIES_KEY)),
    Level.INSTANCE: Prepared(select(instances.c.key, instances.c.shard).where(*within(3))),
}
_LEVEL = bindparam("of_level", type_=SmallInteger)
_PRESENT = Prepared(
    select(labels.c.name, labels.c.value).where(labels.c.level == _LEVEL, labels.c.owner == bindparam("of_owner"))
)
_NAMES: BindParameter[str] = bindparam("names", expanding=True)
_REMOVE = Prepared(
    delete(labels).where(labels.c.level == _LEVEL, labels.c.owner == bindparam("of_owner"), labels.c.name.in_(_NAMES))
)
_INSERT = Prepared(insert(labels))
_IN_USE = Prepared(
    select(labels.c.name)
    .distinct()
    .where(labels.c.partition_key == bindparam("of_partition"), labels.c.name.in_(_NAMES))
)


def _of_level(level: Level) -> Prepared:
    """Return the query for the labels of studies, series or instances with some UIDs."""
    uids: tuple[BindParameter[str], ...] = (
        bindparam("study_uids", expanding=True),
        bindparam("uids", expanding=True),
    )
    of_owner = (labels.c.level == literal(int(level), SmallInteger),)
    columns = (labels.c.name, labels.c.value, studies.c.uid.label("study"))
    found: Select[Any]
    match level:
        case Level.STUDY:
            found = select(*columns).join_from(studies, labels, labels.c.owner == studies.c.key)
        case Level.SERIES:
            found = (
                select(*columns, series.c.uid.label("series"))
                .join_from(studies, series, series.c.study_key == studies.c.key)
                .join(labels, labels.c.owner == series.c.key)
                .where(series.c.uid.in_(uids[1]))
            )
        case Level.INSTANCE:
            found = (
                select(*columns, series.c.uid.label("series"), instances.c.uid.label("instance"))
                .join_from(instances, series, series.c.key == instances.c.series_key)
                .join(studies, studies.c.key == instances.c.study_key)
                .join(labels, labels.c.owner == instances.c.key)
                .where(instances.c.partition_key == bindparam("of_partition"), instances.c.uid.in_(uids[1]))
            )
    return Prepared(
        found.where(studies.c.partition_key == bindparam("of_partition"), studies.c.uid.in_(uids[0]), *of_owner)
    )


_OF_LEVEL = {level: _of_level(level) for level in Level}


class SqlLabels:
    """`server.ports.lifecycle.labels.LabelRecord` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def get(self, resource: Address) -> Labels | None:
        """See the port."""

        def work(connection: Connection) -> Labels | None:
            key = self._partition_keys.one(connection, resource.partition)
            owner = None if key is None else _owner(connection, key, resource)
            return None if owner is None else _present(connection, _level(resource), owner)

        return await self._transactions.read(work)

    async def of(self, partition: PartitionName, resources: Collection[Address]) -> Mapping[Address, Labels]:
        """See the port."""
        if not resources:
            return {}

        def work(connection: Connection) -> Mapping[Address, Labels]:
            key = self._partition_keys.one(connection, partition)
            return {} if key is None else _of(connection, key, partition, resources)

        return await self._transactions.read(work)

    async def change(self, resource: Address, change: Change, now: datetime) -> Labels | None:
        """See the port."""

        def work(connection: Connection) -> Labels | None:
            key = self._partition_keys.one(connection, resource.partition)
            return None if key is None else _change(connection, key, resource, change, now)

        return await self._transactions.write(work)

    async def in_use(self, partition: PartitionName, names: Collection[str]) -> Collection[str]:
        """See the port."""
        if not names:
            return ()

        def work(connection: Connection) -> Collection[str]:
            key = self._partition_keys.one(connection, partition)
            if key is None:
                return ()
            return [name for (name,) in _IN_USE.tuples(connection, {"of_partition": key, "names": names})]

        return await self._transactions.read(work)


def _level(resource: Address) -> Level:
    return Level(depth(resource))


def _owner(connection: Connection, partition_key: int, resource: Address) -> int | None:
    """Return the key of a study, series or instance; None if it does not exist."""
    row = _OWNERS[_level(resource)].row(connection, address(partition_key, resource))
    return None if row is None else int(row.key)


def _present(connection: Connection, level: Level, owner: int) -> Labels:
    return dict(sorted(_PRESENT.tuples(connection, {"of_level": int(level), "of_owner": owner})))


def _of(
    connection: Connection, partition_key: int, partition: PartitionName, resources: Collection[Address]
) -> Mapping[Address, Labels]:
    found: dict[Address, dict[str, str]] = {}
    for level in Level:
        wanted = {resource for resource in resources if _level(resource) is level}
        if not wanted:
            continue
        where = {
            "of_partition": partition_key,
            "study_uids": {resource.study for resource in wanted},
            "uids": {_uids_of(resource)[level - 1] for resource in wanted},
        }
        for name, value, *uids in sorted(_OF_LEVEL[level].tuples(connection, where)):
            resource = Address(partition, *map(Uid, uids))
            if resource in wanted:
                found.setdefault(resource, {})[name] = value
    return found


def _uids_of(resource: Address) -> tuple[Uid | None, ...]:
    return resource.study, resource.series, resource.instance


def _change(
    connection: Connection, partition_key: int, resource: Address, change: Callable[[Labels], Labels], now: datetime
) -> Labels | None:
    assert resource.study is not None, "a study, a series or an instance"
    shard = shard_of(connection, partition_key, resource.study)
    last = counters.lock(connection, [shard])
    owner, level = _owner(connection, partition_key, resource), _level(resource)
    if owner is None:
        return None
    present = _present(connection, level, owner)
    new = dict(sorted(change(present).items()))
    different = {name for name in present.keys() | new.keys() if present.get(name) != new.get(name)}
    if not different:
        return new
    version = last.next_version()  # an index without this change is recognised as older
    if progress := progress_of(connection.info):
        progress.journal.labelled(version, now, resource, new)
    if removed := different & present.keys():
        _REMOVE.send(connection, [{"of_level": int(level), "of_owner": owner, "names": sorted(removed)}])
    rows = [
        {
            "level": int(level),
            "owner": owner,
            "name": name,
            "value": new[name],
            "partition_key": partition_key,
            "shard": shard,
        }
        for name in sorted(different & new.keys())
    ]
    if rows:
        _INSERT.send(connection, rows)
    last.save()
    return new
