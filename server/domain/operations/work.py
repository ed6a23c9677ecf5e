"""Running the steps of operations of any type, in a worker."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from common.telemetry.catalogue import OPERATION_SECONDS, OPERATION_STEPS
from common.telemetry.tracing import INTERNAL, received
from server.domain.audit.recorder import AuditRecorder
from server.domain.operations import lifecycle
from server.domain.operations.types import OperationType, OperationTypes, Progress
from server.model.errors import DicomStoreError, Exhausted, Unavailable
from server.model.operation import Operation, OperationState
from server.ports.operations import Operations as Record

GIVEN_UP = "The operation failed repeatedly; see the server log for details."

_PRINCIPAL = "operations"
_SUBTYPE = "run-operation"


class Work:
    """Runs the steps of operations. Calls are idempotent, also if several workers make them concurrently."""

    def __init__(
        self,
        *,
        record: Record,
        types: OperationTypes,
        now: Callable[[], datetime],
        retention: timedelta,
        audit: AuditRecorder | None = None,
    ) -> None:
        """`audit` records begin and end of operations."""
        self._audit = audit
        self.types = types
        self._record = record
        self._now = now
        self._retention = retention

    async def run_step(self, type_: OperationType, step: int, operation_id: str, *, is_last_turn: bool = False) -> bool:
        """Run a part of a step of an operation; return True if the step has more parts, which follow at once.

        Args:
            is_last_turn: pause the operation after this part, so that others take a turn.

        Raises:
            Unavailable, Exhausted: the call can be repeated.
        """
        operation = await self._record.get(operation_id)
        if operation is not None and operation.state is OperationState.NOT_STARTED:
            if self._audit is not None:
                await self._audit.begin_work(_PRINCIPAL, _SUBTYPE, operation=operation_id, type=type_.name)
            now = self._now()  # from here on it may have effects, which a cancellation must clean up
            operation = await self._record.update(operation_id, lambda operation: lifecycle.begun(operation, now))
        if operation is None or not _is_in(operation, step):
            return False
        if operation.resumes is not None:
            operation = await self._record.update(operation_id, lifecycle.resumed)
            assert operation is not None, "only finished operations are deleted"
        started, result = time.perf_counter(), "failed"
        try:
            with received(f"operation {type_.name}", operation.trace, {"dicomstore.step": step}, INTERNAL):
                progress = await type_.steps[step].run(operation)
            result = "done"
        except (Unavailable, Exhausted):
            result = "repeated"
            raise
        except DicomStoreError as error:
            await self._fail(operation_id, error.message)
            return False
        finally:
            OPERATION_STEPS.of(type_.name, result).value += 1
            OPERATION_SECONDS.of(type_.name).observe(time.perf_counter() - started)
        after = await self._store(type_, operation, progress)
        if is_last_turn and after is not None and not after.state.is_final:
            now = self._now()
            after = await self._record.update(operation_id, lambda operation: lifecycle.paused(operation, now))
        return after is not None and _is_in(after, step) and after.resumes is None

    async def _store(self, type_: OperationType, before: Operation, progress: Progress) -> Operation | None:
        now = self._now()
        store = progress.store or self._record.update
        after = await store(before.id, lambda operation: lifecycle.advanced(type_, before, progress, operation, now))
        self._record_end(after)
        return after

    def _record_end(self, operation: Operation | None) -> None:
        if self._audit is not None and operation is not None and operation.state.is_final:
            self._audit.end_work(
                _PRINCIPAL,
                _SUBTYPE,
                operation=operation.id,
                type=operation.type,
                code="OK" if operation.state is OperationState.SUCCEEDED else operation.state.name,
                items=operation.done,
                failed=operation.failed,
            )

    async def clean_up(self, type_: OperationType, operation_id: str) -> None:
        """Clean up after an operation if it is being cancelled. Raises: as `run_step`."""
        operation = await self._record.get(operation_id)
        if operation is None or operation.state is not OperationState.CANCELING:
            return
        if type_.clean_up is not None:
            await type_.clean_up(operation)
        now = self._now()
        self._record_end(
            await self._record.update(operation_id, lambda operation: lifecycle.cleaned_up(operation, now))
        )

    async def fail_after_retries(self, operation_id: str) -> None:
        """Fail an operation after its last retry."""
        await self._fail(operation_id, GIVEN_UP)

    async def unfinished(self) -> Sequence[Operation]:
        """Return the unfinished operations, oldest first."""
        return [operation for operation in await self._record.unfinished() if self.types.get(operation.type)]

    def delete_before(self) -> datetime:
        """Return the end time before which records of operations are deleted."""
        return self._now() - self._retention

    async def _fail(self, operation_id: str, error: str) -> None:
        now = self._now()
        self._record_end(
            await self._record.update(operation_id, lambda operation: lifecycle.failed(operation, error, now))
        )


def _is_in(operation: Operation, step: int) -> bool:
    return operation.state is OperationState.RUNNING and operation.step == step
