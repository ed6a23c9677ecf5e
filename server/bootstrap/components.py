"""The parts of the core that need only the index; `archive_components` has those that need blobs as well.

Each is constructed once for a process, when it is first used.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from server.adapters.sql.engine import Database
from server.config import Settings
from server.domain.access import Access
from server.domain.change_feed import ChangeFeed
from server.domain.operations import Operations, Work
from server.domain.partition_names import PartitionNames
from server.domain.partitions import Partitions
from server.domain.read_only import ReadOnlyState
from server.domain.search.query_tags import ExtendedQueryTags
from server.domain.search.search import Search
from server.domain.upkeep.steady_clock import SteadyClock


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Return the seconds since the system started, including those in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, kw_only=True)
class IndexComponents:
    """The parts, and what they are made of.

    worker_runs: says whether the process runs that works on operations, if that is known.
    """

    settings: Settings
    database: Database
    worker_runs: Callable[[], bool] = lambda: True
    read_only: ReadOnlyState = field(default_factory=ReadOnlyState)

    @cached_property
    def clock(self) -> SteadyClock:
        """The clock that deadlines for erasing are judged by. To be started before it is used."""
        jump = timedelta(hours=self.settings.clock_jump_hours)
        return SteadyClock(self.database.clock, now, elapsed, jump)

    @cached_property
    def partition_names(self) -> PartitionNames:
        """The check of partition names."""
        return PartitionNames(self.database.partitions, enabled=self.settings.partitions, now=now)

    @cached_property
    def access(self) -> Access:
        """The decision on every operation."""
        return Access(self.partition_names, self.read_only)

    @cached_property
    def partitions(self) -> Partitions:
        """The list of partitions."""
        return Partitions(access=self.access, names=self.partition_names, partitions=self.database.partitions, now=now)

    @cached_property
    def feed(self) -> ChangeFeed:
        """The change feed."""
        return ChangeFeed(self.access, self.database.changes)

    @cached_property
    def search(self) -> Search:
        """Searches."""
        return Search(self.database.instances, self.access, self.database.tags)

    @cached_property
    def tags(self) -> ExtendedQueryTags:
        """The extended query tags."""
        return ExtendedQueryTags(tags=self.database.tags, now=now)

    @cached_property
    def operations(self) -> Operations:
        """Operations, as clients see them."""
        return Operations(
            record=self.database.operations, tags=self.database.tags, now=now, worker_runs=self.worker_runs
        )

    @cached_property
    def work(self) -> Work:
        """Operations, as a worker sees them."""
        return Work(
            record=self.database.operations,
            tags=self.database.tags,
            now=now,
            keep=timedelta(days=self.settings.operation_days),
        )
