"""The index: what is stored, and where its bytes are."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, delete, literal_column, select

from server.adapters.sql import search
from server.adapters.sql.adding import add
from server.adapters.sql.deleting import delete_resource
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.rows import (
    PIXELS,
    STORED,
    instance_id,
    pixel_layout,
    series_key,
    stored_instance,
    study_key,
    within,
)
from server.adapters.sql.tables import (
    FRAMES_PER_CHUNK,
    REVISION,
    bulk_elements,
    erasures,
    frame_chunks,
    instances,
    metadata,
    series,
    studies,
)
from server.adapters.sql.times import to_microseconds
from server.adapters.sql.transactions import Transactions
from server.model.errors import Reason, Unavailable
from server.model.ids import InstanceId, ResourceRef
from server.model.instance import (
    AddOutcome,
    BulkElement,
    InstanceMetadata,
    Locator,
    NewInstance,
    PixelLayout,
    ResourceState,
    StoredInstance,
)
from server.model.query import Match, Query

_IN_ONE_STATEMENT = 500
"""Values of an IN; both databases take more, but none is faster with more."""

Value = TypeVar("Value")


class SqlInstanceIndex:
    """`server.ports.index.InstanceIndex` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def add(self, instances: Sequence[NewInstance], now: datetime) -> list[AddOutcome]:
        """See the port."""
        return await self._transactions.write(
            lambda connection: add(connection, self._partition_keys, instances, now),
        )

    async def delete(self, resource: ResourceRef, now: datetime, erase_after: datetime) -> int:
        """See the port."""

        def work(connection: Connection) -> int:
            key = self._partition_keys.one(connection, resource.partition)
            return 0 if key is None else delete_resource(connection, key, resource, now, erase_after)

        return await self._transactions.write(work)

    async def find(self, resource: ResourceRef, after: int = 0, limit: int = 500) -> list[StoredInstance]:
        """See the port."""

        def work(connection: Connection) -> list[StoredInstance]:
            key = self._partition_keys.one(connection, resource.partition)
            return [] if key is None else _find(connection, key, resource, after, limit)

        return await self._transactions.read(work)

    async def state(self, resource: ResourceRef) -> ResourceState | None:
        """See the port."""

        def work(connection: Connection) -> ResourceState | None:
            key = self._partition_keys.one(connection, resource.partition)
            return None if key is None else _state(connection, key, resource)

        return await self._transactions.read(work)

    async def metadata(self, resource: ResourceRef, after: int, limit: int) -> list[InstanceMetadata]:
        """See the port."""

        def work(connection: Connection) -> list[InstanceMetadata]:
            key = self._partition_keys.one(connection, resource.partition)
            return [] if key is None else _metadata(connection, key, resource, after, limit)

        return await self._transactions.read(work)

    async def frames(
        self, instance: InstanceId, frames: Sequence[int]
    ) -> tuple[StoredInstance, PixelLayout | None, dict[int, tuple[int, int]]] | None:
        """See the port."""

        def work(
            connection: Connection,
        ) -> tuple[StoredInstance, PixelLayout | None, dict[int, tuple[int, int]]] | None:
            key = self._partition_keys.one(connection, instance.partition)
            return None if key is None else _frames(connection, key, instance, frames)

        return await self._transactions.read(work)

    async def bulk(self, instance: InstanceId, path: str) -> tuple[StoredInstance, BulkElement | None] | None:
        """See the port."""

        def work(connection: Connection) -> tuple[StoredInstance, BulkElement | None] | None:
            key = self._partition_keys.one(connection, instance.partition)
            return None if key is None else _bulk(connection, key, instance, path)

        return await self._transactions.read(work)

    async def search(self, query: Query) -> list[Match]:
        """See the port."""
        search.check_size(query)

        def work(connection: Connection) -> list[Match]:
            key = self._partition_keys.one(connection, query.scope.partition)
            return [] if key is None else search.search(connection, key, query)

        return await self._transactions.read(work)

    async def known(self, locators: Collection[Locator]) -> set[Locator]:
        """See the port."""
        return await self._transactions.read(lambda connection: _known(connection, locators))

    async def erasable(self, now: datetime, limit: int) -> list[Locator]:
        """See the port."""
        return await self._transactions.read(lambda connection: _erasable(connection, now, limit))

    async def erased(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self._transactions.write(lambda connection: _erased(connection, locators))

    async def locators(self, after: int, limit: int) -> list[StoredInstance]:
        """See the port."""
        return await self._transactions.read(lambda connection: _locators(connection, after, limit))

    async def check(self) -> None:
        """See the port."""
        await self._transactions.read(_check)


def _find(
    connection: Connection, partition_key: int, resource: ResourceRef, after: int, limit: int
) -> list[StoredInstance]:
    rows = connection.execute(
        STORED.where(*within(partition_key, resource), instances.c.version > after)
        .order_by(instances.c.version)
        .limit(limit)
    )
    return [stored_instance(row) for row in rows]


def _state(connection: Connection, partition_key: int, resource: ResourceRef) -> ResourceState | None:
    if resource.instance is not None:
        query = select(instances.c.version, literal_column("1")).where(*within(partition_key, resource))
    elif resource.series is not None:
        key = series_key(partition_key, resource).scalar_subquery()
        query = select(series.c.max_version, series.c.instance_count).where(series.c.key == key)
    else:
        key = study_key(partition_key, resource).scalar_subquery()
        query = select(studies.c.max_version, studies.c.instance_count).where(studies.c.key == key)
    row = connection.execute(query).one_or_none()
    return None if row is None else ResourceState(max_version=row[0], instance_count=row[1])


def _metadata(
    connection: Connection, partition_key: int, resource: ResourceRef, after: int, limit: int
) -> list[InstanceMetadata]:
    rows = connection.execute(
        STORED.add_columns(metadata.c.dicom_json)
        .join(metadata, metadata.c.version == instances.c.version)
        .where(*within(partition_key, resource), instances.c.version > after)
        .order_by(instances.c.version)
        .limit(limit)
    )
    return [InstanceMetadata(instance_id(row), row.version, row.dicom_json) for row in rows]


def _frames(
    connection: Connection, partition_key: int, instance: InstanceId, frames: Sequence[int]
) -> tuple[StoredInstance, PixelLayout | None, dict[int, tuple[int, int]]] | None:
    row = connection.execute(STORED.add_columns(*PIXELS).where(*within(partition_key, instance.ref))).one_or_none()
    if row is None:
        return None
    layout = pixel_layout(row)
    if layout is None or not layout.is_encapsulated:
        return stored_instance(row), layout, {}
    wanted = {frame for frame in frames if 1 <= frame <= layout.number_of_frames}
    return stored_instance(row), layout, _records(connection, row.version, wanted)


def _records(connection: Connection, version: int, frames: Collection[int]) -> dict[int, tuple[int, int]]:
    """Return offsets of the starts and ends of frames."""
    of_chunk: dict[int, list[int]] = {}
    for frame in frames:
        of_chunk.setdefault((frame - 1) // FRAMES_PER_CHUNK, []).append(frame)
    found: dict[int, tuple[int, int]] = {}
    for chunks in _slices(of_chunk):
        rows = connection.execute(
            select(frame_chunks.c.chunk, frame_chunks.c.records).where(
                frame_chunks.c.version == version, frame_chunks.c.chunk.in_(chunks)
            )
        )
        for chunk, records in rows:
            for frame in of_chunk[chunk]:
                start = (frame - 1) % FRAMES_PER_CHUNK * PixelLayout.RECORD_BYTES
                record = records[start : start + PixelLayout.RECORD_BYTES]
                if record:  # the table may be shorter than the number of frames says
                    found[frame] = (int.from_bytes(record[:8], "little"), int.from_bytes(record[8:], "little"))
    return found


def _bulk(
    connection: Connection, partition_key: int, instance: InstanceId, path: str
) -> tuple[StoredInstance, BulkElement | None] | None:
    row = connection.execute(STORED.where(*within(partition_key, instance.ref))).one_or_none()
    if row is None:
        return None
    bulk = connection.execute(
        select(bulk_elements).where(bulk_elements.c.version == row.version, bulk_elements.c.path == path)
    ).one_or_none()
    if bulk is None:
        return stored_instance(row), None
    return stored_instance(row), BulkElement(path=path, vr=bulk.vr, offset=bulk.offset, length=bulk.length)


def _known(connection: Connection, locators: Collection[Locator]) -> set[Locator]:
    known: set[Locator] = set()
    for some in _slices(locators):
        for column in (instances.c.locator, erasures.c.locator):
            known.update(connection.execute(select(column).where(column.in_(some))).scalars())
    return known


def _erasable(connection: Connection, now: datetime, limit: int) -> list[Locator]:
    return list(
        connection.execute(
            select(erasures.c.locator)
            .where(erasures.c.erase_after <= to_microseconds(now))
            .order_by(erasures.c.erase_after, erasures.c.version)
            .limit(limit)
        ).scalars()
    )


def _erased(connection: Connection, locators: Sequence[Locator]) -> None:
    for some in _slices(locators):
        connection.execute(delete(erasures).where(erasures.c.locator.in_(some)))


def _locators(connection: Connection, after: int, limit: int) -> list[StoredInstance]:
    rows = connection.execute(STORED.where(instances.c.version > after).order_by(instances.c.version).limit(limit))
    return [stored_instance(row) for row in rows]


def _check(connection: Connection) -> None:
    present = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if present != REVISION:
        raise Unavailable(
            Reason.DATABASE_UNAVAILABLE,
            f"The database has schema {present or 'none'}, this program needs {REVISION}.",
        )


def _slices(values: Iterable[Value]) -> Iterator[list[Value]]:
    iterator = iter(values)
    while some := list(islice(iterator, _IN_ONE_STATEMENT)):
        yield some
