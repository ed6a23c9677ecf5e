"""The engine that runs operations: DBOS, in a process of its own (docs/decisions/0027-operations.md).

The index records the operations; DBOS ensures that they are completed. Each operation type is a DBOS workflow, and each
of its steps a DBOS step. An operation is a run of its type's workflow with the operation's id. DBOS stores finished
steps in a database next to the index: a restarted worker continues after the last finished step, and another worker
takes over from one that has ended (`server.domain.operations.workers`), and an operation without progress. The record
is updated in the transaction of each step (`server.domain.operations.work`), so a step that is repeated, or run by two
workers at once, takes effect once.
"""

import asyncio
import hashlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos import error as dbos_errors

from server.domain.operations.types import OperationType
from server.domain.operations.work import Work
from server.domain.operations.workers import Workers
from server.model.errors import DicomStoreError, Exhausted, Unavailable
from server.model.operation import Operation, OperationState

LOOK_SECONDS = 1.0
"""Interval between two reads of the unfinished operations, unless `Engine.wake` is called."""

_QUEUE_SECONDS = 0.25
"""Interval at which DBOS reads its queue, which contains the runs that this process has just started."""

STALE_SECONDS = 60.0
"""An operation without progress for this time is taken over by the worker that detects it, although its worker runs.

An engine without access to its database for this time is restarted: the file may have been replaced.
"""

_RETRY: dict[str, Any] = {"retries_allowed": True, "interval_seconds": 1, "backoff_rate": 2, "max_attempts": 6}
"""Half a minute in total. If a step still fails because of a database, its run ends and a new one is started."""

_TURN_CALLS = 20
"""Number of calls of steps in a run, about half a minute. Then the operation is paused, so that others take a turn: a
run for a million files would keep a reindexing waiting for hours."""

_POOLED: DBOSConfig = {
    "db_engine_kwargs": {"connect_args": {"prepare_threshold": None}},
    "use_listen_notify": False,
    "sys_db_idle_transaction_timeout_sec": -1,
}
"""What the engine must not do behind a pooler: prepare statements, listen, and change settings of the connection."""

_FORGET_SECONDS = 3600.0
_QUEUE = "operations"
_VERSION = "1"
"""Version of the workflows: a worker resumes only runs of its own version. Increment it when the steps of a type
change."""

_MAX_DELETED = 1000
_ALIVE = ("PENDING", "ENQUEUED", "DELAYED")
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class _Failed(Exception):
    """A step failed with an error of `server.model.errors`. The engine pickles it, so its arguments must suffice to
    rebuild it.

    reason: of the error.
    may_pass: a database is unreachable or full.
    """

    def __init__(self, reason: str, may_pass: bool) -> None:
        super().__init__(reason, may_pass)
        self.may_pass = may_pass


