"""Limits of requests."""

from datetime import datetime, timedelta

from server.model.errors import InvalidRequest, Reason

MAX_MESSAGE_BYTES = 2 << 20
MAX_PAGE_SIZE = 200
DEFAULT_PAGE_SIZE = 100
MAX_TAGS = 128
"""Limit of extended query tags (docs/conformance.md)."""

MAX_REASON_LENGTH = 500

MIN_GRACE_PERIOD = timedelta(hours=6)
"""Minimum time for which the old copy of a moved blob is kept.

A retrieval of a study queries the locators of 500 instances before it reads the first one. If these are at most 1 MiB
each, a client that reads 24 KB a second has received the last of them by then.
"""


def page_size(requested: int) -> int:
    """Return the page size for a requested one; 0 requests the default.

    Raises:
        InvalidRequest: INVALID_FIELD.
    """
    if not 0 <= requested <= MAX_PAGE_SIZE:
        raise InvalidRequest(
            Reason.INVALID_FIELD, f"page_size must be between 1 and {MAX_PAGE_SIZE}.", field="page_size"
        )
    return requested or DEFAULT_PAGE_SIZE


def check_reason(reason: str, *, required: bool = False) -> None:
    """Check the reason that a client gives for a change, which is for people.

    Raises:
        InvalidRequest: INVALID_FIELD, it is longer than `MAX_REASON_LENGTH`, not printable, or required and missing.
    """
    if len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        message = f"A reason has at most {MAX_REASON_LENGTH} printable characters."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="reason")
    if required and not reason.strip():
        raise InvalidRequest(Reason.INVALID_FIELD, "A reason is required.", field="reason")


MAX_EXPIRY = timedelta(days=366 * 1000)


def expiry_time(now: datetime, period: timedelta, field: str) -> datetime:
    """Return the time at which a study expires after a period.

    Raises:
        InvalidRequest: INVALID_FIELD, the period is not positive, or longer than `MAX_EXPIRY`.
    """
    if not timedelta() < period <= MAX_EXPIRY:
        message = f"The time until a study expires must be positive, and at most {MAX_EXPIRY.days} days."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field=field)
    return now + period
