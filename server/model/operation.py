"""Long work that survives its process (spec/operations.md)."""

import enum
from dataclasses import dataclass
from datetime import datetime


class OperationType(enum.IntEnum):
    """What an operation does; numbers are those of the contract."""

    REINDEX = 1


class OperationState(enum.IntEnum):
    """How far an operation has come; numbers are those of the contract."""

    NOT_STARTED = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELED = 5

    @property
    def is_final(self) -> bool:
        """Nothing will change any more."""
        return self >= OperationState.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as it is now.

    id: 32 lower-case hex digits.
    done, total: instances; a total of 0 is not known yet.
    subject: of REINDEX: the tags that are added, eight hex digits each.
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
