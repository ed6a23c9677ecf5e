"""Spool (see `server.ports.spool`) in a temporary SQLite file."""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import Locator
from server.model.lifecycle.expiry import Expiry
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.model.receipt import Receipt
from server.model.worklist.workitem import Workitem, WorkitemState
from server.ports.journal import ExpiryChange, LabelChange, WorkitemChange

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SqliteSpool:
    """Context manager; the file is removed at exit, and a leftover file at entry."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "SqliteSpool":
        """Create the file."""
        self._path.unlink(missing_ok=True)
        self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE retired (old TEXT PRIMARY KEY, new TEXT, deletions INTEGER) WITHOUT ROWID",
            "CREATE TABLE restored (locator TEXT PRIMARY KEY, restorations INTEGER, partition TEXT, study TEXT, "
            "series TEXT, instance TEXT) WITHOUT ROWID",
            "CREATE TABLE aside (locator TEXT PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE labels (resource TEXT PRIMARY KEY, version INTEGER, time INTEGER, labels TEXT) WITHOUT ROWID",
            "CREATE TABLE expiries (study TEXT PRIMARY KEY, version INTEGER, time INTEGER, expires INTEGER, "
            "author TEXT, set_at INTEGER) WITHOUT ROWID",
            "CREATE TABLE workitems (partition TEXT, uid TEXT, version INTEGER, state TEXT, lock TEXT, time INTEGER, "
            "data_set TEXT, PRIMARY KEY (partition, uid)) WITHOUT ROWID",
            "CREATE TABLE resources (resource TEXT PRIMARY KEY, time INTEGER) WITHOUT ROWID",
            "CREATE TABLE versions (locator TEXT PRIMARY KEY, number INTEGER, author TEXT, reason TEXT, "
            "origin INTEGER) WITHOUT ROWID",
            "CREATE TABLE blobs (number INTEGER, time INTEGER, version INTEGER, locator TEXT, partition TEXT, "
            "PRIMARY KEY (number, time, version, locator)) WITHOUT ROWID",
            "BEGIN",
        ):
            self._connection.execute(statement)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the file."""
        self._connection.close()
        os.unlink(self._path)

    def add_retired(self, entries: Iterable[tuple[Locator, Locator | None]]) -> None:
        """See the port. The copy of a deleted blob does not matter."""
        self._connection.executemany(
            "INSERT INTO retired VALUES (?, ?, ?) ON CONFLICT (old) DO UPDATE SET "
            "new = coalesce(excluded.new, new), deletions = deletions + excluded.deletions",
            ((old, new, int(new is None)) for old, new in entries),
        )

    def add_restored(self, blobs: Iterable[tuple[Locator, InstanceId]]) -> None:
        """See the port."""
        self._connection.executemany(
            "INSERT INTO restored VALUES (?, 1, ?, ?, ?, ?) "
            "ON CONFLICT (locator) DO UPDATE SET restorations = restorations + 1",
            ((locator, one.partition, one.study, one.series, one.instance) for locator, one in blobs),
        )

    def add_versions(self, versions: Iterable[tuple[Locator, Version, Provenance]]) -> None:
        """See the port."""
        for locator, number, by in versions:
            if (current := self.current_locator(locator)) is not None:
                row = (current, number, by.author, by.reason, int(by.origin))
                self._connection.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?)", row)

    def provenance(self, locator: Locator) -> Provenance | None:
        """See the port."""
        found = self._connection.execute("SELECT author, reason, origin FROM versions WHERE locator = ?", (locator,))
        row = found.fetchone()
        return None if row is None else Provenance(row[0], row[1], VersionOrigin(row[2]))

    def restored(self, count: int) -> Iterator[list[tuple[Locator, InstanceId]]]:
        """See the port."""
        cursor = self._connection.execute("SELECT locator, partition, study, series, instance FROM restored")
        while rows := cursor.fetchmany(count):
            yield [
                (locator, InstanceId(PartitionName(partition), *map(Uid, uids)))
                for locator, partition, *uids in rows
                if self.current_locator(locator) is not None
            ]

    def current_locator(self, locator: Locator) -> Locator | None:
        """See the port."""
        current: Locator | None = locator
        while current is not None:
            row = self._connection.execute(
                "SELECT new, deletions > coalesce(restorations, 0) FROM retired LEFT JOIN restored ON locator = old "
                "WHERE old = ?",
                (current,),
            ).fetchone()
            if row is None or row == (None, 0):
                return current
            current = None if row[1] else row[0]
        return None

    def moved(self, count: int) -> Iterator[list[tuple[Locator, Locator]]]:
        """See the port."""
        cursor = self._connection.execute("SELECT old, new FROM retired WHERE new IS NOT NULL")
        while rows := cursor.fetchmany(count):
            yield [(old, self._last_copy(new)) for old, new in rows]

    def _last_copy(self, locator: Locator) -> Locator:
        while True:
            row = self._connection.execute("SELECT new FROM retired WHERE old = ?", (locator,)).fetchone()
            if row is None or row[0] is None:
                return locator
            locator = row[0]

    def exclude(self, locators: Iterable[Locator]) -> None:
        """See the port."""
        self._connection.executemany("INSERT OR IGNORE INTO aside VALUES (?)", ((locator,) for locator in locators))

    def is_excluded(self, locator: Locator) -> bool:
        """See the port."""
        found = self._connection.execute("SELECT 1 FROM aside WHERE locator = ?", (locator,)).fetchone()
        return found is not None

    def add(self, locator: Locator, receipt: Receipt) -> None:
        """See the port."""
        time = _number(receipt.time)
        self._connection.execute(
            "INSERT OR IGNORE INTO blobs SELECT coalesce(max(number), 0), ?, ?, ?, ? FROM versions WHERE locator = ?",
            (time, receipt.version, locator, receipt.partition, locator),
        )

    def add_labels(self, changes: Iterable[LabelChange]) -> None:
        """See the port."""
        self._connection.executemany(
            "INSERT INTO labels VALUES (?, ?, ?, ?) ON CONFLICT (resource) DO UPDATE SET version = excluded.version, "
            "time = excluded.time, labels = excluded.labels WHERE excluded.version > version",
            ((_text_of(one.resource), one.version, _number(one.time), json.dumps(dict(one.labels))) for one in changes),
        )

    def labels(self) -> Iterator[LabelChange]:
        """See the port."""
        for resource, version, time, labels in self._connection.execute("SELECT * FROM labels"):
            partition, *uids = resource.split("/")
            address = Address(PartitionName(partition), *map(Uid, uids))
            yield LabelChange(version, _time(time), address, json.loads(labels))

    def add_expiries(self, changes: Iterable[ExpiryChange]) -> None:
        """See the port."""
        self._connection.executemany(
            "INSERT INTO expiries VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (study) DO UPDATE SET "
            "version = excluded.version, time = excluded.time, expires = excluded.expires, author = excluded.author, "
            "set_at = excluded.set_at WHERE excluded.version > version",
            map(_expiry_row, changes),
        )

    def expiries(self) -> Iterator[ExpiryChange]:
        """See the port."""
        for study, version, time, expires, author, set_at in self._connection.execute("SELECT * FROM expiries"):
            partition, uid = study.split("/")
            expiry = None if expires is None else Expiry(_time(expires), author, _time(set_at))
            yield ExpiryChange(version, _time(time), Address(PartitionName(partition), Uid(uid)), expiry)

    def add_workitems(self, changes: Iterable[WorkitemChange]) -> None:
        """See the port. A transaction that was not committed may have the version of a later one."""
        self._connection.executemany(
            "INSERT INTO workitems VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (partition, uid) DO UPDATE SET "
            "version = excluded.version, state = excluded.state, lock = excluded.lock, time = excluded.time, "
            "data_set = excluded.data_set WHERE (excluded.version, excluded.time) > (version, time)",
            map(_row_of, changes),
        )

    def workitems(self) -> Iterator[WorkitemChange]:
        """See the port."""
        columns = "partition, uid, version, state, lock, time, data_set"
        for row in self._connection.execute(f"SELECT {columns} FROM workitems ORDER BY version"):  # noqa: S608 - ours
            partition, uid, version, state, lock, time, data_set = row
            workitem = None
            if state:
                modified = _time(time)
                workitem = Workitem(Uid(uid), WorkitemState(state), lock, data_set, (), modified)
            yield WorkitemChange(version, PartitionName(partition), Uid(uid), workitem)

    def add_resource(self, instance: InstanceId, time: datetime) -> None:
        """See the port."""
        of_instance = instance.address
        levels = (replace(of_instance, series=None, instance=None), replace(of_instance, instance=None), of_instance)
        self._connection.executemany(
            "INSERT INTO resources VALUES (?, ?) ON CONFLICT (resource) DO UPDATE SET time = min(time, excluded.time)",
            [(_text_of(address), _number(time)) for address in levels],
        )

    def first_time(self, resource: Address) -> datetime | None:
        """See the port."""
        found = self._connection.execute("SELECT time FROM resources WHERE resource = ?", (_text_of(resource),))
        row = found.fetchone()
        return None if row is None else _time(row[0])

    def in_order(self, count: int) -> Iterator[list[tuple[Locator, Receipt]]]:
        """See the port."""
        cursor = self._connection.execute(
            "SELECT time, version, locator, partition FROM blobs ORDER BY number, time, version, locator"
        )
        while rows := cursor.fetchmany(count):
            yield [
                (locator, Receipt(PartitionName(partition), _time(time), version))
                for time, version, locator, partition in rows
            ]


def _expiry_row(change: ExpiryChange) -> tuple[str | int | None, ...]:
    to = change.expiry
    details = (None, None, None) if to is None else (_number(to.expires), to.author, _number(to.time))
    return _text_of(change.study), change.version, _number(change.time), *details


def _number(time: datetime) -> int:
    """Return a time as microseconds."""
    return (time - _EPOCH) // _MICROSECOND


def _time(number: int) -> datetime:
    return _EPOCH + number * _MICROSECOND


def _row_of(change: WorkitemChange) -> tuple[object, ...]:
    version, partition, uid, workitem = change
    if workitem is None:
        return partition, uid, version, "", "", 0, ""
    time = _number(workitem.modified)
    return partition, uid, version, workitem.state.value, workitem.lock, time, workitem.data_set


def _text_of(resource: Address) -> str:
    return "/".join(filter(None, (resource.partition, resource.study, resource.series, resource.instance)))
