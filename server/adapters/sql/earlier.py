"""Reading versions that are not the current ones: an earlier state of a resource, and originals.

A state is that of the time at which `as_of` was the highest version of the resource: of each instance the last version
up to it. Replaced versions have the keys of their study and series, so those of a study are found by an index.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
)

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.rows import (
    SERIES_KEY,
    STUDY_KEY,
    address,
    depth,
    has_key,
    instance_id,
    stored_instance,
    within,
)
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.instances import instances, metadata, series, versions
from server.adapters.sql.tables.studies import studies
from server.model.ids import Address, Version
from server.model.instance import InstanceMetadata, ResourceState, StoredInstance
from server.model.lifecycle.version import VersionOrigin

_later = versions.alias("later")
_AS_OF = bindparam("as_of", type_=versions.c.version.type)
_AFTER: BindParameter[int] = bindparam("after")
_IS_NOT_LATER = and_(versions.c.version > _AFTER, versions.c.version <= _AS_OF)
_IS_LAST = ~(
    select(literal_column("1"))
    .select_from(_later)
    .where(
        _later.c.instance_key == versions.c.instance_key,
        _later.c.replaced.is_not(None),
        _later.c.version > versions.c.version,
        _later.c.version <= _AS_OF,
    )
    .exists()
)
_of_instance = versions.alias("of_instance")
_ORIGINAL = (
    select(func.max(_of_instance.c.version))
    .where(
        _of_instance.c.instance_key == instances.c.key,
        or_(_of_instance.c.replaced.is_not(None), _of_instance.c.version == instances.c.version),
        or_(_of_instance.c.origin.is_(None), _of_instance.c.origin < int(VersionOrigin.UPDATED)),
    )
    .correlate(instances)
    .scalar_subquery()
)
"""The last version that was stored. Versions of an instance that were deleted and restored keep their origin."""


def _selected(*more: Any) -> Select[Any]:
    return (
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
            *more,
        )
        .join_from(versions, instances, has_key(versions.c.instance_key))
        .join(series, series.c.key == instances.c.series_key)
        .join(studies, studies.c.key == instances.c.study_key)
        .join(partitions, partitions.c.key == instances.c.partition_key)
    )


def _replaced(of: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for versions of a study, series or instance that were replaced after `as_of`."""
    scope = (versions.c.study_key == STUDY_KEY, *((versions.c.series_key == SERIES_KEY,) if of > 1 else ()))
    one = (versions.c.uid == bindparam("of_instance"),) if of == 3 else ()
    return (*scope, *one, instances.c.version > _AS_OF, _IS_NOT_LATER, _IS_LAST)


def _page(query: Select[Any]) -> Prepared:
    return Prepared(query.order_by(versions.c.version).limit(bindparam("limit")))


_CURRENT = {of: (*within(of), versions.c.version == instances.c.version, _IS_NOT_LATER) for of in (1, 2, 3)}
_FIND = {of: [_page(_selected().where(*where)) for where in (_CURRENT[of], _replaced(of))] for of in (1, 2, 3)}
_WITH_JSON = _selected(metadata.c.dicom_json).join(metadata, metadata.c.version == versions.c.version)
_METADATA = {of: [_page(_WITH_JSON.where(*where)) for where in (_CURRENT[of], _replaced(of))] for of in (1, 2, 3)}
_ORIGINALS = {
    of: _page(_selected().where(*within(of), versions.c.version == _ORIGINAL, versions.c.version > _AFTER))
    for of in (1, 2, 3)
}
_originals = {of: select(_ORIGINAL.label("version")).where(*within(of)).subquery() for of in (1, 2, 3)}
_ORIGINAL_STATE = {
    of: Prepared(select(func.max(found.c.version).label("version"), func.count().label("number")).select_from(found))
    for of, found in _originals.items()
}

Page = Mapping[str, int | str | None]


def find(connection: Connection, page: Page, of: int, as_of: int) -> list[StoredInstance]:
    """Return a page of an earlier state; `page` are the parameters of `reading.find`."""
    return [stored_instance(row) for row in _rows(connection, _FIND[of], page, as_of)]


def metadata_of(connection: Connection, page: Page, of: int, as_of: int) -> list[InstanceMetadata]:
    """Return a page of metadata of an earlier state."""
    rows = _rows(connection, _METADATA[of], page, as_of)
    return [InstanceMetadata(instance_id(row), Version(row.version), row.dicom_json) for row in rows]


def _rows(connection: Connection, statements: list[Prepared], page: Page, as_of: int) -> list[Any]:
    where = {**page, "as_of": as_of}
    found = [statement.later(connection, where) for statement in statements]
    rows = [row for later in found for row in later()]
    return sorted(rows, key=lambda row: int(row.version))[: int(page["limit"] or 0)]


def originals(
    connection: Connection, partition_key: int, resource: Address, after: int, limit: int
) -> list[StoredInstance]:
    """Implements `InstanceIndex.find_originals`."""
    page = address(partition_key, resource) | {"after": after, "limit": limit}
    return [stored_instance(row) for row in _ORIGINALS[depth(resource)].rows(connection, page)]


def original_state(connection: Connection, partition_key: int, resource: Address) -> ResourceState | None:
    """Implements `InstanceIndex.original_state`."""
    row = _ORIGINAL_STATE[depth(resource)].row(connection, address(partition_key, resource))
    return None if row is None or row.version is None else ResourceState(row.version, row.number)
