"""Long work that survives its process."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.domain.limits import page_size as size_of
from server.domain.search import page_token
from server.model.errors import InvalidRequest, NotFound, Reason, Unavailable
from server.model.operation import Operation, OperationType
from server.ports.operations import Operations as Record
from server.ports.tags import Tags

LONGEST_WAIT_SECONDS = 60
STEP_INSTANCES = 500
"""Instances that one step of a reindexing goes through."""

STUCK_SECONDS = 300
"""Without progress for so long, an operation is stuck: no worker runs, or it can't do its work."""

_ID = re.compile(r"[0-9a-fA-F]{32}")
_POLL_SECONDS = 0.5
_ALL = b"operations"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What there is to do, and what stays undone.

    unfinished: operations.
    stuck: how many of these make no progress.
    abandoned: tags that will never be ready, as their operation was cancelled or failed; eight hex digits each.
    worker_runs: False if it is known that there is nobody to work on operations.
    """

    unfinished: int
    stuck: int
    abandoned: tuple[str, ...]
    worker_runs: bool = True

    @property
    def trouble(self) -> str:
        """What somebody should look at; empty if nothing is."""
        parts = []
        if not self.worker_runs:
            parts.append("the operations worker is not running")
        if self.stuck:
            parts.append(f"{self.stuck} of {self.unfinished} unfinished operations make no progress")
        if self.abandoned:
            parts.append(
                f"extended query tags {', '.join(self.abandoned)} have no re-index operation: "
                "it failed or was cancelled"
            )
        return "; ".join(parts)


class Operations:
    """Tells about operations, and cancels them."""

    def __init__(
        self, *, record: Record, tags: Tags, now: Callable[[], datetime], worker_runs: Callable[[], bool] = lambda: True
    ) -> None:
        self._record = record
        self._tags = tags
        self._now = now
        self._worker_runs = worker_runs

    async def get(self, text: str) -> Operation:
        """Return an operation. Raises InvalidRequest (INVALID_OPERATION_ID), NotFound (OPERATION_NOT_FOUND)."""
        return _there(await self._record.get(_id_in(text)))

    async def list(self, *, page_size: int, token: str) -> tuple[Sequence[Operation], str]:
        """Return a page of operations, newest first, and the token of the next, empty at the end.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        size = size_of(page_size)
        found = await self._record.list(page_token.read(token, _ALL) if token else None, size + 1)
        following = page_token.make(found[size - 1][0], _ALL) if len(found) > size else ""
        return [operation for _, operation in found[:size]], following

    async def wait(self, text: str, seconds: int) -> Operation:
        """Return an operation when it is final, or as it is after so many seconds; 0 means the longest time.

        Raises:
            InvalidRequest: INVALID_OPERATION_ID, INVALID_FIELD.
            NotFound: OPERATION_NOT_FOUND.
        """
        if not 0 <= seconds <= LONGEST_WAIT_SECONDS:
            message = f"timeout_seconds must be between 0 and {LONGEST_WAIT_SECONDS}."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="timeout_seconds")
        clock = asyncio.get_running_loop().time
        end = clock() + (seconds or LONGEST_WAIT_SECONDS)
        while True:
            operation = await self.get(text)
            left = end - clock()
            if operation.state.is_final or left <= 0:
                return operation
            # Whoever finishes it is another process.
            await asyncio.sleep(min(left, _POLL_SECONDS))

    async def check(self) -> None:
        """Look whether somebody works on what is unfinished, and will.

        Raises:
            Unavailable: OPERATIONS_STUCK, something makes no progress or never will.
        """
        if trouble := (await self.backlog()).trouble:
            raise Unavailable(Reason.OPERATIONS_STUCK, f"{trouble[0].upper()}{trouble[1:]}.")

    async def backlog(self) -> Backlog:
        """Return how much there is to do."""
        unfinished = await self._record.unfinished(OperationType.REINDEX)
        before = self._now() - timedelta(seconds=STUCK_SECONDS)
        stuck = sum(operation.updated < before for operation in unfinished)
        return Backlog(len(unfinished), stuck, tuple(await self._tags.abandoned()), self._worker_runs())

    async def cancel(self, text: str) -> Operation:
        """Stop an operation before its next step; one that is final stays as it is. Raises: as `get`."""
        return _there(await self._record.cancel(_id_in(text), self._now()))


class Work:
    """What those do who work on operations."""

    def __init__(self, *, record: Record, tags: Tags, now: Callable[[], datetime], keep: timedelta) -> None:
        self._record = record
        self._tags = tags
        self._now = now
        self._keep = keep

    async def reindex_step(self, operation_id: str) -> bool:
        """Index some more instances by new tags; say whether there are others. Doing it again does no harm."""
        return await self._tags.index(operation_id, STEP_INSTANCES, self._now())

    async def give_up(self, operation_id: str) -> None:
        """Let an operation fail that could not be done however often it was tried."""
        await self._record.fail(
            operation_id, "The operation failed repeatedly; see the server log for details.", self._now()
        )

    async def unfinished(self) -> Sequence[Operation]:
        """Return what there is to do, oldest first."""
        return await self._record.unfinished(OperationType.REINDEX)

    async def forget(self) -> datetime:
        """Forget what was finished long ago, and finish what deletions left; return before when that is."""
        before = self._now() - self._keep
        await self._record.forget(before)
        await self._tags.finish_deletions()
        return before


def _id_in(text: str) -> str:
    if not _ID.fullmatch(text):
        raise InvalidRequest(Reason.INVALID_OPERATION_ID, "An operation's id is 32 hex digits.", field="id")
    return text.lower()


def _there(operation: Operation | None) -> Operation:
    if operation is None:
        raise NotFound(Reason.OPERATION_NOT_FOUND, "There is no such operation.")
    return operation
