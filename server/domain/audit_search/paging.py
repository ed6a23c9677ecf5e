"""Positions in the audit trail, and the periods in which a search for the newest records looks for them.

Records are ordered by time, writer and number.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson

from server.domain.audit_search.filters import AuditFilter
from server.model.audit.trail import StoredRecord, WriterId
from server.model.errors import InvalidRequest, Reason

_FIRST_PERIOD = timedelta(hours=1)
_GROWTH = 4
"""Each period is longer than the one after it by this factor."""


class Position(NamedTuple):
    """Place of a record in the order."""

    time: str
    writer: WriterId
    number: int

    @classmethod
    def of(cls, record: StoredRecord) -> "Position":
        """Return the position of a record."""
        return cls(record.time, record.writer, record.number)


def token_after(position: Position, wanted: AuditFilter) -> str:
    """Return the page token for what follows a position in a search."""
    return base64.urlsafe_b64encode(orjson.dumps([_digest(wanted), *position])).rstrip(b"=").decode()


def read_token(token: str, wanted: AuditFilter) -> Position:
    """Return the position in a page token. Raises InvalidRequest (INVALID_PAGE_TOKEN)."""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        match orjson.loads(text):
            case [str(digest), str(time), str(writer), int(number)] if digest == _digest(wanted):
                datetime.fromisoformat(time)
                return Position(time, writer, number)
    except (binascii.Error, ValueError):
        pass
    raise InvalidRequest(Reason.INVALID_PAGE_TOKEN, "The page token does not belong to this search.")


def periods_before(end: str, start: str) -> Iterator[tuple[str, str]]:
    """Yield start and end of ever longer periods, from `end` backwards to `start`."""
    length = _FIRST_PERIOD
    while end > start:
        # A period may reach back beyond the first year.
        before = datetime.fromisoformat(end.rstrip("\0")).astimezone(UTC)
        reach = min(length, before - datetime.min.replace(tzinfo=UTC))
        begin = max(as_text(before - reach), start)
        yield begin, end
        end, length = begin, length * _GROWTH


def as_text(time: datetime) -> str:
    """Return a time as in records."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def including(time: str) -> str:
    """Return the end of a period that includes a time."""
    return time + "\0"


def _digest(wanted: AuditFilter) -> str:
    return hashlib.blake2b(orjson.dumps(wanted.facts), digest_size=8).hexdigest()
