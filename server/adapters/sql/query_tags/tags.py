"""Extended query tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from server.adapters.sql import operations
from server.adapters.sql.core.counters import Counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.tables import (
    instances,
    metadata,
    partitions,
    series,
    studies,
    tag_errors,
    tag_values,
    tags,
)
from server.adapters.sql.core.tables import operations as OPERATIONS
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.query_tags.tag_values import Indexing, Owners, count_errors_off, living, tag_of
from server.model.errors import AlreadyExists, Exhausted, Reason, WrongState
from server.model.ids import InstanceId, PartitionName
from server.model.operation import Operation, OperationState, OperationType
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagError, TagFault, TagStatus, TagValue
from server.ports.tags import Extract

_ROWS_AT_ONCE = 5_000
"""Rows of a deleted tag that go in one transaction."""

_BYTES_AT_ONCE = 16 << 20
"""Metadata that is in memory at the same time; one may be as large as the largest data set."""

_VALUES_AT_ONCE = 2_000
"""Values that are written in one transaction, while nobody else can write; of one instance there may be more."""

_THERE = tags.c.status != int(TagStatus.DELETING)
_ONE = Prepared(select(tags).where(tags.c.tag == bindparam("of_tag")))


class SqlTags:
    """`server.ports.tags.Tags` in a database."""

    def __init__(self, transactions: Transactions, extract: Extract) -> None:
        self._transactions = transactions
        self._extract = extract

    async def add(
        self, new: Sequence[NewTag], operation_id: str, request_id: str, most: int, now: datetime
    ) -> Operation:
        """See the port."""
        return await self._transactions.write(
            lambda connection: _add(connection, new, operation_id, request_id, most, now)
        )

    async def list(self, after: int, skip: int, limit: int) -> Sequence[Tag]:
        """See the port."""
        page = select(tags).where(tags.c.key > after).order_by(tags.c.key).offset(skip).limit(limit)
        return await self._transactions.read(lambda connection: [tag_of(row) for row in connection.execute(page)])

    async def get(self, tag: str) -> Tag | None:
        """See the port."""
        return await self._transactions.read(lambda connection: _get(connection, tag))

    async def set_query_status(self, tag: str, status: QueryStatus) -> Tag | None:
        """See the port."""

        def work(connection: Connection) -> Tag | None:
            Counters.lock(connection)
            connection.execute(update(tags).where(tags.c.tag == tag).values(query_status=int(status)))
            return _get(connection, tag)

        return await self._transactions.write(work)

    async def delete(self, tag: str) -> bool:
        """See the port."""
        key = await self._transactions.write(lambda connection: _mark(connection, tag))
        if key is None:
            return False
        await self._purge(key)
        return True

    async def finish_deletions(self) -> None:
        """See the port."""
        deleting = select(tags.c.key).where(tags.c.status == int(TagStatus.DELETING)).order_by(tags.c.key)
        for key in await self._transactions.read(lambda connection: connection.execute(deleting).scalars().all()):
            await self._purge(key)

    async def _purge(self, key: int) -> None:
        while await self._transactions.write(lambda connection: _delete_some(connection, key)):
            pass

    async def abandoned(self) -> Sequence[str]:
        """See the port."""
        unfinished = select(OPERATIONS.c.id).where(OPERATIONS.c.state < int(OperationState.SUCCEEDED))
        adding = select(tags.c.tag).where(tags.c.status == int(TagStatus.ADDING)).order_by(tags.c.key)
        left = adding.where(tags.c.operation_id.not_in(unfinished))
        return await self._transactions.read(lambda connection: connection.execute(left).scalars().all())

    async def errors(self, key: int, after: int, skip: int, limit: int) -> Sequence[tuple[int, TagError]]:
        """See the port."""
        return await self._transactions.read(lambda connection: _errors(connection, key, after, skip, limit))

    async def index(self, operation_id: str, most: int, now: datetime) -> bool:
        """See the port."""
        step = await self._transactions.read(
            lambda connection: _extracted(connection, self._extract, operation_id, most)
        )
        if step is None:
            return False
        return await self._transactions.write(lambda connection: _index(connection, step, operation_id, now))


@dataclass(frozen=True, slots=True)
class _Step:
    """What the next instances of an operation have for its tags; found out while others may write.

    rest: where the operation was then.
    next_rest: where it is when the step is done.
    found: newest first.
    """

    rest: int
    next_rest: int
    is_last: bool
    found: Sequence[tuple[Owners, Mapping[int, TagValue | TagFault]]]


def _add(
    connection: Connection, new: Sequence[NewTag], operation_id: str, request_id: str, most: int, now: datetime
) -> Operation:
    last = Counters.lock(connection)
    if request_id and (known := _started_by(connection, request_id)):
        return known
    names = {one.tag for one in new}
    if there := connection.execute(select(tags.c.tag).where(tags.c.tag.in_(names)).order_by(tags.c.key)).scalar():
        raise AlreadyExists(Reason.TAG_ALREADY_EXISTS, "The attribute is already an extended query tag.", path=there)
    if running := operations.unfinished(connection, OperationType.REINDEX):
        raise WrongState(
            Reason.OPERATION_RUNNING, "Another re-index operation is not finished.", operation=running[0].id
        )
    if connection.execute(select(func.count()).select_from(tags)).scalar_one() + len(new) > most:
        raise Exhausted(Reason.TOO_MANY_TAGS, f"The limit of {most} extended query tags is reached.")
    last_key = connection.execute(select(func.coalesce(func.max(tags.c.key), 0))).scalar_one()
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
            "operation_id": operation_id,
            "last_error": 0,
            "error_count": 0,
        }
        for key, one in enumerate(new, start=last_key + 1)
    ]
    connection.execute(insert(tags), rows)
    operation = Operation(
        id=operation_id,
        type=OperationType.REINDEX,
        state=OperationState.NOT_STARTED,
        created=now,
        updated=now,
        done=0,
        # PostgreSQL sums such columns as decimals.
        total=int(connection.execute(select(func.coalesce(func.sum(studies.c.instance_count), 0))).scalar_one()),
        subject=tuple(one.tag for one in new),
        errors=(),
    )
    operations.add(connection, operation, request_id=request_id, rest=last.version + 1)
    return operation


def _started_by(connection: Connection, request_id: str) -> Operation | None:
    row = connection.execute(select(OPERATIONS).where(OPERATIONS.c.request_id == request_id)).one_or_none()
    return None if row is None else operations.operation_of(row)


def _get(connection: Connection, tag: str) -> Tag | None:
    row = _ONE.row(connection, {"of_tag": tag})
    return None if row is None else tag_of(row)


def _mark(connection: Connection, tag: str) -> int | None:
    """Let a tag be gone for everybody but who deletes it; return its key."""
    Counters.lock(connection)
    key: int | None = connection.execute(select(tags.c.key).where(tags.c.tag == tag)).scalar()
    if key is not None:
        connection.execute(update(tags).where(tags.c.key == key).values(status=int(TagStatus.DELETING)))
    return key


def _delete_some(connection: Connection, key: int) -> bool:
    """Delete some of a tag's rows, and the tag with the last of them; say whether there is more.

    When two delete the same tag, one is behind the other; by then, the key may be that of a tag that was added since.
    """
    Counters.lock(connection)
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
        gone = connection.execute(of_tag if upto is None else of_tag.where(column < upto)).rowcount
        if table is tag_errors:
            count_errors_off(connection, key, gone)
        if upto is not None:
            return True
    connection.execute(delete(tags).where(tags.c.key == key))
    return False


def _errors(connection: Connection, key: int, after: int, skip: int, limit: int) -> list[tuple[int, TagError]]:
    rows = connection.execute(
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
    return [(row.number, _error(key, row)) for row in rows]


def _error(key: int, row: Any) -> TagError:
    id_ = InstanceId(PartitionName(row.partition), row.study, row.series, row.instance)
    return TagError(key, id_, to_datetime(row.time), row.message)


def _extracted(connection: Connection, extract: Extract, operation_id: str, most: int) -> _Step | None:
    """Read the next step of an operation; None if it is final."""
    row = connection.execute(select(OPERATIONS).where(OPERATIONS.c.id == operation_id)).one_or_none()
    if row is None or OperationState(row.state).is_final:
        return None
    wanted = [tag_of(tag) for tag in _tags_of(connection, operation_id)]
    if not wanted:
        return _Step(row.rest, row.rest, True, ())
    found, is_last = _newest_below(connection, row.rest, max(1, min(most, _VALUES_AT_ONCE // len(wanted))))
    taken = [
        (
            Owners(one.study_key, one.series_key, one.version),
            extract(one.dicom_json, wanted, frozenset((one.invalid_tags or "").split())),
        )
        for one in found
    ]
    return _Step(row.rest, found[-1].version if found else row.rest, is_last, taken)


def _index(connection: Connection, step: _Step, operation_id: str, now: datetime) -> bool:
    """Write what was extracted, of the instances and for the tags that are still there."""
    Counters.lock(connection)
    row = connection.execute(select(OPERATIONS).where(OPERATIONS.c.id == operation_id)).one_or_none()
    if row is None or OperationState(row.state).is_final:
        return False
    if row.rest != step.rest:  # somebody else was faster
        return True
    time = to_microseconds(now)
    indexing = Indexing(connection, _tags_of(connection, operation_id), time)
    there = _there(connection, step)
    for owners, values in step.found:
        if owners.version in there:
            indexing.take(values, owners)
    indexing.write_beside()
    progress: dict[str, Any] = {
        "state": int(OperationState.SUCCEEDED if step.is_last else OperationState.RUNNING),
        "updated": time,
        "done": row.done + len(step.found),
        "rest": step.next_rest,
    }
    connection.execute(update(OPERATIONS).where(OPERATIONS.c.id == operation_id).values(progress))
    if step.is_last:
        connection.execute(
            update(tags)
            .where(and_(tags.c.operation_id == operation_id, _THERE))
            .values(status=int(TagStatus.READY), operation_id="")
        )
    return not step.is_last


def _tags_of(connection: Connection, operation_id: str) -> list[Any]:
    return [tag for tag in living(connection) if tag.operation_id == operation_id]


def _there(connection: Connection, step: _Step) -> set[int]:
    """Return the versions of a step that were not deleted meanwhile."""
    of_step = select(instances.c.version).where(instances.c.version < step.rest, instances.c.version >= step.next_rest)
    return set(connection.execute(of_step).scalars())


def _newest_below(connection: Connection, version: int, most: int) -> tuple[Sequence[Any], bool]:
    """Return the newest instances with lower versions, with their metadata, and whether there are no more below."""
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
        return [], True
    found = connection.execute(
        select(
            instances.c.version,
            instances.c.study_key,
            instances.c.series_key,
            metadata.c.dicom_json,
            metadata.c.invalid_tags,
        )
        .join_from(instances, metadata, metadata.c.version == instances.c.version)
        .where(instances.c.version < version, instances.c.version >= sizes[count - 1].version)
        .order_by(instances.c.version.desc())
    ).all()
    return found, count == len(sizes) < most
