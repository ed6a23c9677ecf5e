"""Reading instances, their metadata, frames and bulk data."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, BindParameter, Connection, and_, bindparam, func, literal_column, select

from server.adapters.sql import earlier
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_datetime
from server.adapters.sql.rows import (
    ALIVE,
    OF_VERSION,
    PIXELS,
    SERIES_KEY,
    STORED,
    STUDY_KEY,
    address,
    depth,
    pixel_layout,
    stored_instance,
    within,
)
from server.adapters.sql.tables.instances import (
    FRAMES_PER_CHUNK,
    bulk_elements,
    frame_chunks,
    instances,
    metadata,
    series,
    versions,
)
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.writing.locators import slices
from server.model.ids import Address, InstanceId, Version
from server.model.instance import BulkElement, InstanceMetadata, PixelLayout, ResourceState, StoredInstance

# Statements are compiled once: compiling takes as long as running. Those for an address exist for each depth.
_SERIES_DEEP = 2
_AFTER = instances.c.version > bindparam("after")
_PAGES = [
    STORED.where(*within(depth), _AFTER).order_by(instances.c.version).limit(bindparam("limit")) for depth in range(4)
]
_FIND = [Prepared(page) for page in _PAGES]
_DAMAGED = [Prepared(page.where(instances.c.damage.is_not(None))) for page in _PAGES]
_METADATA = [
    Prepared(
        select(
            instances.c.version,
            studies.c.uid.label("study_uid"),
            series.c.uid.label("series_uid"),
            instances.c.uid,
            metadata.c.dicom_json,
        )
        .join_from(instances, metadata, metadata.c.version == instances.c.version)
        .join(series, series.c.key == instances.c.series_key)
        .join(studies, studies.c.key == instances.c.study_key)
        .where(*within(depth), _AFTER)
        .order_by(instances.c.version)
        .limit(bindparam("limit"))
    )
    for depth in range(4)
]
_STATE = {
    1: Prepared(select(studies.c.max_version, studies.c.instance_count).where(studies.c.key == STUDY_KEY)),
    2: Prepared(select(series.c.max_version, series.c.instance_count).where(series.c.key == SERIES_KEY)),
    3: Prepared(select(instances.c.version, literal_column("1", BigInteger)).where(*within(3))),
}
_UIDS: BindParameter[str] = bindparam("uids", expanding=True)
_BY_UID = Prepared(STORED.where(instances.c.partition_key == bindparam("of_partition"), instances.c.uid.in_(_UIDS)))
_FIRST_STORED = [
    [
        Prepared(select(func.min(versions.c.created)).join_from(instances, versions, is_version).where(*within(depth)))
        for is_version in (
            versions.c.version == instances.c.version,
            and_(versions.c.instance_key == instances.c.key, versions.c.replaced.is_not(None)),
        )
    ]
    for depth in range(4)
]
_IS_BULK = and_(bulk_elements.c.version == versions.c.version, bulk_elements.c.path == bindparam("path"))
_VERSION = Prepared(OF_VERSION.where(*within(3)))
# By whether a version is given; otherwise it is the current one.
_WITH_PIXELS = [Prepared(of.add_columns(*PIXELS).where(*within(3))) for of in (STORED, OF_VERSION)]
_WITH_BULK = [
    Prepared(
        of.add_columns(bulk_elements.c.vr, bulk_elements.c.offset, bulk_elements.c.length)
        .outerjoin(bulk_elements, _IS_BULK)
        .where(*within(3))
    )
    for of in (STORED, OF_VERSION)
]
_BULK_PAGE = Prepared(
    select(bulk_elements.c.path, bulk_elements.c.vr, bulk_elements.c.offset, bulk_elements.c.length)
    .join_from(bulk_elements, versions, versions.c.version == bulk_elements.c.version)
    .join(instances, instances.c.key == versions.c.instance_key)
    .where(*within(3), bulk_elements.c.version == bindparam("of_version"), bulk_elements.c.path > bindparam("after"))
    .order_by(bulk_elements.c.path)
    .limit(bindparam("limit"))
)
_JSON = Prepared(
    select(metadata.c.dicom_json)
    .join_from(metadata, versions, versions.c.version == metadata.c.version)
    .join(instances, instances.c.key == versions.c.instance_key)
    .where(*within(3), metadata.c.version == bindparam("of_version"))
)
_VERSION_AT = [
    Prepared(
        select(instances.c.version)
        .where(*within(depth), *([ALIVE] if depth < _SERIES_DEEP else []))
        .order_by(instances.c.version)
        .limit(1)
        .offset(bindparam("position"))
    )
    for depth in range(4)
]
_CHUNKS = Prepared(
    select(frame_chunks.c.chunk, frame_chunks.c.records).where(
        frame_chunks.c.version == bindparam("version"), frame_chunks.c.chunk.in_(bindparam("chunks", expanding=True))
    )
)


def find(
    connection: Connection, partition_key: int, resource: Address, after: int, limit: int, as_of: int | None
) -> list[StoredInstance]:
    page = address(partition_key, resource) | {"after": after, "limit": limit}
    found = _FIND[depth(resource)].later(connection, page)
    if as_of is not None and _has_changed(connection, partition_key, resource, as_of):
        return earlier.find(connection, page, depth(resource), as_of)
    return [stored_instance(row) for row in found()]


def find_by_uid(connection: Connection, partition_key: int, uids: Collection[str]) -> list[StoredInstance]:
    return [
        stored_instance(row)
        for some in slices(uids)
        for row in _BY_UID.rows(connection, {"of_partition": partition_key, "uids": some})
    ]


def _has_changed(connection: Connection, partition_key: int, resource: Address, as_of: int) -> bool:
    now = _STATE[depth(resource)].row(connection, address(partition_key, resource))
    return now is not None and bool(now[0] != as_of)


def find_version(
    connection: Connection, partition_key: int, instance: InstanceId, version: Version
) -> StoredInstance | None:
    row = _VERSION.row(connection, _of_version(partition_key, instance, version))
    return None if row is None else stored_instance(row)


def dicom_json_of(connection: Connection, partition_key: int, instance: InstanceId, version: Version) -> bytes | None:
    row = _JSON.row(connection, _of_version(partition_key, instance, version))
    return None if row is None else row.dicom_json


def _of_version(partition_key: int, instance: InstanceId, version: Version | None) -> dict[str, int | str | None]:
    """Return parameters of a statement for an instance; `version` None is the current one."""
    where = address(partition_key, instance.address)
    return where if version is None else where | {"of_version": version}


def damaged(
    connection: Connection, partition_key: int, resource: Address, after: int, limit: int
) -> list[StoredInstance]:
    page = address(partition_key, resource) | {"after": after, "limit": limit}
    return [stored_instance(row) for row in _DAMAGED[depth(resource)].rows(connection, page)]


def state(connection: Connection, partition_key: int, resource: Address) -> ResourceState | None:
    row = _STATE[depth(resource)].row(connection, address(partition_key, resource))
    return None if row is None else ResourceState(max_version=row[0], instance_count=row[1])


def first_stored(connection: Connection, partition_key: int, resource: Address) -> datetime | None:
    """Return when the first version of the oldest instance was stored; None without an instance."""
    where = address(partition_key, resource)
    times = [statement.tuples(connection, where)[0][0] for statement in _FIRST_STORED[depth(resource)]]
    return min((to_datetime(time) for time in times if time is not None), default=None)


def metadata_of(
    connection: Connection, partition_key: int, resource: Address, after: int, limit: int, as_of: int | None
) -> list[InstanceMetadata]:
    page = address(partition_key, resource) | {"after": after, "limit": limit}
    found = _METADATA[depth(resource)].later(connection, page)
    if as_of is not None and _has_changed(connection, partition_key, resource, as_of):
        return earlier.metadata_of(connection, page, depth(resource), as_of)
    partition = resource.partition
    return [
        InstanceMetadata(InstanceId(partition, study, series, uid), version, dicom_json)
        for version, study, series, uid, dicom_json in found()
    ]


def frames_of(
    connection: Connection, partition_key: int, instance: InstanceId, frames: Sequence[int], version: Version | None
) -> tuple[StoredInstance, PixelLayout | None, dict[int, tuple[int, int]]] | None:
    row = _WITH_PIXELS[version is not None].row(connection, _of_version(partition_key, instance, version))
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
    for chunks in slices(of_chunk):
        rows = _CHUNKS.rows(connection, {"version": version, "chunks": chunks})
        for chunk, records in rows:
            for frame in of_chunk[chunk]:
                start = (frame - 1) % FRAMES_PER_CHUNK * PixelLayout.RECORD_BYTES
                record = records[start : start + PixelLayout.RECORD_BYTES]
                # The table may be shorter than the number of frames, and have gaps of zeros.
                if any(record):
                    found[frame] = (int.from_bytes(record[:8], "little"), int.from_bytes(record[8:], "little"))
    return found


def bulk_of(
    connection: Connection, partition_key: int, instance: InstanceId, path: str, version: Version | None
) -> tuple[StoredInstance, BulkElement | None] | None:
    where = _of_version(partition_key, instance, version) | {"path": path}
    row = _WITH_BULK[version is not None].row(connection, where)
    if row is None:
        return None
    if row.vr is None:
        return stored_instance(row), None
    return stored_instance(row), BulkElement(path=path, vr=row.vr, offset=row.offset, length=row.length)


def bulk_elements_of(
    connection: Connection, partition_key: int, instance: InstanceId, version: Version, after: str, limit: int
) -> list[BulkElement]:
    page = _of_version(partition_key, instance, version) | {"after": after, "limit": limit}
    return [BulkElement(*row) for row in _BULK_PAGE.tuples(connection, page)]


def version_at(connection: Connection, partition_key: int, resource: Address, position: int) -> int | None:
    wanted = address(partition_key, resource) | {"position": position}
    row = _VERSION_AT[depth(resource)].row(connection, wanted)
    return None if row is None else int(row[0])
