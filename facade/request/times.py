"""Dates and times in requests."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from facade.request.query import Parameter, first, invalid

_NO_ZONE = "The date and time must carry a time zone."


def time_window(parameters: Sequence[Parameter]) -> tuple[Timestamp | None, Timestamp | None]:
    """Return start and end; None for those that are not given.

    Raises:
        Refusal: 400, a value is not a date and time with a zone, or the end is not later than the start.
    """
    start, end = _time(parameters, "startTime"), _time(parameters, "endTime")
    if start is not None and end is not None and end <= start:
        raise invalid("endTime", "The end time must be later than the start time.")
    return _timestamp(start), _timestamp(end)


def time_of(text: str) -> Timestamp | None:
    """Return a date and time with a zone; None if the text is something else."""
    try:
        return _timestamp(_parsed(text))
    except (ValueError, OverflowError):
        return None


def _time(parameters: Sequence[Parameter], name: str) -> datetime | None:
    text = first(parameters, name)
    if text is None:
        return None
    try:
        return _parsed(text)
    except (ValueError, OverflowError) as error:
        why = str(error) if error.args == (_NO_ZONE,) else "The value is not a date and time."
        raise invalid(name, why) from None


def _parsed(text: str) -> datetime:
    """Return a time. Raises ValueError or OverflowError."""
    # A "+" before the zone, written as such in a URL, arrives as a space.
    time = datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", text.strip()))
    if time.tzinfo is None:
        raise ValueError(_NO_ZONE)
    return time.astimezone(UTC)


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
