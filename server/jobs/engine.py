"""The engine that works on operations: DBOS, in a process of its own (docs/decisions/0027-operations.md).

The record of operations in the index is what there is to do; DBOS sees to it that somebody does it. Each operation is a
workflow with the operation's id, whose steps are kept in a database beside the index: a worker that was killed goes on
behind the last step when it starts again, and another worker takes over what has made no progress for a while.
A step records its progress with its effect (`Work`), so that one that is done twice, or by two at once, has it once.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos import error as dbos_errors

from server.domain.operations import Work
from server.model.errors import DicomStoreError, Exhausted, Unavailable
from server.model.operation import Operation

LOOK_SECONDS = 1.0
"""Time between two looks for something to do."""

STALE_SECONDS = 60.0
"""Without progress for so long, an operation is taken over by whoever notices.

An engine that can't use its database for so long begins anew: another may be in its place."""

_RETRY: dict[str, Any] = {"retries_allowed": True, "interval_seconds": 1, "backoff_rate": 2, "max_attempts": 6}
"""Half a minute in all. Who fails then because of a database begins anew; see `_Failed`."""

_FORGET_SECONDS = 3600.0
_QUEUE = "operations"
_VERSION = "1"
"""Of the workflows below: a worker resumes those of its own version only. Raise it when their steps change."""

_MOST_FORGOTTEN = 1000
_ALIVE = ("PENDING", "ENQUEUED", "DELAYED")
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class _Failed(Exception):
    """A step has failed as the model says; the engine keeps it, so it must be made of what it is given.

    reason: of the model's error.
    may_pass: a database is away or full.
    """

    def __init__(self, reason: str, may_pass: bool) -> None:
        super().__init__(reason, may_pass)
        self.may_pass = may_pass


class Engine:
    """Works on operations; at most one in a process."""

    def __init__(self, work: Work, config: DBOSConfig, stale_seconds: float) -> None:
        self._work = work
        self._config = config
        self._stale = timedelta(seconds=stale_seconds)
        self._loop = asyncio.get_running_loop()
        self._runs: dict[str, tuple[str, datetime]] = {}
        """By operation: the name of its run, and when that was begun or taken over here."""

        @DBOS.step(name="reindex_step", **_RETRY)
        def step(operation_id: str) -> bool:
            return self._wait(work.reindex_step(operation_id))

        @DBOS.step(name="give_up", **_RETRY)
        def give_up(operation_id: str) -> None:
            self._wait(work.give_up(operation_id))

        # Whatever else is raised is the engine's own trouble, or a dependency's: the run ends, and another begins.
        @DBOS.workflow(name="reindex", max_recovery_attempts=1000)
        def reindex(operation_id: str) -> None:
            try:
                while step(operation_id):
                    pass
            except dbos_errors.DBOSMaxStepRetriesExceeded as exceeded:
                last = exceeded.errors[-1]
                if isinstance(last, _Failed) and last.may_pass:
                    raise
                _log.exception("operation failed repeatedly and was abandoned operation=%s", operation_id)
                give_up(operation_id)

        self._reindex = reindex

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do what belongs to the event loop, from a thread of the engine."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except DicomStoreError as error:
            raise _Failed(str(error.reason), isinstance(error, Unavailable | Exhausted)) from error

    async def run(self) -> None:
        """Look for something to do until cancelled. A failure is logged, and looked at again at the next turn."""
        clock = self._loop.time
        forget_at = clock()
        failing_since: float | None = None
        while True:
            try:
                if failing_since is not None and clock() - failing_since > self._stale.total_seconds():
                    failing_since = clock()
                    await asyncio.to_thread(_launch_again, self._config)
                    self._runs.clear()
                unfinished = {operation.id: operation for operation in await self._work.unfinished()}
                self._runs = {id_: run for id_, run in self._runs.items() if id_ in unfinished}
                for operation in unfinished.values():
                    await asyncio.to_thread(self._see_to, operation)
                if clock() >= forget_at:
                    await asyncio.to_thread(_forget, await self._work.forget())
                    forget_at = clock() + _FORGET_SECONDS
                failing_since = None
            except DicomStoreError as error:
                _log.warning("could not process operations reason=%s", error.reason)
            except Exception as error:  # noqa: BLE001 - the job runner: the engine's database may be away, and comes back
                _log.warning("could not process operations error=%s", type(error).__name__)
                failing_since = clock() if failing_since is None else failing_since
            await asyncio.sleep(LOOK_SECONDS)

    def _see_to(self, operation: Operation) -> None:
        now = datetime.now(UTC)
        run, since = self._runs.get(operation.id, (None, now))
        if run is None:
            self._begin(operation, operation.id)
        elif now - max(operation.updated, since) > self._stale:
            status = DBOS.get_workflow_status(run)
            if status is not None and status.status in _ALIVE:
                _log.warning("operation made no progress and is restarted operation=%s", operation.id)
                DBOS.resume_workflow(run)
                self._runs[operation.id] = (run, now)
            else:  # it ended, and could not even say so in the record
                self._begin(operation, f"{operation.id}-{uuid.uuid4().hex}")

    def _begin(self, operation: Operation, run: str) -> None:
        """Begin a run of an operation, unless there is one of this name already."""
        with SetWorkflowID(run):
            DBOS.enqueue_workflow(_QUEUE, self._reindex, operation.id)
        self._runs[operation.id] = (run, datetime.now(UTC))


@asynccontextmanager
async def engine(work: Work, *, database_url: str, executor: str, stale_seconds: float) -> AsyncIterator[Engine]:
    """Run the engine until the context is left; steps that have begun are finished.

    Args:
        work: what is done.
        database_url: where DBOS keeps what it has done.
        executor: name of this worker; one that starts under the name of one that was killed resumes its work at once.
        stale_seconds: without progress for so long, an operation is taken over.
    """
    config: DBOSConfig = {
        "name": "dicomstore",
        "system_database_url": database_url,
        "dbos_system_schema": "dicomstore_operations",
        "application_version": _VERSION,
        "executor_id": executor,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    made = Engine(work, config, stale_seconds)
    await asyncio.to_thread(_launch)
    try:
        yield made
    finally:
        await asyncio.to_thread(DBOS.destroy)


def _forget(before: datetime) -> None:
    """Forget the runs that ended long ago."""
    ended = DBOS.list_workflows(
        status=_ENDED, completed_before=before.isoformat(), limit=_MOST_FORGOTTEN, load_input=False, load_output=False
    )
    if ended:
        DBOS.delete_workflows([run.workflow_id for run in ended])


def _launch() -> None:
    DBOS.launch()
    DBOS.register_queue(_QUEUE, worker_concurrency=1)


def _launch_again(config: DBOSConfig) -> None:
    """Begin with a database that is there again, or another in its place."""
    DBOS.destroy()
    DBOS(config=config)
    _launch()
