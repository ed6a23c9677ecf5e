"""Giving out keys, versions and sequences."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.tables import counters
from server.adapters.sql.core.times import to_microseconds

_LOCKED = Prepared(select(*(column for column in counters.c if column.name != "id")).with_for_update())
_UPDATE = Prepared(update(counters))


@dataclass(slots=True)
class Counters:
    """The last key, version and sequence that was given out, and the time of the last change.

    Whoever has them has locked them until the end of the transaction: nobody else adds or deletes meanwhile, and
    what others did before is visible. That is why nothing can become visible below a sequence that could be read.
    """

    partition_key: int
    study_key: int
    series_key: int
    version: int
    sequence: int
    change_time: int

    @classmethod
    def lock(cls, connection: Connection) -> "Counters":
        """Wait for other transactions that add or delete, then lock. Must come first in a transaction.

        Raises: as `Progress.began`.
        """
        last = cls(*_LOCKED.row(connection, {}))
        if progress := progress_of(connection.info):
            progress.began(last.version, last.sequence)
        return last

    def save(self, connection: Connection) -> None:
        """Write back what was given out."""
        _UPDATE.run(connection, [{name: getattr(self, name) for name in self.__slots__}])
        if progress := progress_of(connection.info):
            progress.reached(self.version, self.sequence)

    def next_partition_key(self) -> int:
        """Give out a key."""
        self.partition_key += 1
        return self.partition_key

    def next_study_key(self) -> int:
        """Give out a key."""
        self.study_key += 1
        return self.study_key

    def next_series_key(self) -> int:
        """Give out a key."""
        self.series_key += 1
        return self.series_key

    def next_version(self) -> int:
        """Give out a version."""
        self.version += 1
        return self.version

    def advance_time(self, now: datetime) -> int:
        """Return the time of this transaction's changes, never before that of an earlier one even if clocks differ."""
        self.change_time = max(self.change_time, to_microseconds(now))
        return self.change_time
