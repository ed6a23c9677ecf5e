"""All versions whose bytes are kept: current ones, earlier ones, and those of deleted instances; for verification."""

from sqlalchemy import Connection, bindparam, case, func, or_, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.rows import has_key, stored_instance
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.deletions import deleted_instances, deleted_series, deleted_studies
from server.adapters.sql.tables.instances import instances, series, versions
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.writing.locators import ERASURE_BEGUN
from server.model.lifecycle.kept import KeptVersion, VersionState

_i, _d = instances.c, deleted_instances.c
_of_study = func.coalesce(_i.study_key, _d.study_key)
_of_series = func.coalesce(_i.series_key, _d.series_key)
_existing_series = series.alias("existing_series")

_KEPT = Prepared(
    select(
        versions.c.version,
        partitions.c.name.label("partition"),
        func.coalesce(studies.c.uid, deleted_studies.c.uid).label("study_uid"),
        func.coalesce(series.c.uid, deleted_series.c.uid).label("series_uid"),
        func.coalesce(_i.uid, _d.uid).label("uid"),
        func.coalesce(versions.c.sop_class_uid, _i.sop_class_uid, _d.sop_class_uid).label("sop_class_uid"),
        versions.c.transfer_syntax_uid,
        versions.c.size_bytes,
        versions.c.crc32c,
        versions.c.locator,
        versions.c.is_mislabelled,
        case((versions.c.version == _i.version, _i.damage)).label("damage"),
        # While a deletion of many is in progress, some of its instances are still in their table, but their series is
        # not.
        case(
            (_existing_series.c.key.is_(None), VersionState.DELETED.value),
            (versions.c.version == _i.version, VersionState.CURRENT.value),
            else_=VersionState.EARLIER.value,
        ).label("state"),
    )
    .join_from(versions, instances, has_key(versions.c.instance_key), isouter=True)
    .join(deleted_instances, _d.key == versions.c.instance_key, isouter=True)
    .join(_existing_series, _existing_series.c.key == _i.series_key, isouter=True)
    .join(series, series.c.key == _of_series, isouter=True)
    .join(deleted_series, deleted_series.c.key == _of_series, isouter=True)
    .join(studies, studies.c.key == _of_study, isouter=True)
    .join(deleted_studies, deleted_studies.c.key == _of_study, isouter=True)
    .join(partitions, partitions.c.key == func.coalesce(_i.partition_key, _d.partition_key))
    .where(versions.c.version > bindparam("after"), or_(_d.key.is_(None), _d.erase_after > ERASURE_BEGUN))
    .order_by(versions.c.version)
    .limit(bindparam("limit"))
)


def kept(connection: Connection, after: int, limit: int) -> list[KeptVersion]:
    """Implements `InstanceIndex.kept_versions`."""
    rows = _KEPT.rows(connection, {"after": after, "limit": limit})
    return [KeptVersion(stored_instance(row), VersionState(row.state)) for row in rows]
