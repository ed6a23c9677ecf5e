"""What a serving process does so that operations are worked on: it works on none itself.

A worker need not run while there is nothing to do: whoever starts processes (`dicomstore up`) starts one when a serving
process reports unfinished operations, and it ends when it is idle. Reports are repeated, so one that is lost does no
harm, and what a crash left unfinished is reported at the next start.
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
    """Reports unfinished operations, starts recurring ones, and forgets old ones.

    Args:
        keep: time that final operations are remembered.
        report: called while there are unfinished operations.
        upkeep: what else is to be done once an hour.
    """

    def __init__(
        self,
        *,
        record: Record,
        types: OperationTypes,
        now: Callable[[], datetime],
        keep: timedelta,
        read_only: ReadOnlyState,
        report: Callable[[], None],
        upkeep: Callable[[], Awaitable[None]],
    ) -> None:
        self._record = record
        self._recurring = [type_ for type_ in types if type_.every is not None]
        self._now = now
        self._keep = keep
        self._read_only = read_only
        self._report = report
        self._upkeep = upkeep
        self._started = asyncio.Event()

    def started(self) -> None:
        """Note that an operation was started by this process."""
        self._started.set()

    async def run(self) -> None:
        """Watch until cancelled or the archive is read-only. Failures are logged; the next turn tries again."""
        clock = asyncio.get_running_loop().time
        upkeep_at = clock()
        while not self._read_only.cause:
            try:
                await self.look()
                if clock() >= upkeep_at:
                    upkeep_at = clock() + UPKEEP_SECONDS
                    await self.forget()
                    await self._upkeep()
            except DicomStoreError as error:
                _log.warning("could not watch operations reason=%s", error.reason)
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._started.wait()
            except TimeoutError:
                pass
            self._started.clear()

    async def look(self) -> None:
        """Start recurring operations that are due, and report if any operation is unfinished."""
        for type_ in self._recurring:
            await self._start_if_due(type_)
        if await self._record.unfinished():
            self._report()

    async def forget(self) -> None:
        """Delete the records of operations that ended long ago."""
        recurring = [type_.name for type_ in self._recurring]
        await self._record.forget(self._now() - self._keep, keep_newest_of=recurring)

    async def _start_if_due(self, type_: OperationType) -> None:
        assert type_.every is not None
        now = self._now()
        newest = await self._record.list(types=[type_.name], limit=1)
        if newest and not _is_due(newest[0][1], type_.every, now):
            return
        # Every process does this; the request's name makes it one operation for each period.
        period = int((now - datetime.fromtimestamp(0, UTC)) / type_.every)
        operation_id = uuid.uuid4().hex
        await self._record.start(
            f"{type_.name} {period}",
            lambda unfinished: lifecycle.started(type_, operation_id, {}, unfinished, now),
        )


def _is_due(newest: Operation, every: timedelta, now: datetime) -> bool:
    return newest.state.is_final and newest.created + every <= now