class Engine:
    """Runs operations; at most one per process."""

    def __init__(self, work: Work, workers: Workers, config: DBOSConfig, stale_seconds: float) -> None:
        self._work = work
        self._workers = workers
        self._config = config
        self._stale = timedelta(seconds=stale_seconds)
        self._loop = asyncio.get_running_loop()
        self._workflows = {type_.name: self._workflow(type_) for type_ in work.types}
        self._wake = asyncio.Event()
        self._runs: dict[str, tuple[str, datetime]] = {}
        """By operation: the name of its run, and when it was started or taken over here."""

    def _workflow(self, type_: OperationType) -> Callable[[str], None]:
        """Return the workflow of an operation type."""
        steps = [
            self._step(f"{type_.name}.{step.name}", partial(self._work.run_step, type_, number))
            for number, step in enumerate(type_.steps)
        ]
        clean_up = self._step(f"{type_.name}.clean_up", partial(self._work.clean_up, type_))
        fail = self._step(f"{type_.name}.fail", self._work.fail_after_retries)

        def run(operation_id: str) -> None:
            try:
                calls = 1
                for step in steps:
                    while step(operation_id, is_last_turn=calls >= _TURN_CALLS):
                        calls += 1
                if type_.clean_up is not None:
                    clean_up(operation_id)
            except dbos_errors.DBOSMaxStepRetriesExceeded as exceeded:
                last = exceeded.errors[-1]
                if isinstance(last, _Failed) and last.may_pass:
                    raise
                _log.exception("operation failed repeatedly and was abandoned operation=%s", operation_id)
                fail(operation_id)

        # Any other exception is a failure of the engine or a dependency: the run ends, and a new one is started.
        return DBOS.workflow(name=type_.name, max_recovery_attempts=1000)(run)

    def _step(self, name: str, work: Callable[..., Coroutine[Any, Any, Result]]) -> Callable[..., Result]:
        def step(operation_id: str, **options: bool) -> Result:
            return self._wait(work(operation_id, **options))

        return DBOS.step(name=name, **_RETRY)(step)

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the event loop, from a thread of the engine."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except DicomStoreError as error:
            raise _Failed(str(error.reason), isinstance(error, Unavailable | Exhausted)) from error

    async def run(self, idle_seconds: float | None = None) -> None:
        """Process unfinished operations until cancelled. Failures are logged and retried.

        Args:
            idle_seconds: return after this time without unfinished operations.
        """
        clock = self._loop.time
        forget_at = busy_at = clock()
        failing_since: float | None = None
        while idle_seconds is None or clock() - busy_at < idle_seconds:
            try:
                if failing_since is not None and clock() - failing_since > self._stale.total_seconds():
                    failing_since = clock()
                    await asyncio.to_thread(_relaunch, self._config)
                    self._runs.clear()
                for ended in await self._workers.look():
                    await asyncio.to_thread(_resume_runs_of, ended)
                    await self._workers.replaced(ended)
                unfinished = {operation.id: operation for operation in await self._work.unfinished()}
                self._runs = {id_: run for id_, run in self._runs.items() if id_ in unfinished}
                for operation in unfinished.values():
                    await asyncio.to_thread(self._see_to, operation)
                if unfinished:
                    busy_at = clock()
                if clock() >= forget_at:
                    await asyncio.to_thread(_delete_old_runs, self._work.delete_before())
                    forget_at = clock() + _FORGET_SECONDS
                failing_since = None
            except DicomStoreError as error:
                _log.warning("could not process operations reason=%s", error.reason)
                busy_at = clock()
            except Exception as error:  # noqa: BLE001 - the database of the engine may be temporarily unavailable
                _log.warning("could not process operations error=%s", type(error).__name__)
                failing_since = clock() if failing_since is None else failing_since
                busy_at = clock()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)
            self._wake.clear()

    def wake(self) -> None:
        """Let `run` read the unfinished operations at once."""
        self._wake.set()

    def _see_to(self, operation: Operation) -> None:
        now = datetime.now(UTC)
        run, since = self._runs.get(operation.id, (None, now))
        if operation.resumes is not None and (name := _name_of_turn(operation)) != run:
            if operation.resumes <= now or operation.state is OperationState.CANCELING:
                self._begin(operation, name)
        elif run is None:
            self._begin(operation, operation.id)
        elif now - max(operation.updated, since) > self._stale:
            status = DBOS.get_workflow_status(run)
            if status is not None and status.status in _ALIVE:
                _log.warning("operation made no progress and is restarted operation=%s", operation.id)
                DBOS.resume_workflow(run)
                self._runs[operation.id] = (run, now)
            else:  # it ended without recording its failure
                self._begin(operation, f"{operation.id}-{uuid.uuid4().hex}")

    def _begin(self, operation: Operation, run: str) -> None:
        """Start a run of an operation, unless a run of this name exists."""
        with SetWorkflowID(run):
            DBOS.enqueue_workflow(_QUEUE, self._workflows[operation.type], operation.id)
        self._runs[operation.id] = (run, datetime.now(UTC))


def _name_of_turn(operation: Operation) -> str:
    """Return the name of the run that continues a paused operation, which is the same for all workers."""
    state = f"{operation.state.name} {operation.step} {operation.cursor} {operation.resumes}"
    return f"{operation.id}-{hashlib.sha256(state.encode()).hexdigest()[:16]}"


@asynccontextmanager
async def engine(
    work: Work, workers: Workers, *, database_url: str, is_pooled: bool, stale_seconds: float
) -> AsyncIterator[Engine]:
    """Run the engine until the context is left; started steps are finished.

    Args:
        work: performs the steps.
        workers: with the name of this worker; a worker with the name of a killed one resumes its work at once.
        database_url: of the database for finished steps.
        is_pooled: the database is reached through a pooler in transaction mode.
        stale_seconds: an operation without progress for this time is taken over.
    """
    config: DBOSConfig = {
        "name": "dicomstore",
        "system_database_url": database_url,
        "dbos_system_schema": "dicomstore_operations",
        "application_version": _VERSION,
        "executor_id": workers.name,
        "log_level": "WARNING",
    }
    if is_pooled:
        config |= _POOLED
    DBOS(config=config)
    made = Engine(work, workers, config, stale_seconds)
    await asyncio.to_thread(_launch)
    try:
        yield made
    finally:
        await asyncio.to_thread(lambda: DBOS.destroy(destroy_registry=True))
        with suppress(DicomStoreError):
            await workers.leave()


def _resume_runs_of(ended: str) -> None:
    """Let any worker continue the runs of one that has ended."""
    for run in DBOS.list_workflows(executor_id=ended, status="PENDING", load_input=False, load_output=False):
        _log.warning("operation is continued, because its worker has ended run=%s", run.workflow_id)
        DBOS.resume_workflow(run.workflow_id)


def _delete_old_runs(before: datetime) -> None:
    """Delete runs that ended before this time."""
    ended = DBOS.list_workflows(
        status=_ENDED, completed_before=before.isoformat(), limit=_MAX_DELETED, load_input=False, load_output=False
    )
    if ended:
        DBOS.delete_workflows([run.workflow_id for run in ended])


def _launch() -> None:
    DBOS.launch()
    DBOS.register_queue(_QUEUE, worker_concurrency=1, polling_interval_sec=_QUEUE_SECONDS)


def _relaunch(config: DBOSConfig) -> None:
    """Reconnect to a database that is reachable again or was replaced."""
    DBOS.destroy()
    DBOS(config=config)
    _launch()
