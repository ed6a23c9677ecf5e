"""Operations: long-running work that survives the process (docs/architecture.md)."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from server.model.errors import Reason
from server.model.ids import Address

Json = Mapping[str, Any]
"""A JSON object: the canonical JSON form of a message of the contract, with its field names."""


class OperationState(enum.IntEnum):
    """State of an operation; the numbers are those of the contract."""

    NOT_STARTED = 1
    RUNNING = 2
    CANCELING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELED = 6

    @property
    def is_final(self) -> bool:
        """The state no longer changes."""
        return self >= OperationState.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Operation:
    """The current state of an operation.

    id: 32 lower-case hex digits.
    type: name of its type; see `server.domain.operations.types`.
    updated: when it last made progress.
    request, result: as the type defines them; the result is empty until there is one.
    done, failed: items that are finished, and those among them that failed. A type says what its items are.
    total: items in all; 0 if that is not known yet.
    step: number of steps that are finished.
    cursor: where the current step continues, in the step's own form; empty at its beginning.
    error: why it FAILED, for people, without patient data; empty otherwise.
    secret: the credentials of the request, encrypted; empty without any, and as soon as the operation is final.
    trace: the trace in which it was started, as header `traceparent`; empty without one.
    resumes: set while it is paused: no worker runs it until this time.
    """

    id: str
    type: str
    state: OperationState
    created: datetime
    updated: datetime
    request: Json = field(default_factory=dict)
    result: Json = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    total: int = 0
    step: int = 0
    cursor: str = ""
    error: str = ""
    secret: str = field(default="", repr=False)
    resumes: datetime | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class OperationError:
    """One item of an operation that failed.

    address: of a study, series or instance; None if the item is none of these.
    item: name of an item without an address, such as a file; or empty.
    message: for people, without patient data.
    """

    time: datetime
    reason: Reason
    message: str
    address: Address | None = None
    item: str = ""


@dataclass(frozen=True, slots=True)
class OperationUpdate:
    """The next state of an operation, and the errors found since the last one."""

    operation: Operation
    errors: Sequence[OperationError] = ()


Update = Callable[[Operation], OperationUpdate | None]
"""From an operation as it is recorded, its next state; None leaves it unchanged. Pure: it may be called again."""
