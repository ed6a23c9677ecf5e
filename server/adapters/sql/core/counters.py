"""Assignment of row keys, versions and sequences.

SQLite has one writer: its counters are rows, and entries of the change feed are numbered when they are written.
PostgreSQL
has many: each locks only the rows of its shards, takes keys and versions from sequences, and leaves the numbering of
    its entries to the sequencer (see `writing.sequencing`).
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import BindParameter, Connection, bindparam, insert, select, text, update

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.tables.archive import counters
from server.adapters.sql.tables.changes import changes, feed, unsequenced
from server.model.archive import Mark

_SHARD = Prepared(update(counters).where(counters.c.shard == bindparam("of_shard")))

_ALL = Prepared(
    select(counters.c.version, counters.c.study_key, counters.c.series_key, feed.c.sequence, feed.c.time).where(
        counters.c.shard == 0
    )
)
_SAVE_FEED = Prepared(update(feed))
_COLUMNS = changes.c.keys()
_INSERT_CHANGES = Prepared(
    text(f"INSERT INTO changes ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})")  # noqa: S608 - our names
)

_SHARDS: BindParameter[int] = bindparam("shards", expanding=True)
_LOCKED = Prepared(
    select(counters.c.shard, counters.c.version, feed.c.sequence, feed.c.time)
    .where(counters.c.shard.in_(_SHARDS))
    .order_by(counters.c.shard)
    .with_for_update(of=counters)
)
# In most transactions. A subquery with a lock stays one, so the number is taken when the row is locked.
_LOCKED_WITH_VERSION = Prepared(
    text(
        "SELECT shard, version, sequence, time, nextval('version_numbers') FROM ("
        "SELECT counters.shard, counters.version, feed.sequence, feed.time FROM counters, feed "
        "WHERE counters.shard = :shard FOR UPDATE OF counters) AS locked"
    )
)
# The subqueries hide the counts from the planner, which would plan each execution again.
_NEXT = Prepared(
    text(
        "SELECT 0, nextval('version_numbers') FROM generate_series(1, (SELECT CAST(:versions AS integer))) UNION ALL "
        "SELECT 1, nextval('study_keys') FROM generate_series(1, (SELECT CAST(:studies AS integer))) UNION ALL "
        "SELECT 2, nextval('series_keys') FROM generate_series(1, (SELECT CAST(:series AS integer)))"
    )
)
_VERSIONS = Prepared(
    text("SELECT nextval('version_numbers') FROM generate_series(1, (SELECT CAST(:versions AS integer)))")
)
_INSERT_UNSEQUENCED = Prepared(insert(unsequenced))

Row = dict[str, Any]


class OwnEntries:
    """The number of entries that this process has left to the sequencer, including those of failed transactions."""

    count = 0


own_entries = OwnEntries()


class Counters(Protocol):
    """Counters for one transaction, which holds its locks until its end.

    No other transaction changes the same studies meanwhile, and their earlier changes are visible.
    """

    must_reserve: bool
    """Numbers take a round trip unless they were reserved together."""

    def reserve(self, *, versions: int = 0, studies: int = 0, series: int = 0) -> None:
        """Reserve numbers; their maximum counts are given."""
        ...

    def next_version(self) -> int:
        """Assign a version."""
        ...

    def next_study_key(self) -> int:
        """Assign the key of a study."""
        ...

    def next_series_key(self) -> int:
        """Assign the key of a series."""
        ...

    def time(self, now: datetime) -> int:
        """Return the time of this transaction's changes, never before that of an earlier transaction even if clocks
        differ."""
        ...

    def write_entries(self, entries: Sequence[Row]) -> None:
        """Add entries to the change feed, in order. Entries of added instances have the version as `position`."""
        ...

    def reserve_entries(self, count: int) -> int | None:
        """Reserve sequences for entries that are written later; return the first, None if it is not known yet."""
        ...

    def save(self) -> None:
        """Write back the counters. Must come last in a transaction."""
        ...


def lock(connection: Connection, shards: Collection[int]) -> Counters:
    """Wait for other transactions on the same shards, and lock them. Must come first in a transaction.

    Raises: as `Progress.began`.
    """
    return lock_later(connection, shards)()


def lock_later(connection: Connection, shards: Collection[int], versions: int = 0) -> Callable[[], Counters]:
    """As `lock`, but PostgreSQL takes the locks with the next statement whose result is needed.

    Args:
        connection: with an open transaction.
        shards: of the studies to be changed.
        versions: number of versions to reserve in the same round trip.
    """
    if connection.dialect.name == "sqlite":
        return lambda: _InRows(connection)
    shards = sorted(set(shards))
    if versions == len(shards) == 1:
        row = _LOCKED_WITH_VERSION.tuples_later(connection, {"shard": shards[0]})
        return lambda: _with_version(connection, shards, row())
    locked = _LOCKED.tuples_later(connection, {"shards": shards}) if shards else tuple
    reserved = _VERSIONS.tuples_later(connection, {"versions": versions}) if versions else tuple
    return lambda: _InSequences(connection, shards, locked(), reserved())


def _with_version(connection: Connection, shards: Sequence[int], rows: Sequence[tuple[int, ...]]) -> Counters:
    return _InSequences(connection, shards, [row[:4] for row in rows], [row[4:] for row in rows])


class _InRows:
    """For SQLite, whose writing transactions exclude each other from their start."""

    must_reserve = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        row: tuple[int, ...] = _ALL.tuples(connection, {})[0]
        self._version, self._study_key, self._series_key, self._sequence, self._time = row
        self._first_sequence = self._sequence
        if progress := progress_of(connection.info):
            progress.began({0: self._version}, self._sequence)

    def reserve(self, *, versions: int = 0, studies: int = 0, series: int = 0) -> None:
        pass

    def next_version(self) -> int:
        self._version += 1
        return self._version

    def next_study_key(self) -> int:
        self._study_key += 1
        return self._study_key

    def next_series_key(self) -> int:
        self._series_key += 1
        return self._series_key

    def time(self, now: datetime) -> int:
        self._time = max(self._time, to_microseconds(now))
        return self._time

    def write_entries(self, entries: Sequence[Row]) -> None:
        for entry in entries:
            self._sequence += 1
            entry["sequence"] = self._sequence
        _INSERT_CHANGES.run(self._connection, entries)

    def reserve_entries(self, count: int) -> int | None:
        first = self._sequence + 1
        self._sequence += count
        return first

    def save(self) -> None:
        numbers = {"version": self._version, "study_key": self._study_key, "series_key": self._series_key}
        _SHARD.run(self._connection, [{"of_shard": 0, **numbers}])
        if self._sequence != self._first_sequence:
            _SAVE_FEED.run(self._connection, [{"sequence": self._sequence, "time": self._time}])
        if progress := progress_of(self._connection.info):
            progress.reached({0: self._version}, self._sequence)


class _InSequences:
    """For PostgreSQL."""

    must_reserve = True

    def __init__(
        self,
        connection: Connection,
        shards: Sequence[int],
        locked: Sequence[tuple[int, ...]],
        versions: Sequence[tuple[int, ...]],
    ) -> None:
        self._connection = connection
        self._shards = shards
        found = {shard: version for shard, version, _, _ in locked}
        self._sequence, self._feed_time = locked[0][2:] if locked else (0, 0)
        self._version = 0
        self._reserved: tuple[list[int], list[int], list[int]] = (
            sorted(map(itemgetter(0), versions), reverse=True),
            [],
            [],
        )
        if progress := progress_of(connection.info):
            progress.began(found, self._sequence)

    def reserve(self, *, versions: int = 0, studies: int = 0, series: int = 0) -> None:
        wanted = {"versions": versions, "studies": studies, "series": series}
        if not any(wanted.values()):
            return
        for kind, number in _NEXT.tuples(self._connection, wanted):
            self._reserved[kind].append(number)
        for numbers in self._reserved:
            numbers.sort(reverse=True)

    def next_version(self) -> int:
        if not self._reserved[0]:
            self.reserve(versions=1)
        self._version = self._reserved[0].pop()
        return self._version

    def next_study_key(self) -> int:
        if not self._reserved[1]:
            self.reserve(studies=1)
        return self._reserved[1].pop()

    def next_series_key(self) -> int:
        if not self._reserved[2]:
            self.reserve(series=1)
        return self._reserved[2].pop()

    def time(self, now: datetime) -> int:
        return max(int(self._feed_time), to_microseconds(now))

    def write_entries(self, entries: Sequence[Row]) -> None:
        if missing := sum("position" not in entry for entry in entries):
            self.reserve(versions=missing)
        rows = [entry if "position" in entry else {**entry, "position": self.next_version()} for entry in entries]
        _INSERT_UNSEQUENCED.send(self._connection, rows)
        own_entries.count += len(rows)

    def reserve_entries(self, count: int) -> int | None:
        return None

    def save(self) -> None:
        """Record the highest version in each shard, so that an index without this transaction is recognised."""
        if not self._version:
            return
        _SHARD.send(self._connection, [{"of_shard": shard, "version": self._version} for shard in self._shards])
        if progress := progress_of(self._connection.info):
            progress.reached(dict.fromkeys(self._shards, self._version), self._sequence)


def highest_version(connection: Connection) -> int:
    """Return the last assigned version. To be called while no other writing transaction runs."""
    if connection.dialect.name == "sqlite":
        return int(connection.execute(select(counters.c.version)).scalar_one())
    last = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM version_numbers")
    return int(connection.execute(last).scalar_one())


def touch(connection: Connection) -> None:
    """Write existing values, to test whether the database accepts writes. Raises: as `Progress.began`."""
    lock(connection, (0,))
    connection.execute(update(counters).where(counters.c.shard == 0).values(version=counters.c.version))


def raise_counters(connection: Connection, mark: Mark) -> None:
    """Prevent the assignment of versions and sequences up to a mark."""
    of_shard = counters.c.shard == mark.shard
    connection.execute(update(counters).where(of_shard, counters.c.version < mark.version).values(version=mark.version))
    connection.execute(update(feed).where(feed.c.sequence < mark.sequence).values(sequence=mark.sequence))
    if connection.dialect.name == "postgresql" and mark.version:
        highest = text("SELECT setval('version_numbers', greatest(last_value, :version)) FROM version_numbers")
        connection.execute(highest, {"version": mark.version})
