"""Times as the database keeps them: microseconds since 1970-01-01 UTC."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(time: datetime) -> int:
    """Return a time that has a zone as the database keeps it."""
    return (time - _EPOCH) // _MICROSECOND


def to_datetime(microseconds: int) -> datetime:
    """Return what the database keeps as a time in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
