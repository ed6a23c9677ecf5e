"""Conversion of times to their form in the database: microseconds since 1970-01-01 UTC."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(time: datetime) -> int:
    """Convert a time with time zone to its form in the database."""
    return (time - _EPOCH) // _MICROSECOND


def to_datetime(microseconds: int) -> datetime:
    """Convert a time from the database to UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
