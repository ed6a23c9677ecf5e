"""Consumers of the change feed: positions that the archive keeps for programs (docs/api.md, Consumers)."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from server.domain.access import Access
from server.model.access import Action
from server.model.call import Call
from server.model.change import Consumer
from server.model.errors import Exhausted, InvalidRequest, NotFound, Reason, WrongState
from server.model.ids import ARCHIVE
from server.ports.consumers import Consumers as Record
from server.ports.consumers import Move

MAX_CONSUMERS = 100
"""Number of consumers that a principal may have."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Consumers:
    """Reads and sets the positions of consumers.

    A consumer belongs to the principal that created it. Another principal needs the action administer in the whole
    archive; for all others it does not exist.
    """

    def __init__(self, access: Access, record: Record, now: Callable[[], datetime]) -> None:
        self._access = access
        self._record = record
        self._now = now

    async def get(self, call: Call, name: str) -> Consumer:
        """Return a consumer.

        Raises:
            InvalidRequest: INVALID_FIELD.
            NotFound: CONSUMER_NOT_FOUND.
        """
        self._access.permit_partitions(call, Action.READ)
        found = await self._record.find(_checked(name, "name"))
        if found is None or _owner(call) not in (None, found.owner):
            raise _unknown()
        return found

    async def list(self, call: Call, after_name: str, limit: int) -> Sequence[Consumer]:
        """Return a page of the consumers of the principal, or of all consumers for an administrator, by name."""
        self._access.permit_partitions(call, Action.READ)
        if after_name:
            _checked(after_name, "after_name")
        return await self._record.list(_owner(call), after_name, limit)

    async def set_position(self, call: Call, name: str, sequence: int, expected: int | None) -> Consumer:
        """Set the position of a consumer, and create it if it does not exist.

        Raises:
            InvalidRequest: INVALID_FIELD.
            WrongState: CONSUMER_MOVED, its position is not the expected one.
            NotFound: CONSUMER_NOT_FOUND, it belongs to another principal.
            Exhausted: TOO_MANY_CONSUMERS.
        """
        self._access.permit_partitions(call, Action.READ)
        to = Consumer(_checked(name, "name"), call.principal.id, sequence, self._now())
        if sequence < 0:
            raise InvalidRequest(Reason.INVALID_FIELD, "sequence must not be negative.", field="sequence")
        move, consumer = await self._record.move(to, owner=_owner(call), expected=expected, limit=MAX_CONSUMERS)
        if move is Move.UNEXPECTED:
            present = consumer.sequence if consumer else 0
            message = f"The consumer has the position {present}: another program has moved it."
            raise WrongState(Reason.CONSUMER_MOVED, message, sequence=str(present))
        if move is Move.TOO_MANY:
            raise Exhausted(Reason.TOO_MANY_CONSUMERS, f"A principal may have {MAX_CONSUMERS} consumers.")
        if consumer is None:
            raise _unknown()
        return consumer

    async def delete(self, call: Call, name: str) -> None:
        """Forget a consumer. Raises as `get`."""
        self._access.permit_partitions(call, Action.READ)
        if not await self._record.remove(_checked(name, "name"), _owner(call)):
            raise _unknown()

    async def start(self, call: Call, name: str) -> int:
        """Return the position of a consumer for a call that is already permitted; 0 if it does not exist.

        Raises:
            InvalidRequest: INVALID_FIELD.
            NotFound: CONSUMER_NOT_FOUND, it belongs to another principal.
        """
        found = await self._record.find(_checked(name, "consumer"))
        if found is None:
            return 0
        if _owner(call) not in (None, found.owner):
            raise _unknown()
        return found.sequence


def _owner(call: Call) -> str | None:
    """Return whose consumers a principal may use; None means all."""
    may_administer = any(grant.scope == ARCHIVE for grant in call.principal.grants_of(Action.ADMINISTER))
    return None if may_administer else call.principal.id


def _checked(name: str, field: str) -> str:
    if not _NAME.fullmatch(name):
        message = (
            "The name of a consumer has 1 to 64 letters, digits, '.', '_' and '-'; the first is a letter or digit."
        )
        raise InvalidRequest(Reason.INVALID_FIELD, message, field=field)
    return name


def _unknown() -> NotFound:
    return NotFound(Reason.CONSUMER_NOT_FOUND, "The consumer does not exist, or belongs to another principal.")
