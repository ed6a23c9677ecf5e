"""The archive identity stored in an index, readable in any state of the database."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, bindparam, exists, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from server.adapters.sql.core.causes import cause_of
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.sessions import is_damaged, translated
from server.adapters.sql.state.wal import copy_log, dropped_frames, log_copy
from server.adapters.sql.tables.archive import archive, counters
from server.adapters.sql.tables.changes import feed
from server.adapters.sql.tables.deletions import erasures
from server.adapters.sql.tables.instances import versions
from server.adapters.sql.tables.operations import staged_versions
from server.model.archive import ArchiveId, IndexIdentity, Mark
from server.model.instance import Locator
from server.model.store_id import StoreId, last_locator_of, store_of

_MAGIC = b"SQLite format 3\x00"

# Each start reads them; compiling these statements takes a part of its processor time that can be measured.
_ID = Prepared(select(archive.c.id))
_BIND = Prepared(text("INSERT INTO archive (key, id) VALUES (1, :id) ON CONFLICT (key) DO NOTHING"))
_VERSION = Prepared(select(counters.c.version).where(counters.c.shard == bindparam("shard")))
_HIGHEST = Prepared(select(func.max(counters.c.version)))
_SEQUENCE = Prepared(select(feed.c.sequence))
_HAS_INSTANCES = Prepared(
    select((exists().where(versions.c.version > 0) | exists().where(erasures.c.version > 0)).label("has_instances"))
)
_LOWEST_LOCATORS = {
    table.name: Prepared(select(func.min(table.c.locator)).where(table.c.locator > bindparam("after")))
    for table in (versions, erasures, staged_versions)
}


def identity(url: URL, engine: Engine, at_least: Mark) -> IndexIdentity:
    """Return the archive identity of a database; see `engine.Inspection`."""
    place = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        place = os.path.abspath(url.database or "")
        if (damage := _damage_of(Path(place))) is not None:
            return IndexIdentity(place, is_new=not damage or damage == _NO_BYTES, damage=damage)
    with translated():
        try:
            with engine.connect() as connection:
                found = _identity(connection, place, at_least.shard)
                if url.get_backend_name() == "sqlite":
                    return replace(
                        found, damaged_log=_damaged_log(Path(place), is_behind=found.mark.is_behind(at_least))
                    )
                return found
        except DBAPIError as error:
            if not is_damaged(error):
                raise
            return IndexIdentity(place, is_new=False, damage=cause_of(error))


_NO_BYTES = "the file has 0 bytes"


def _damage_of(path: Path) -> str | None:
    """Describe the damage of an SQLite file; "" if it is an empty file, None if it seems intact."""
    try:
        with open(path, "rb") as file:
            begin = file.read(len(_MAGIC))
    except OSError:
        return None if path.exists() else ""
    if not begin:
        return _NO_BYTES
    return None if begin == _MAGIC else "the file is not an SQLite database"


def _identity(connection: Connection, place: str, shard: int) -> IndexIdentity:
    """Read the identity; the version of the mark is the last one of the given shard."""
    present = set(inspect(connection).get_table_names())
    if not {counters.name, versions.name, erasures.name} <= present:
        return IndexIdentity(place)
    id_ = _value(connection, _ID) if archive.name in present else None
    version = _value(connection, _VERSION, shard=shard) or 0
    highest = _value(connection, _HIGHEST)
    sequence = _value(connection, _SEQUENCE)
    return IndexIdentity(
        place,
        id_,
        is_new=not highest,
        has_instances=bool(_value(connection, _HAS_INSTANCES)),
        mark=Mark(version, sequence, shard),
        stores=_stores(connection, present),
    )


def _value(connection: Connection, query: Prepared, **parameters: object) -> Any:
    """Return the only value of the first row of a query; None if there is no row."""
    rows = query.tuples(connection, parameters)
    return rows[0][0] if rows else None


def _stores(connection: Connection, present: Collection[str]) -> frozenset[StoreId]:
    """Return the ids of the stores of all blobs. Reads a few entries of the indexes of locators."""
    found: set[StoreId] = set()
    for table, lowest in _LOWEST_LOCATORS.items():
        after = "" if table in present else None
        while after is not None:
            locator = _value(connection, lowest, after=after)
            after = None if locator is None else _last_of_store(locator)
            if locator is not None:
                found.add(store_of(locator))
    return frozenset(found)


def _last_of_store(locator: Locator) -> str | None:
    """Return a text that is greater than a locator and all following ones of its store, if others may follow."""
    if store := store_of(locator):
        return last_locator_of(store)
    return "@" if locator < "@" else None


def _damaged_log(database: Path, *, is_behind: bool) -> str:
    if not is_behind:
        log_copy(database).unlink(missing_ok=True)
        return ""
    if dropped_frames(database):
        copy_log(database)
    return str(log_copy(database)) if log_copy(database).exists() else ""


def bind(connection: Connection, id_: ArchiveId) -> ArchiveId:
    """Write an id to an index without one, and return the id that it has."""
    _BIND.run(connection, [{"id": id_}])
    bound: ArchiveId = _value(connection, _ID)
    return bound
