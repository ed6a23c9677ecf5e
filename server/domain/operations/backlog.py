"""Unfinished operations and their problems."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.domain.limits import MAX_TAGS
from server.model.operation import Operation
from server.model.search.query_tag import Tag, TagStatus
from server.ports.operations import Operations as Record
from server.ports.tags import Tags

STUCK_SECONDS = 300
"""An operation without progress for so long is stuck: no worker runs, or it can't do its work."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Unfinished operations and their problems.

    unfinished: number of operations that are not final.
    stuck: number of these without progress.
    abandoned: extended query tags that will never be ready, as their operation was cancelled or failed; eight hex
        digits each.
    worker_runs: False if the worker is known to fail repeatedly.
    """

    unfinished: int
    stuck: int
    abandoned: tuple[str, ...]
    worker_runs: bool = True

    @property
    def problem(self) -> str:
        """A message for the operator; empty if there is no problem."""
        parts = []
        if not self.worker_runs:
            parts.append("the operations worker is not running")
        if self.stuck:
            parts.append(f"{self.stuck} of {self.unfinished} unfinished operations make no progress")
        if self.abandoned:
            tags = ", ".join(self.abandoned)
            parts.append(f"extended query tags {tags} have no re-index operation: it failed or was cancelled")
        return "; ".join(parts)


async def backlog_of(record: Record, tags: Tags, now: datetime, *, worker_runs: bool = True) -> Backlog:
    """Return the backlog of an archive. Raises: Unavailable."""
    # Query tags first: if an operation ends between the two reads, its tags count as unfinished and not as abandoned.
    present = await tags.list(after=0, skip=0, limit=MAX_TAGS)
    unfinished = await record.unfinished()
    limit = now - timedelta(seconds=STUCK_SECONDS)
    stuck = sum(max(operation.updated, operation.resumes or operation.updated) < limit for operation in unfinished)
    return Backlog(len(unfinished), stuck, _abandoned(present, unfinished), worker_runs)


def _abandoned(tags: Sequence[Tag], unfinished: Sequence[Operation]) -> tuple[str, ...]:
    running = {operation.id for operation in unfinished}
    return tuple(tag.new.tag for tag in tags if tag.status is TagStatus.ADDING and tag.operation_id not in running)
