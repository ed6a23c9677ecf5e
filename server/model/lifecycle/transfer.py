"""Transfers between the archive and other systems (docs/dimse.md)."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from server.model.ids import Address, PartitionName, Uid

_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=1)


class TransferState(enum.IntEnum):
    """State of a transfer; the numbers are those of the contract and of the index."""

    WAITING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELED = 5


class RetrieveMethod(enum.IntEnum):
    """How instances are retrieved from another system; the numbers are those of the contract and of the index."""

    CONFIGURED = 0
    MOVE = 1
    GET = 2


@dataclass(frozen=True, slots=True)
class Pull:
    """Resources, or all studies that match search keys, to retrieve from another system."""

    resources: tuple[Address, ...]
    keys: Mapping[str, str]
    method: RetrieveMethod = RetrieveMethod.CONFIGURED


@dataclass(frozen=True, slots=True)
class Send:
    """Resources to send to another system."""

    resources: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Notification:
    """A study whose availability is reported to another system."""

    study: Address


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """A result of storage commitment to report to another system.

    ae_title: AE title of the archive that it used; empty: that of the configuration of the gateways.
    """

    transaction: Uid
    ae_title: str = ""


TransferWork = Pull | Send | Notification | CommitmentReport


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """Numbers of instances; `total` is 0 while it is unknown."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    warnings: int = 0


@dataclass(frozen=True, slots=True)
class TransferOutcome:
    """How an attempt ended. problem: why it failed, in one word; empty if it succeeded."""

    problem: str = ""
    is_permanent: bool = False


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer. Its methods return the next state; they change nothing.

    remote: name of the other system in the configuration of the gateways.
    rule: name of the forward rule that created it, or empty.
    attempts: number of attempts, including a running one, since there was progress.
    due: time of the next attempt, or of the expiry of the lease; None if it is finished.
    lease: identifies the lease; empty if there is none.
    cursor: where to resume; only gateways interpret it.
    problem: why the last attempt failed; empty if it did not.
    trace: the trace in which it was created, as header `traceparent`; empty if it is not recorded.
    """

    id: str
    partition: PartitionName
    remote: str
    work: TransferWork
    creator: str
    created: datetime
    updated: datetime
    due: datetime | None
    rule: str = ""
    state: TransferState = TransferState.WAITING
    attempts: int = 0
    lease: str = ""
    cursor: str = ""
    progress: TransferProgress = TransferProgress()
    problem: str = ""
    trace: str = ""

    def claimed(self, lease: str, now: datetime, duration: timedelta, max_attempts: int) -> "Transfer":
        """Return it with a lease; as failed if its previous lease expired and no attempts are left."""
        if self.state is TransferState.RUNNING and self.attempts >= max_attempts:
            return replace(self._ended(TransferState.FAILED, now), problem="GATEWAY_LOST")
        return replace(
            self,
            state=TransferState.RUNNING,
            attempts=self.attempts + 1,
            lease=lease,
            due=now + duration,
            updated=now,
        )

    def renewed(
        self, now: datetime, duration: timedelta, progress: TransferProgress | None, cursor: str | None
    ) -> "Transfer":
        """Return it with progress and a new expiry of its lease."""
        moved = cursor is not None and cursor != self.cursor
        return replace(
            self,
            progress=self.progress if progress is None else progress,
            cursor=self.cursor if cursor is None else cursor,
            attempts=1 if moved else self.attempts,
            due=now + duration,
            updated=now,
        )

    def attempted(self, outcome: TransferOutcome, now: datetime, max_attempts: int) -> "Transfer":
        """Return it after the end of an attempt: the pauses between attempts double, up to an hour."""
        if not outcome.problem:
            return replace(self._ended(TransferState.SUCCEEDED, now), problem="")
        if outcome.is_permanent or self.attempts >= max_attempts:
            return replace(self._ended(TransferState.FAILED, now), problem=outcome.problem)
        pause = min(_FIRST_PAUSE * (1 << min(self.attempts - 1, 20)), _LONGEST_PAUSE)
        waiting = replace(self, state=TransferState.WAITING, lease="", due=now + pause, updated=now)
        return replace(waiting, problem=outcome.problem)

    def canceled(self, now: datetime) -> "Transfer":
        """Return it cancelled, unless it has succeeded."""
        return self if self.state is TransferState.SUCCEEDED else self._ended(TransferState.CANCELED, now)

    def retried(self, now: datetime) -> "Transfer":
        """Return it as due now, with all attempts left."""
        return replace(self, state=TransferState.WAITING, attempts=0, due=now, problem="", updated=now)

    def _ended(self, state: TransferState, now: datetime) -> "Transfer":
        return replace(self, state=state, lease="", due=None, updated=now)


RETRIABLE: Sequence[TransferState] = (TransferState.WAITING, TransferState.FAILED, TransferState.CANCELED)
"""States in which a transfer can be retried."""
