"""Conversion of rows to values of the model, and of addresses to conditions."""

from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, func, literal_column, or_, select

from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.deletions import deletions
from server.adapters.sql.tables.instances import instances, series, versions
from server.adapters.sql.tables.studies import studies
from server.model.damage import NO_DAMAGE, damage_of
from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import PixelLayout, StoredInstance

AnyRow = Any
"""A row with named columns: of SQLAlchemy, or of `prepared`."""

_OF_INSTANCE = (
    instances.c.uid,
    instances.c.sop_class_uid,
    versions.c.transfer_syntax_uid,
    versions.c.size_bytes,
    versions.c.crc32c,
    versions.c.locator,
    versions.c.is_mislabelled,
    instances.c.damage,
)

OF_SERIES = (instances.c.series_key, instances.c.version, *_OF_INSTANCE)
"""Columns for `stored_instance` if the series are known."""

STORED = (
    select(
        instances.c.version,
        partitions.c.name.label("partition"),
        studies.c.uid.label("study_uid"),
        series.c.uid.label("series_uid"),
        *_OF_INSTANCE,
    )
    .join_from(instances, versions, versions.c.version == instances.c.version)
    .join(series, series.c.key == instances.c.series_key)
    .join(studies, studies.c.key == instances.c.study_key)
    .join(partitions, partitions.c.key == instances.c.partition_key)
)
"""Columns for `stored_instance`. Includes instances of a deleted series, see `ALIVE`."""

OF_ANY_VERSION = (
    select(
        versions.c.version,
        partitions.c.name.label("partition"),
        studies.c.uid.label("study_uid"),
        series.c.uid.label("series_uid"),
        instances.c.uid,
        func.coalesce(versions.c.sop_class_uid, instances.c.sop_class_uid).label("sop_class_uid"),
        versions.c.transfer_syntax_uid,
        versions.c.size_bytes,
        versions.c.crc32c,
        versions.c.locator,
        versions.c.is_mislabelled,
        case((versions.c.version == instances.c.version, instances.c.damage)).label("damage"),
    )
    .join_from(versions, instances, instances.c.key == versions.c.instance_key)
    .join(series, series.c.key == instances.c.series_key)
    .join(studies, studies.c.key == instances.c.study_key)
    .join(partitions, partitions.c.key == instances.c.partition_key)
)
"""As `STORED`, for versions of instances, current or not."""

OF_VERSION = OF_ANY_VERSION.where(versions.c.version == bindparam("of_version"))
"""As `STORED`, for one version of an instance, current or not."""


def has_key(key: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that an instance has a key.

    The index of the keys has only instances with other versions than the first, whose version is the key.
    """
    is_first = and_(instances.c.version == key, instances.c.key == key)
    return or_(is_first, and_(instances.c.key == key, instances.c.version != instances.c.key))


ALIVE = select(literal_column("1")).where(series.c.key == instances.c.series_key).correlate(instances).exists()
"""The instance is not deleted. While a deletion of many is in progress (see `writing.deleting`), some of its instances
are still in their table, but their series is not. Statements that join the series need no such condition."""

IS_PENDING = (
    select(literal_column("1")).where(deletions.c.is_pending == 1).limit(1).scalar_subquery().label("is_pending")
)
"""Whether a deletion of many is in progress: 1 or NULL."""

PIXELS = (
    versions.c.number_of_frames,
    versions.c.pixel_offset,
    versions.c.pixel_length,
    versions.c.bits_allocated,
    versions.c.frame_bits,
)
"""Columns for `pixel_layout`."""


def instance_id(row: AnyRow) -> InstanceId:
    """Return the identity in a row of `STORED`."""
    return InstanceId(PartitionName(row.partition), Uid(row.study_uid), Uid(row.series_uid), Uid(row.uid))


def stored_instance(row: AnyRow, id_: InstanceId | None = None) -> StoredInstance:
    """Convert a row of `STORED`, or with an identity one with the columns `OF_SERIES`."""
    return StoredInstance(
        id=id_ or instance_id(row),
        version=Version(row.version),
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        size_bytes=row.size_bytes,
        crc32c=row.crc32c,
        locator=row.locator,
        is_mislabelled=bool(row.is_mislabelled),
        damage=NO_DAMAGE if row.damage is None else damage_of(row.damage),
    )


def pixel_layout(row: AnyRow, table: bytes = b"") -> PixelLayout | None:
    """Return the layout in a row; None if the instance has no pixel data."""
    if row.number_of_frames is None:
        return None
    return PixelLayout(
        number_of_frames=row.number_of_frames,
        offset=row.pixel_offset,
        length=row.pixel_length,
        bits_allocated=row.bits_allocated,
        frame_bits=row.frame_bits,
        table=table,
    )


STUDY_KEY = (
    select(studies.c.key)
    .where(studies.c.partition_key == bindparam("of_partition"), studies.c.uid == bindparam("of_study"))
    .scalar_subquery()
)
"""Key of the study of an `address`."""

SERIES_KEY = (
    select(series.c.key)
    .where(series.c.study_key == STUDY_KEY, series.c.uid == bindparam("of_series"))
    .scalar_subquery()
)
"""Key of the series of an `address`."""

_OF_SERIES = instances.c.series_key == SERIES_KEY
_WITHIN = (
    (instances.c.partition_key == bindparam("of_partition"),),
    (instances.c.study_key == STUDY_KEY,),
    (_OF_SERIES,),
    (_OF_SERIES, instances.c.partition_key == bindparam("of_partition"), instances.c.uid == bindparam("of_instance")),
)


def address(partition_key: int, resource: Address) -> dict[str, int | str | None]:
    """Return an address as parameters for `within`, `STUDY_KEY` or `SERIES_KEY`."""
    return {
        "of_partition": partition_key,
        "of_study": resource.study,
        "of_series": resource.series,
        "of_instance": resource.instance,
    }


def depth(resource: Address) -> int:
    """Return the depth of an address: 0 for a partition, 3 for an instance."""
    return sum(uid is not None for uid in (resource.study, resource.series, resource.instance))


def within(depth: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for the instances at an address of this depth; `address` gives their parameters.

    Only the lowest level is a condition, so that an index on it returns rows in order of version.
    """
    return _WITHIN[depth]
