"""Storage of extended query tags and their values; the domain decides on their state."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, func, insert, select, update

from server.adapters.sql import operations
from server.adapters.sql.core import counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.query_tags.tag_values import Indexing, Owners, active, subtract_errors, tag_of
from server.adapters.sql.rows import ALIVE
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.instances import instances, metadata, series
from server.adapters.sql.tables.query_tags import tag_errors, tag_values, tags
from server.adapters.sql.tables.studies import studies
from server.model.ids import InstanceId, PartitionName
from server.model.operation import Operation, Update
from server.model.search.query_tag import QueryStatus, Tag, TagError, TagFault, TagStatus, TagValue
from server.ports.tags import Extract, TagAddition, TagBatch, TagsState

_ROWS_AT_ONCE = 5_000
"""Maximum number of a deleted tag's rows that are deleted in one transaction."""

_BYTES_AT_ONCE = 16 << 20
"""Maximum number of bytes of metadata in memory; a single one may be as large as the largest data set."""

_VALUES_AT_ONCE = 2_000
"""Maximum number of values written in one transaction, which blocks other writers; a single instance may have more."""

_ONE = Prepared(select(tags).where(tags.c.tag == bindparam("of_tag")))


class SqlTags:
    """`server.ports.tags.Tags` in a database."""

    def __init__(self, transactions: Transactions, extract: Extract) -> None:
        self._transactions = transactions
        self._extract = extract

    async def add(self, request_id: str, decide: Callable[[TagsState], TagAddition]) -> Operation:
        """See the port."""
        return await self._transactions.write(lambda connection: _add(connection, request_id, decide), alone=True)

    async def list(self, *, after: int, skip: int, limit: int) -> Sequence[Tag]:
        """See the port."""
        page = select(tags).where(tags.c.key > after).order_by(tags.c.key).offset(skip).limit(limit)
        return await self._transactions.read(lambda connection: [tag_of(row) for row in connection.execute(page)])

    async def get(self, tag: str) -> Tag | None:
        """See the port."""
        return await self._transactions.read(lambda connection: _get(connection, tag))

    async def set_query_status(self, tag: str, status: QueryStatus) -> Tag | None:
        """See the port."""
        return await self._transactions.write(
            lambda connection: _set(connection, tag, query_status=int(status)), alone=True
        )

    async def set_status(self, tag: str, status: TagStatus) -> Tag | None:
        """See the port."""
        return await self._transactions.write(lambda connection: _set(connection, tag, status=int(status)), alone=True)

    async def purge(self, key: int) -> bool:
        """See the port."""
        return await self._transactions.write(lambda connection: _delete_some(connection, key), alone=True)

    async def errors(
        self, key: int, after: int, skip: int, limit: int, partitions: Collection[PartitionName] | None = None
    ) -> Sequence[tuple[int, TagError]]:
        """See the port."""
        query = _errors(key, after, skip, limit, partitions)
        return await self._transactions.read(
            lambda connection: [(row.number, _error(key, row)) for row in connection.execute(query)]
        )

    async def count_errors(self, keys: Collection[int], partitions: Collection[PartitionName]) -> Mapping[int, int]:
        """See the port."""
        query = (
            select(tag_errors.c.tag_key, func.count().label("errors"))
            .where(tag_errors.c.tag_key.in_(keys), _is_in(partitions))
            .group_by(tag_errors.c.tag_key)
        )
        return await self._transactions.read(
            lambda connection: {row.tag_key: row.errors for row in connection.execute(query)}
        )

    async def read(self, operation_id: str, position: str, most: int) -> TagBatch:
        """See the port."""
        return await self._transactions.read(
            lambda connection: _read(connection, self._extract, operation_id, int(position), most)
        )

    async def index(self, batch: TagBatch, operation_id: str, update: Update, *, status: TagStatus) -> Operation | None:
        """See the port."""
        assert isinstance(batch, _Batch), "a batch is indexed by the adapter that read it"
        return await self._transactions.write(
            lambda connection: _index(connection, batch, operation_id, update, status)
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    """See `TagBatch` of the port. A position is a version: instances with lower versions are not indexed yet.

    found: the newest instance first.
    """

    version: int
    next_version: int
    is_last: bool
    found: Sequence[tuple[Owners, Mapping[int, TagValue | TagFault]]]

    @property
    def next_position(self) -> str:
        return str(self.next_version)

    @property
    def count(self) -> int:
        return len(self.found)

    @property
    def faulty(self) -> int:
        return sum(any(isinstance(value, TagFault) for value in values.values()) for _, values in self.found)


def _add(connection: Connection, request_id: str, decide: Callable[[TagsState], TagAddition]) -> Operation:
    if known := operations.started_by(connection, request_id):
        return known
    state = TagsState(
        tags=[tag_of(row) for row in connection.execute(select(tags).order_by(tags.c.key))],
        unfinished=operations.unfinished(connection),
        # PostgreSQL returns the sum of such columns as a decimal.
        instances=int(connection.execute(select(func.coalesce(func.sum(studies.c.instance_count), 0))).scalar_one()),
        position=str(counters.highest_version(connection) + 1),
    )
    addition = decide(state)
    rows = [
        {
            "key": key,
            "tag": one.tag,
            "keyword": one.keyword,
            "vr": one.vr,
            "private_creator": one.private_creator,
            "level": int(one.level),
            "status": int(TagStatus.ADDING),
            "query_status": int(QueryStatus.ENABLED),
            "operation_id": addition.operation.id,
            "last_error": 0,
            "error_count": 0,
        }
        for key, one in enumerate(addition.tags, start=max((tag.key for tag in state.tags), default=0) + 1)
    ]
    connection.execute(insert(tags), rows)
    operations.add(connection, addition.operation, request_id)
    return addition.operation


def _get(connection: Connection, tag: str) -> Tag | None:
    row = _ONE.row(connection, {"of_tag": tag})
    return None if row is None else tag_of(row)


def _set(connection: Connection, tag: str, **values: int) -> Tag | None:
    connection.execute(update(tags).where(tags.c.tag == tag).values(values))
    return _get(connection, tag)


def _delete_some(connection: Connection, key: int) -> bool:
    """Delete some of a tag's rows, and with the last of them the tag; return whether rows remain.

    If two callers delete the same tag, its key may have been assigned to a new tag when the second one continues.
    """
    if connection.execute(select(tags.c.status).where(tags.c.key == key)).scalar() != int(TagStatus.DELETING):
        return False
    for table, column in ((tag_values, tag_values.c.owner), (tag_errors, tag_errors.c.number)):
        some = (
            select(column)
            .where(table.c.tag_key == key)
            .order_by(column)
            .limit(1)
            .offset(_ROWS_AT_ONCE)
            .scalar_subquery()
        )
        upto = connection.execute(select(some)).scalar()
        of_tag = delete(table).where(table.c.tag_key == key)
        deleted_count = connection.execute(of_tag if upto is None else of_tag.where(column < upto)).rowcount
        if table is tag_errors:
            subtract_errors(connection, key, deleted_count)
        if upto is not None:
            return True
    connection.execute(delete(tags).where(tags.c.key == key))
    return False


def _errors(key: int, after: int, skip: int, limit: int, names: Collection[PartitionName] | None) -> Select[Any]:
    query = (
        select(
            tag_errors.c.number,
            tag_errors.c.time,
            tag_errors.c.message,
            partitions.c.name.label("partition"),
            studies.c.uid.label("study"),
            series.c.uid.label("series"),
            instances.c.uid.label("instance"),
        )
        .join_from(tag_errors, instances, instances.c.version == tag_errors.c.version)
        .join(series, series.c.key == instances.c.series_key)
        .join(studies, studies.c.key == instances.c.study_key)
        .join(partitions, partitions.c.key == instances.c.partition_key)
        .where(tag_errors.c.tag_key == key, tag_errors.c.number > after)
        .order_by(tag_errors.c.number)
        .offset(skip)
        .limit(limit)
    )
    return query if names is None else query.where(_is_in(names))


def _is_in(names: Collection[PartitionName]) -> ColumnElement[bool]:
    """Return the condition that an error is that of an instance in some partitions."""
    return tag_errors.c.partition_key.in_(select(partitions.c.key).where(partitions.c.name.in_(names)))


def _error(key: int, row: Any) -> TagError:
    id_ = InstanceId(PartitionName(row.partition), row.study, row.series, row.instance)
    return TagError(key, id_, to_datetime(row.time), row.message)


def _read(connection: Connection, extract: Extract, operation_id: str, version: int, most: int) -> _Batch:
    wanted = [tag_of(tag) for tag in _tags_of(connection, operation_id)]
    if not wanted:
        return _Batch(version, version, True, ())
    most = max(1, min(most, _VALUES_AT_ONCE // len(wanted)))
    found, next_version, is_last = _newest_below(connection, version, most)
    taken = [
        (
            Owners(one.study_key, one.series_key, one.version, one.shard, one.partition_key),
            extract(one.dicom_json, wanted, frozenset((one.invalid_tags or "").split())),
        )
        for one in found
    ]
    return _Batch(version, next_version, is_last, taken)


def _index(
    connection: Connection, batch: _Batch, operation_id: str, update_: Update, status: TagStatus
) -> Operation | None:
    counters.lock(connection, {owners.shard for owners, _ in batch.found})
    operation = operations.find(connection, operation_id, locked=True)
    updated = None if operation is None else update_(operation)
    if updated is None:
        return operation
    indexing = Indexing(connection, _tags_of(connection, operation_id), to_microseconds(updated.operation.updated))
    there = _existing(connection, batch)
    for owners, values in batch.found:
        if owners.version in there:
            indexing.take(values, owners)
    indexing.write_beside()
    if status is not TagStatus.ADDING:
        of_operation = and_(tags.c.operation_id == operation_id, tags.c.status != int(TagStatus.DELETING))
        connection.execute(update(tags).where(of_operation).values(status=int(status), operation_id=""))
    return operations.save(connection, updated)


def _tags_of(connection: Connection, operation_id: str) -> list[Any]:
    return [tag for tag in active(connection) if tag.operation_id == operation_id]


def _existing(connection: Connection, batch: _Batch) -> set[int]:
    """Return the versions of a batch that still exist."""
    version = instances.c.version
    of_batch = select(version).where(version < batch.version, version >= batch.next_version, ALIVE)
    return set(connection.execute(of_batch).scalars())


def _newest_below(connection: Connection, version: int, most: int) -> tuple[Sequence[Any], int, bool]:
    """Return the newest instances with lower versions and their metadata, the lowest examined version, and whether
    there are no more below.

    Metadata of deleted instances and replaced versions is skipped.
    """
    sizes = connection.execute(
        select(metadata.c.version, func.length(metadata.c.dicom_json).label("size_bytes"))
        .where(metadata.c.version < version)
        .order_by(metadata.c.version.desc())
        .limit(most)
    ).all()
    room, count = _BYTES_AT_ONCE, 0
    for row in sizes:
        room -= row.size_bytes
        if room < 0 and count:
            break
        count += 1
    if not count:
        return [], version, True
    lowest = int(sizes[count - 1].version)
    found = connection.execute(
        select(
            instances.c.version,
            instances.c.shard,
            instances.c.partition_key,
            instances.c.study_key,
            instances.c.series_key,
            metadata.c.dicom_json,
            metadata.c.invalid_tags,
        )
        .join_from(instances, metadata, metadata.c.version == instances.c.version)
        .where(instances.c.version < version, instances.c.version >= lowest)
        .order_by(instances.c.version.desc())
    ).all()
    return found, lowest, count == len(sizes) < most
