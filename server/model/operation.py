"""Operations: long-running work that survives the process (docs/architecture.md)."""

import enum
from dataclasses import dataclass
from datetime import datetime


class OperationType(enum.IntEnum):
    """Type of an operation; the numbers are those of the contract."""

    REINDEX = 1


class OperationState(enum.IntEnum):
    """State of an operation; the numbers are those of the contract."""

    NOT_STARTED = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELED = 5

    @property
    def is_final(self) -> bool:
        """The state no longer changes."""
        return self >= OperationState.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Operation:
    """The current state of an operation.

    id: 32 lower-case hex digits.
    done, total: numbers of instances; a total of 0 is not known yet.
    subject: for REINDEX: the tags being added, eight hex digits each.
    """

    id: str
    type: OperationType
    state: OperationState
    created: datetime
    updated: datetime
    done: int
    total: int
    subject: tuple[str, ...]
    errors: tuple[str, ...]
