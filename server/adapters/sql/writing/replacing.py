"""The rows of instances and versions in a transaction that adds some and replaces others.

A transaction may replace an instance that it has added or replaced itself.
"""

from itertools import groupby

from sqlalchemy import Connection, bindparam, insert, update

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.query_tags.tag_values import delete_of_versions
from server.adapters.sql.tables.instances import instances, versions
from server.adapters.sql.writing.merging import Row
from server.model.ids import Version
from server.model.instance import Locator, StoredInstance
from server.model.lifecycle.version import Provenance, VersionOrigin

_INSERTS = {table: Prepared(insert(table)) for table in (versions, instances)}
_UPDATES = {
    table: Prepared(update(table).where(table.c.version == bindparam("of_version"))) for table in (versions, instances)
}


_NOT_REPLACED: Row = dict.fromkeys(("replaced", "study_key", "series_key", "uid", "sop_class_uid"))


class Replacing:
    """Collects the rows of one transaction. `time`: of the changes."""

    def __init__(self, time: int) -> None:
        self._time = time
        self._instances: dict[int, Row] = {}  # new ones, by current version
        self._versions: dict[int, Row] = {}
        self._changes: dict[int, Row] = {}  # of existing instances, by current version
        self._old: list[Row] = []  # changes of replaced versions that exist already
        self._superseded: list[int] = []
        self._next: list[int] = []  # versions that replace another one

    def created(self, version: int, row: Row) -> None:
        """Add the row of a new instance."""
        self._instances[version] = row

    def added(self, row: Row) -> None:
        """Add the row of a new version, which is the current one."""
        self._versions[row["version"]] = _NOT_REPLACED | row

    def replaced(self, existing: StoredInstance, study_key: int, series_key: int, columns: Row) -> None:
        """Make a version, which is added next, the current one of an instance.

        columns: of the instance, with the new version.
        """
        old, new = existing.version, columns["version"]
        change = {
            "replaced": self._time,
            "study_key": study_key,
            "series_key": series_key,
            "uid": existing.id.instance,
            "sop_class_uid": existing.sop_class_uid,
        }
        if old in self._versions:
            self._versions[old] |= change
        else:
            self._old.append({"of_version": old, **change})
        if old in self._instances:
            self._instances[new] = self._instances.pop(old) | columns
        else:
            before = self._changes.pop(old, {"of_version": old})
            self._changes[new] = before | columns | {"damage": None}
        self._superseded.append(old)
        self._next.append(new)

    def write(self, connection: Connection) -> None:
        """Write all rows, and in the journal which versions replace others."""
        if self._next and (progress := progress_of(connection.info)):
            progress.journal.replaced(dict(map(_in_journal, (self._versions[version] for version in self._next))))
        if self._old:
            _UPDATES[versions].send(connection, self._old)
        for _, changes in groupby(sorted(self._changes.values(), key=len), key=lambda row: row.keys()):
            _UPDATES[instances].send(connection, list(changes))
        for table, rows in ((versions, self._versions), (instances, self._instances)):
            if rows:
                _INSERTS[table].send(connection, list(rows.values()))

    def delete_tag_values(self, connection: Connection) -> None:
        """Delete the values of replaced versions for extended query tags, which only the current version has."""
        if self._superseded:
            delete_of_versions(connection, self._superseded)


def _in_journal(row: Row) -> tuple[Locator, tuple[Version, Provenance]]:
    by = Provenance(row["author"] or "", row["reason"] or "", VersionOrigin(row["origin"]))
    return row["locator"], (row["version"], by)
