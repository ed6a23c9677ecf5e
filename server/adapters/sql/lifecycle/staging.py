"""The transactions that stage changed versions, make them current, or remove them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, delete, func, insert, or_, select

from server.adapters.sql import operations
from server.adapters.sql.core import counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.rows import (
    OF_ANY_VERSION,
    PIXELS,
    STORED,
    STUDY_KEY,
    AnyRow,
    address,
    depth,
    has_key,
    pixel_layout,
    stored_instance,
    within,
)
from server.adapters.sql.tables.deletions import erasures
from server.adapters.sql.tables.instances import bulk_elements, frame_chunks, instances, metadata, versions
from server.adapters.sql.tables.operations import operations as operations_table
from server.adapters.sql.tables.operations import staged_versions
from server.adapters.sql.writing.adding import begin
from server.adapters.sql.writing.locators import slices
from server.model.ids import Address, Version
from server.model.instance import BulkElement, OnHold, StoredInstance
from server.model.lifecycle.update import Applied, ChangedFile, Content
from server.model.operation import OperationState, Update
from server.ports.lifecycle.updates import Conclude, Describe
from server.ports.tags import Extract

_AT_ONCE = 250
_PAGE_BYTES = 8 << 20
"""Limit of the metadata of instances that are read together; a single larger one is read alone."""

_VERSIONS: BindParameter[int] = bindparam("versions", expanding=True)
_WITH_CONTENT = (
    STORED.add_columns(instances.c.key, *PIXELS, metadata.c.dicom_json, metadata.c.invalid_tags)
    .join(metadata, metadata.c.version == instances.c.version)
    .order_by(instances.c.version)
)
_CONTENTS = [
    Prepared(_WITH_CONTENT.where(*within(depth), instances.c.version > bindparam("after")).limit(bindparam("limit")))
    for depth in range(4)
]
_SIZE = (instances.c.version, func.length(metadata.c.dicom_json).label("size_bytes"))
_SIZES = [
    Prepared(
        _WITH_CONTENT.with_only_columns(*_SIZE, maintain_column_froms=True)
        .where(*within(depth), instances.c.version > bindparam("after"))
        .limit(bindparam("limit"))
    )
    for depth in range(4)
]
_STAGED = (
    *(staged_versions.c.base_locator, staged_versions.c.shifts, staged_versions.c.has_utf_8),
    staged_versions.c.locator.label("new_locator"),
    staged_versions.c.size_bytes.label("new_size_bytes"),
    staged_versions.c.crc32c.label("new_crc32c"),
)
_IS_STAGED = (staged_versions.c.operation_id == bindparam("operation_id"), instances.c.version.in_(_VERSIONS))
_OF_STAGED = Prepared(
    _WITH_CONTENT.add_columns(*_STAGED)
    .join(staged_versions, staged_versions.c.instance_key == instances.c.key)
    .where(*_IS_STAGED)
)
_of_instance = versions.alias("of_instance")
_EARLIER = OF_ANY_VERSION.add_columns(instances.c.version.label("current")).where(
    instances.c.version.in_(_VERSIONS),
    versions.c.version
    == select(func.max(_of_instance.c.version))
    .where(
        _of_instance.c.instance_key == instances.c.key,
        or_(_of_instance.c.replaced.is_not(None), _of_instance.c.version == instances.c.version),
        _of_instance.c.created <= bindparam("time"),
    )
    .correlate(instances)
    .scalar_subquery(),
)
"""The versions that were current at a time."""

_FIND_EARLIER = Prepared(_EARLIER)
_EARLIER_OF_STAGED = Prepared(
    _EARLIER.add_columns(*PIXELS, metadata.c.dicom_json, metadata.c.invalid_tags, *_STAGED)
    .join(metadata, metadata.c.version == versions.c.version)
    .join(staged_versions, staged_versions.c.instance_key == instances.c.key)
    .where(_IS_STAGED[0])
    .order_by(instances.c.version)
)
_STATES = Prepared(
    select(
        staged_versions.c.instance_key,
        staged_versions.c.base_version,
        staged_versions.c.base_locator,
        instances.c.version,
        (instances.c.study_key == STUDY_KEY).label("is_of_study"),
        versions.c.locator.label("current_locator"),
        func.length(metadata.c.dicom_json).label("size_bytes"),
    )
    .join_from(staged_versions, instances, has_key(staged_versions.c.instance_key), isouter=True)
    .join(versions, versions.c.version == instances.c.version, isouter=True)
    .join(metadata, metadata.c.version == instances.c.version, isouter=True)
    .where(staged_versions.c.operation_id == bindparam("operation_id"))
    .order_by(staged_versions.c.base_version)
)
_CHUNKS = Prepared(
    select(frame_chunks.c.version, frame_chunks.c.records)
    .where(frame_chunks.c.version.in_(_VERSIONS))
    .order_by(frame_chunks.c.version, frame_chunks.c.chunk)
)
_BULK = Prepared(
    select(
        bulk_elements.c.version,
        bulk_elements.c.path,
        bulk_elements.c.vr,
        bulk_elements.c.offset,
        bulk_elements.c.length,
    ).where(bulk_elements.c.version.in_(_VERSIONS))
)
_KEYS = Prepared(select(instances.c.version, instances.c.key).where(instances.c.version.in_(_VERSIONS)))
_INSERT = Prepared(insert(staged_versions))
_OF_VERSIONS = Prepared(
    select(staged_versions.c.base_version).where(
        staged_versions.c.operation_id == bindparam("operation_id"), staged_versions.c.base_version.in_(_VERSIONS)
    )
)

Row = dict[str, Any]


def contents(connection: Connection, partition_key: int, resource: Address, after: int, limit: int) -> list[Content]:
    """Implements `Updates.contents`."""
    page = address(partition_key, resource) | {"after": after, "limit": limit}
    sizes = _SIZES[depth(resource)].rows(connection, page)
    page["limit"] = len(next(_pages(sizes), ()))
    return [_content(row, {}, {}) for row in _CONTENTS[depth(resource)].rows(connection, page)]


def _pages(sizes: Sequence[AnyRow]) -> Iterator[list[int]]:
    """Divide versions into pages whose metadata is read together."""
    page: list[int] = []
    left = _PAGE_BYTES
    for row in sizes:
        if page and row.size_bytes > left:
            yield page
            page, left = [], _PAGE_BYTES
        page.append(row.version)
        left -= row.size_bytes
    if page:
        yield page


def staged(connection: Connection, operation_id: str, of: Collection[Version]) -> set[Version]:
    """Implements `Updates.staged`."""
    rows = _OF_VERSIONS.rows(connection, {"operation_id": operation_id, "versions": of}) if of else []
    return {Version(row.base_version) for row in rows}


def earlier(connection: Connection, current: Collection[Version], time: datetime) -> Mapping[Version, StoredInstance]:
    """Implements `Updates.earlier`."""
    rows = _FIND_EARLIER.rows(connection, {"versions": current, "time": to_microseconds(time)}) if current else []
    return {Version(row.current): stored_instance(row) for row in rows}


def stage(
    connection: Connection,
    partition_keys: PartitionKeys,
    operation_id: str,
    files: Sequence[tuple[StoredInstance, ChangedFile]],
    update: Update,
) -> bool:
    """Implements `Updates.stage`."""
    shards = _shards(connection, partition_keys, [stored for stored, _ in files])
    counters.lock(connection, set(shards.values()) or {0})
    operation = operations.find(connection, operation_id, locked=True)
    updated = None if operation is None else update(operation)
    if updated is None:
        return False
    if files:
        keys = _keys(connection, [stored.version for stored, _ in files])
        rows = [
            {
                "instance_key": keys[stored.version],
                "shard": shards[stored.id.partition, stored.id.study],
                "operation_id": operation_id,
                "base_version": stored.version,
                "base_locator": stored.locator,
                "locator": file.locator,
                "size_bytes": file.size_bytes,
                "crc32c": file.crc32c,
                "shifts": orjson.dumps(file.shifts).decode(),
                "has_utf_8": 1 if file.has_utf_8 else None,
            }
            for stored, file in files
            if stored.version in keys
        ]
        if len(rows) < len(files):  # deleted or changed in between: they are examined again
            return False
        _discard(connection, [keys[stored.version] for stored, _ in files], updated.operation.updated)
        _INSERT.send(connection, rows)
    operations.save(connection, updated)
    return True


def apply(
    connection: Connection,
    partition_keys: PartitionKeys,
    operation_id: str,
    study: Address,
    describe: Describe,
    now: datetime,
    extract: Extract,
    conclude: Conclude,
    restart: Update,
    earlier_time: datetime | None,
) -> Applied:
    """Implements `Updates.apply`."""
    partition_key = partition_keys.of(connection, [study.partition]).get(study.partition)
    if partition_key is None or study.study is None:
        return Applied()
    counters.lock(connection, [shard_of(connection, partition_key, study.study)])
    operation = operations.find(connection, operation_id, locked=True)
    if operation is None or conclude(operation, 0) is None:  # another worker may be staging the next study
        return Applied()
    states = _STATES.rows(connection, address(partition_key, study) | {"operation_id": operation_id})
    gone = [row.instance_key for row in states if not row.is_of_study]
    places = {row.version: row.current_locator for row in states}
    if earlier_time is not None:
        for some in slices(list(places)):
            places |= {version: one.locator for version, one in earlier(connection, some, earlier_time).items()}
    stale = [
        row.instance_key
        for row in states
        if row.is_of_study and (row.version, places[row.version]) != (row.base_version, row.base_locator)
    ]
    if gone or stale:
        _discard(connection, [*gone, *stale], now)
    if stale:
        restarted = restart(operation)
        if restarted is not None:
            operations.save(connection, restarted)
        return Applied(has_stale=True)
    current = [row for row in states if row.is_of_study]
    updated = conclude(operation, len(current))
    assert updated is not None, "it does not depend on the number"
    for start in range(0, len(current), _AT_ONCE):
        for page in _pages(current[start : start + _AT_ONCE]):
            of = {"operation_id": operation_id, "versions": page}
            if earlier_time is None:
                rows = _OF_STAGED.rows(connection, of)
            else:
                rows = _EARLIER_OF_STAGED.rows(connection, of | {"time": to_microseconds(earlier_time)})
            _replace(connection, partition_keys, rows, describe, now, extract, is_earlier=earlier_time is not None)
    connection.execute(delete(staged_versions).where(staged_versions.c.operation_id == operation_id))
    operations.save(connection, updated)
    return Applied(len(current))


def _replace(
    connection: Connection,
    partition_keys: PartitionKeys,
    rows: Sequence[AnyRow],
    describe: Describe,
    now: datetime,
    extract: Extract,
    *,
    is_earlier: bool,
) -> None:
    """Make some staged versions current.

    Args:
        rows: have them and the contents they were made from.
        is_earlier: these are not the current ones.
    """
    current = [row.version for row in rows]
    tables: dict[int, bytes] = {}
    for chunk in _CHUNKS.rows(connection, {"versions": current}):
        tables[chunk.version] = tables.get(chunk.version, b"") + chunk.records
    bulk: dict[int, list[BulkElement]] = {}
    for one in _BULK.rows(connection, {"versions": current}):
        bulk.setdefault(one.version, []).append(BulkElement(one.path, one.vr, one.offset, one.length))
    contents = [_content(row, tables, bulk) for row in rows]
    new = [describe(content, _file(row)) for content, row in zip(contents, rows, strict=True)]
    known = None
    if not is_earlier:
        known = {before.stored.id: (row.key, before.stored) for row, before in zip(rows, contents, strict=True)}
    batch = begin(connection, partition_keys, new, now, extract, replaces=True, known=known)
    for instance in new:
        outcome = batch.replace(instance)
        if isinstance(outcome, OnHold):
            raise outcome.error
    batch.write(connection)


def discard(connection: Connection, operation_id: str, now: datetime, update: Update | None) -> None:
    """Implements `Updates.discard`."""
    if update is not None:
        operation = operations.find(connection, operation_id, locked=True)
        updated = None if operation is None else update(operation)
        if updated is None:  # another worker may be staging the next study
            return
        operations.save(connection, updated)
    _discard_of(connection, staged_versions.c.operation_id == operation_id, now)


def discard_abandoned(connection: Connection, now: datetime) -> None:
    """Implements `Updates.discard_abandoned`."""
    unfinished = select(operations_table.c.id).where(operations_table.c.state < int(OperationState.SUCCEEDED))
    _discard_of(connection, staged_versions.c.operation_id.not_in(unfinished), now)


def _discard_of(connection: Connection, of_operations: ColumnElement[bool], now: datetime) -> None:
    """Remove the staged versions of some operations, not those that others have staged from the same instances since
    they were looked up."""
    keys = select(staged_versions.c.instance_key).where(of_operations)
    _discard(connection, list(connection.execute(keys).scalars()), now, of_operations)


def _discard(connection: Connection, keys: Sequence[int], now: datetime, *conditions: ColumnElement[bool]) -> None:
    """Remove staged versions; their blobs are due for erasure."""
    for some in slices(keys):
        of_keys = delete(staged_versions).where(staged_versions.c.instance_key.in_(some), *conditions)
        found = connection.execute(of_keys.returning(staged_versions.c.locator, staged_versions.c.base_version))
        rows = [
            {"locator": row.locator, "version": row.base_version, "erase_after": to_microseconds(now)} for row in found
        ]
        if rows:
            connection.execute(insert(erasures), rows)


def _shards(
    connection: Connection, partition_keys: PartitionKeys, stored: Sequence[StoredInstance]
) -> Mapping[tuple[str, str], int]:
    keys = partition_keys.of(connection, {one.id.partition for one in stored})
    return {
        (partition, study): shard_of(connection, keys[partition], study)
        for partition, study in {(one.id.partition, one.id.study) for one in stored}
    }


def _keys(connection: Connection, of: Collection[Version]) -> dict[int, int]:
    """Return the keys of the instances with these current versions."""
    return {row.version: row.key for some in slices(of) for row in _KEYS.rows(connection, {"versions": some})}


def _content(row: AnyRow, tables: Mapping[int, bytes], bulk: Mapping[int, Sequence[BulkElement]]) -> Content:
    pixels = pixel_layout(row, tables.get(row.version, b""))
    invalid_tags = frozenset((row.invalid_tags or "").split())
    return Content(stored_instance(row), bytes(row.dicom_json), invalid_tags, pixels, tuple(bulk.get(row.version, ())))


def _file(row: AnyRow) -> ChangedFile:
    shifts = [(start, delta) for start, delta in orjson.loads(row.shifts)]
    return ChangedFile(row.new_locator, row.new_size_bytes, row.new_crc32c, shifts, bool(row.has_utf_8))
