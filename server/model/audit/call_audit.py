"""What the audit trail says about a call, collected while the call runs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from server.model.access import Action
from server.model.ids import Address

if TYPE_CHECKING:
    from server.model.call import Call


STORED, REPLACED, IDENTICAL = "stored", "replaced", "identical"
ACCEPTED = frozenset({STORED, REPLACED, IDENTICAL})
"""Outcomes of an upload that are no failures: a new instance, a new version of one, and nothing changed."""


class StoredItem(NamedTuple):
    """An instance of an upload and its outcome: one of `ACCEPTED`, or the reason of a failure.

    UIDs are empty if they are unknown.
    """

    study: str
    series: str
    instance: str
    sop_class: str
    outcome: str
    size_bytes: int


class CallAudit:
    """What operations add to the audit record of their call. This base class records nothing.

    It is the one mutable part of a call.

    address: of what is accessed, with its resolved partition.
    items: number of instances, frames, matches or entries that were returned or changed.
    size_bytes: number of bytes of values that were returned.
    facts: other facts, as JSON values: search keys, ids of operations, paths of query tags. No secrets, no patient data
        except the search keys of the client.
    """

    __slots__ = ("address", "facts", "items", "size_bytes")

    def __init__(self) -> None:
        self.address: Address | None = None
        self.facts: dict[str, Any] | None = None
        self.items = 0
        self.size_bytes = 0

    def note(self, **facts: Any) -> None:
        """Add facts."""
        self.facts = facts if self.facts is None else {**self.facts, **facts}

    def accesses(self, call: "Call", address: Address) -> None:
        """Set the address that the call asks for."""
        self.address = address

    def begin(self, call: "Call", action: Action, *, uses_outbox: bool = False) -> None:
        """Record that the call is about to change something; `begun` waits until the record is durable.

        Args:
            uses_outbox: all effects are transactions with a `stored_record` or `deleted_record`, which may replace this
                record.
        """

    def expedite(self) -> None:
        """Write the record of `begin` now, if it is not durable yet: the caller is about to wait for it."""

    async def begun(self) -> None:
        """Wait until the record of `begin` is durable. Await it before any effect.

        Raises:
            Exhausted: STORAGE_FULL, Unavailable: STORAGE_UNAVAILABLE: the audit trail cannot be written.
        """

    def stored_record(self, items: Sequence[StoredItem], outbox_id: str) -> str | None:
        """Return the record (JSON) of instances that a transaction stores, to be written in it; None if there is none.

        Called in any thread.
        """
        return None

    def deleted_record(self, count: int, outbox_id: str) -> str | None:
        """Return the record of the end of a call whose transaction deletes `count` instances, to be written in it; None
        if there is none.

        Called in any thread.
        """
        return None

    def committed(self, record: str, row: int) -> None:
        """Append the record of a committed transaction to the audit trail.

        Args:
            record: of `stored_record` or `deleted_record`.
            row: of the outbox, that has it.
        """

    def deleted(self, count: int) -> None:
        """Note that the transaction was committed: `deleted_record` is the record of the end, if the call succeeds."""
        self.items = count

    async def stored(self, call: "Call", items: Sequence[StoredItem]) -> None:
        """Record outcomes of an upload. When this returns, they may be acknowledged. Raises: as `begun`."""


def bounded(values: Mapping[str, Any], limit: int = 8 << 10) -> Mapping[str, Any]:
    """Return facts whose texts and lists are cut off at a total of about `limit` characters."""
    left = limit

    def cut(value: Any) -> Any:
        nonlocal left
        if isinstance(value, str):
            taken = value[: max(left, 0)]
            left -= len(value) + 4
            return taken if len(taken) == len(value) else f"{taken}…"
        if isinstance(value, Mapping):
            return {key: cut(member) for key, member in value.items()}
        if isinstance(value, (list, tuple)):
            kept = []
            for member in value:
                if left <= 0:
                    kept.append("…")
                    break
                kept.append(cut(member))
            return kept
        left -= 8
        return value

    return {key: cut(value) for key, value in values.items()}
