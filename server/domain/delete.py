"""Deleting (spec: delete.md)."""

from collections.abc import Callable
from datetime import datetime, timedelta

from server.domain.partitions import PartitionGate
from server.domain.read_only import ReadOnlyState
from server.domain.resources import parse_resource
from server.ports.index import InstanceIndex


class Delete:
    """Takes instances out: invisible at once, erased after the retention time by `server.domain.upkeep.garbage`."""

    def __init__(
        self,
        *,
        index: InstanceIndex,
        gate: PartitionGate,
        read_only: ReadOnlyState,
        now: Callable[[], datetime],
        deadline_now: Callable[[], datetime],
        retention: timedelta,
        on_change: Callable[[], None],
    ) -> None:
        self._index = index
        self._gate = gate
        self._read_only = read_only
        self._now = now
        self._deadline_now = deadline_now
        self._retention = retention
        self._on_change = on_change

    async def delete(self, *, partition: str, study: str, series: str, instance: str) -> int:
        """Delete a study, series or instance and return how many instances that were; 0 when there is none.

        Raises: ARCHIVE_READ_ONLY, and as `parse_resource`.
        """
        self._read_only.require_writable()
        ref = await parse_resource(self._gate, partition, study, series, instance)
        deleted = await self._index.delete(ref, self._now(), self._deadline_now() + self._retention)
        if deleted:
            self._on_change()
        return deleted
