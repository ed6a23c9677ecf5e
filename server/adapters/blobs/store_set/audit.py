"""The audit trails of several stores: all are read and verified, that of the primary store is written."""

import heapq
from collections.abc import Iterator, Mapping, Sequence

from server.model.audit.trail import Positions, StoredRecord, Verification, WriterId
from server.ports.audit import AuditTail, AuditTrail
from server.ports.outbox import ProcessNumber


class SetAuditTrail:
    """AuditTrail (see `server.ports.audit`).

    Args:
        trails: that of the primary store first.
    """

    def __init__(self, trails: Sequence[AuditTrail]) -> None:
        self._trails = trails
        self._primary = trails[0]
        self.open = self._primary.open
        self.process = self._primary.process
        self.replace_key = self._primary.replace_key
        self.save_position = self._primary.save_position
        self.exclusive = self._primary.exclusive

    def has_ended(self, process: ProcessNumber) -> bool:
        """See the port."""
        return all(trail.has_ended(process) for trail in self._trails)

    def public_key(self) -> str:
        """See the port."""
        return next(filter(None, (trail.public_key() for trail in self._trails)), "")

    def records(self, start: str = "", end: str = "") -> Iterator[StoredRecord]:
        """See the port."""
        return heapq.merge(*(trail.records(start, end) for trail in self._trails), key=lambda record: record.time)

    def tail(self, positions: Positions | None) -> AuditTail:
        """See the port."""
        return _Tail([trail.tail(positions) for trail in self._trails])

    def verify(self, *, trusted_key: str = "", checkpoint: str = "") -> Verification:
        """See the port. The result has key and checkpoint of the primary store; `checkpoint` may be that of any.

        A store that was never written has no trail, which is no finding if another store has one.
        """
        found = [trail.verify(trusted_key=trusted_key) for trail in self._trails]
        if checkpoint:
            compared = [trail.verify(trusted_key=trusted_key, checkpoint=checkpoint) for trail in self._trails]
            if not any(one.findings == other.findings for one, other in zip(found, compared, strict=True)):
                found[0] = compared[0]
        if used := [one for one in found if one.records or one.checkpoint]:
            found = used
        return Verification(
            sum(one.writers for one in found),
            sum(one.records for one in found),
            found[0].checkpoint,
            found[0].key,
            tuple(finding for one in found for finding in one.findings),
        )

    def load_position(self, name: str) -> Positions | None:
        """See the port. Until the primary store has one, that of another store counts."""
        found: dict[WriterId, int] = {}
        is_any = False
        for trail in reversed(self._trails):
            positions = trail.load_position(name)
            is_any |= positions is not None
            found |= dict(positions or {})
        return found if is_any else None


class _Tail:
    """AuditTail of several trails."""

    def __init__(self, tails: Sequence[AuditTail]) -> None:
        self._tails = tails

    @property
    def positions(self) -> Mapping[WriterId, int]:
        """See the port."""
        return {writer: number for tail in self._tails for writer, number in tail.positions.items()}

    def poll(self, limit: int) -> Sequence[StoredRecord]:
        """See the port."""
        found: list[StoredRecord] = []
        for tail in self._tails:
            if len(found) < limit:
                found += tail.poll(limit - len(found))
        return found
