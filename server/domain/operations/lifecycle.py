"""The states of an operation and the transitions between them, as pure functions.

NOT_STARTED ──► RUNNING ──► SUCCEEDED
     │             ├──────► FAILED
     │             └──────► CANCELING ──► CANCELED     of a type with a clean-up
     └─────────────┴────────────────────► CANCELED     of one without, or before it has begun
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from server.domain.operations.types import OperationType, Progress
from server.model.errors import Reason, WrongState
from server.model.operation import Json, Operation, OperationState, OperationUpdate


def started(
    type_: OperationType,
    operation_id: str,
    request: Json,
    unfinished: Sequence[Operation],
    now: datetime,
    trace: str = "",
) -> Operation:
    """Return a new operation.

    Args:
        trace: see `Operation`.

    Raises:
        WrongState: OPERATION_RUNNING, metadata `operation`: another operation of an exclusive type is not final.
    """
    if type_.is_exclusive and (running := [one for one in unfinished if one.type == type_.name]):
        message = f"Another operation of type {type_.name} is not finished."
        raise WrongState(Reason.OPERATION_RUNNING, message, operation=running[0].id)
    return Operation(operation_id, type_.name, OperationState.NOT_STARTED, now, now, request, trace=trace)


def begun(operation: Operation, now: datetime) -> OperationUpdate | None:
    """Return the update of an operation that starts its first step."""
    if operation.state is not OperationState.NOT_STARTED:
        return None
    return OperationUpdate(replace(operation, state=OperationState.RUNNING, updated=now))


def advanced(
    type_: OperationType, before: Operation, progress: Progress, operation: Operation, now: datetime
) -> OperationUpdate | None:
    """Return the update of an operation after a step; None if the step must have no effect.

    Args:
        before: the operation that the step was called with.
        operation: its current state, perhaps final, being cancelled, or advanced by another worker.
    """
    if operation.state.is_final or operation.state is OperationState.CANCELING:
        return None
    if (operation.step, operation.cursor) != (before.step, before.cursor):
        return None
    step = operation.step + progress.is_last
    is_end = step == len(type_.steps)
    next_state = replace(
        operation,
        state=OperationState.SUCCEEDED if is_end else OperationState.RUNNING,
        updated=now,
        step=step,
        cursor="" if progress.is_last and not is_end else progress.cursor,
        done=operation.done + progress.done,
        failed=operation.failed + progress.failed,
        total=operation.total if progress.total is None else progress.total,
        result=operation.result if progress.result is None else progress.result,
        resumes=None if is_end else progress.resumes,
    )
    return OperationUpdate(next_state, progress.errors)


def paused(operation: Operation, now: datetime) -> OperationUpdate | None:
    """Return the update of an operation that lets others take a turn."""
    if operation.state is not OperationState.RUNNING or operation.resumes is not None:
        return None
    return OperationUpdate(replace(operation, resumes=now))


def resumed(operation: Operation) -> OperationUpdate | None:
    """Return the update of a paused operation that a worker runs again."""
    if operation.resumes is None or operation.state is not OperationState.RUNNING:
        return None
    return OperationUpdate(replace(operation, resumes=None))


def failed(operation: Operation, error: str, now: datetime) -> OperationUpdate | None:
    """Return the update of an operation after a permanent failure."""
    if operation.state.is_final:
        return None
    return OperationUpdate(replace(operation, state=OperationState.FAILED, error=error, updated=now))


def cancelled(type_: OperationType | None, operation: Operation, now: datetime) -> OperationUpdate | None:
    """Return the update of an operation after a request to cancel it."""
    if operation.state.is_final or operation.state is OperationState.CANCELING:
        return None
    needs_clean_up = operation.state is OperationState.RUNNING and type_ is not None and type_.clean_up is not None
    state = OperationState.CANCELING if needs_clean_up else OperationState.CANCELED
    return OperationUpdate(replace(operation, state=state, updated=now))


def cleaned_up(operation: Operation, now: datetime) -> OperationUpdate | None:
    """Return the update of a cancelled operation after its clean-up."""
    if operation.state is not OperationState.CANCELING:
        return None
    return OperationUpdate(replace(operation, state=OperationState.CANCELED, updated=now))
