"""The part of a serving process in operations: it reports unfinished ones, so that a worker is started for them.

The supervisor (`dicomstore up`) starts a worker when a serving process reports unfinished operations; the worker ends
when it is idle. Reports are repeated, so a lost one is harmless, and operations that a crash left unfinished are
reported at the next start.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from server.domain.operations import lifecycle
from server.domain.operations.types import OperationType, OperationTypes
from server.domain.read_only import ReadOnlyState
from server.model.errors import DicomStoreError
from server.model.operation import Operation
from server.ports.operations import Operations as Record

WATCH_SECONDS = 15.0
"""Time between two reports of unfinished operations; one that this process starts is reported at once."""

UPKEEP_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class OperationWatch:
    """Reports unfinished operations, starts recurring ones, and deletes records of old ones.

    Args:
        retention: retention time for records of final operations.
        report: called while there are unfinished operations.
        upkeep: another task to run once an hour.
    """

    def __init__(
        self,
        *,
        record: Record,
        types: OperationTypes,
        now: Callable[[], datetime],
        retention: timedelta,
        read_only: ReadOnlyState,
        report: Callable[[], None],
        upkeep: Callable[[], Awaitable[None]],
    ) -> None:
        self._record = record
        self._recurring = [type_ for type_ in types if type_.every is not None]
        self._now = now
        self._retention = retention
        self._read_only = read_only
        self._report = report
        self._upkeep = upkeep
        self._started = asyncio.Event()

    def started(self) -> None:
        """To be called after this process has created an operation."""
        self._started.set()

    async def run(self) -> None:
        """Watch until cancelled or the archive is read-only. Failures are logged and retried at the next interval."""
        clock = asyncio.get_running_loop().time
        upkeep_at = clock()
        while not self._read_only.cause:
            try:
                await self.check()
                if clock() >= upkeep_at:
                    upkeep_at = clock() + UPKEEP_SECONDS
                    await self.delete_old()
                    await self._upkeep()
            except DicomStoreError as error:
                _log.warning("could not watch operations reason=%s", error.reason)
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._started.wait()
            except TimeoutError:
                pass
            self._started.clear()

    async def check(self) -> None:
        """Start recurring operations that are due, and report if any operation is unfinished."""
        for type_ in self._recurring:
            await self._start_if_due(type_)
        if await self._record.unfinished():
            self._report()

    async def delete_old(self) -> None:
        """Delete the records of operations that ended before the retention time."""
        recurring = [type_.name for type_ in self._recurring]
        await self._record.delete_final(self._now() - self._retention, keep_newest_of=recurring)

    async def _start_if_due(self, type_: OperationType) -> None:
        assert type_.every is not None
        now = self._now()
        newest = await self._record.list(types=[type_.name], limit=1)
        if newest and not _is_due(newest[0][1], type_.every, now):
            return
        # Every process does this; the request id makes it one operation per period.
        period = int((now - datetime.fromtimestamp(0, UTC)) / type_.every)
        operation_id = uuid.uuid4().hex
        await self._record.start(
            f"{type_.name} {period}",
            lambda unfinished: lifecycle.started(type_, operation_id, {}, unfinished, now),
        )


def _is_due(newest: Operation, every: timedelta, now: datetime) -> bool:
    return newest.state.is_final and newest.created + every <= now
