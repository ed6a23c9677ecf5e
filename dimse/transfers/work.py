"""A transfer while the gateway processes it: its lease, its progress, and how it ends."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from dicomstore.v1.transfer_service_pb2 import (
    ClaimedTransfer,
    ReportTransferRequest,
    Transfer,
    TransferOutcome,
    TransferProgress,
)

from dimse.associations.association import Association
from dimse.core import Core
from dimse.local_channel import Metadata

STOPPED = "GATEWAY_STOPPED"
"""Problem of an attempt that ends because the gateway stops."""

_log = logging.getLogger("dimse.transfers")


class AttemptFailed(Exception):
    """An attempt has failed.

    problem: why, in one word (docs/dimse.md).
    is_permanent: another attempt is useless.
    """

    def __init__(self, problem: str, text: str = "", *, is_permanent: bool = False) -> None:
        super().__init__(text or problem)
        self.problem, self.is_permanent = problem, is_permanent


class LeaseLost(Exception):
    """The transfer was cancelled, or another gateway may have it; nothing is reported any more."""


Name = tuple[str, ...]
"""UIDs of a study, series or instance, from the study."""


@dataclass(slots=True)
class Progress:
    """Numbers of instances."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    warnings: int = 0


class Work:
    """A claimed transfer. One thread processes it, another one renews its lease.

    Its parts are processed in ascending order of their names. The cursor is the name of the last one before which none
    has failed, with the numbers of instances until then, so that another attempt resumes there.

    trace: in which the transfer was created, as header `traceparent`; may be empty.
    partition: as requests state it; empty while partitions are disabled.
    """

    def __init__(
        self, core: Core, metadata: Metadata, claimed: ClaimedTransfer, seconds: float, partition: str
    ) -> None:
        """`seconds`: until the lease expires."""
        self.transfer: Transfer = claimed.transfer
        self.trace: str = claimed.traceparent
        self.partition = partition
        completed, warnings, name = claimed.cursor.split(" ", 2) if claimed.cursor else ("0", "0", "")
        self.progress = Progress(claimed.transfer.progress.total, int(completed), 0, int(warnings))
        self._resumed: Name = tuple(name.split("/")) if name else ()
        self._cursor = claimed.cursor
        self._core = core
        self._metadata = metadata
        self._lease = claimed.lease
        self._lease_seconds = seconds
        self._expires = time.monotonic() + seconds
        self._association: Association | None = None
        self._is_lost = False
        self._is_stopped = False
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether the thread must stop: the lease is lost, or the gateway stops."""
        return self._is_lost or self._is_stopped

    def is_done(self, name: Name) -> bool:
        """Return whether an earlier attempt has processed a part."""
        return name <= self._resumed

    def done(self, name: Name) -> None:
        """Record that a part has been processed; if instances have failed, it and later ones are repeated."""
        if not self.progress.failed:
            self._cursor = f"{self.progress.completed} {self.progress.warnings} {'/'.join(name)}"

    def check(self) -> None:
        """Raise what ends the work, if anything does: LeaseLost, or AttemptFailed if the gateway stops."""
        if self._is_lost:
            raise LeaseLost
        if self._is_stopped:
            raise AttemptFailed(STOPPED)

    @contextmanager
    def using(self, association: Association) -> Iterator[None]:
        """Interrupt the association when the work must stop; it is closed at the end."""
        with self._lock:
            self._association = association
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._association = None
            association.close()

    def stop(self) -> None:
        """Let the thread of the work fail soon, because the gateway stops."""
        self._is_stopped = True
        self._interrupt()

    def renew(self) -> None:
        """Renew the lease and report the progress; if the lease is lost, interrupt the work."""
        if self._is_lost:
            return
        try:
            is_leased = self._report(None)
        except grpc.RpcError:
            is_leased = time.monotonic() < self._expires
        if not is_leased:
            self._is_lost = True
            self._interrupt()

    def end(self, problem: str = "", *, is_permanent: bool = False) -> None:
        """Report the end of the attempt, for as long as the lease is valid."""
        outcome = TransferOutcome(problem=problem, permanent=is_permanent)
        while not self._is_lost:
            try:
                self._report(outcome)
                return
            except (grpc.RpcError, ValueError):  # ValueError: the channel is closed, because the gateway stops
                if self._is_stopped or time.monotonic() >= self._expires:
                    return
                time.sleep(1)

    def _report(self, outcome: TransferOutcome | None) -> bool:
        now = time.monotonic()
        progress = self.progress
        request = ReportTransferRequest(
            id=self.transfer.id,
            lease=self._lease,
            progress=TransferProgress(
                total=progress.total,
                completed=progress.completed,
                failed=progress.failed,
                warnings=progress.warnings,
            ),
            cursor=self._cursor,
            outcome=outcome,
        )
        answer = self._core.transfers.ReportTransfer(
            request, metadata=self._metadata, timeout=min(self._core.call_seconds, self._lease_seconds / 3)
        )
        if answer.leased:
            self._expires = now + self._lease_seconds
        return bool(answer.leased)

    def _interrupt(self) -> None:
        with self._lock:
            if self._association is not None:
                self._association.interrupt()
