"""The query parameters `startTime` and `endTime`."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from facade.request.query import Parameter, first, invalid


def time_window(parameters: Sequence[Parameter]) -> tuple[Timestamp | None, Timestamp | None]:
    """Return start and end; None for those that are not given.

    Raises:
        Refusal: 400, a value is not a date and time with a zone, or the end is not later than the start.
    """
    start, end = _time(parameters, "startTime"), _time(parameters, "endTime")
    if start is not None and end is not None and end <= start:
        raise invalid("endTime", "The end time must be later than the start time.")
    return _timestamp(start), _timestamp(end)


def _time(parameters: Sequence[Parameter], name: str) -> datetime | None:
    text = first(parameters, name)
    if text is None:
        return None
    try:
        # A "+" before the zone, written as such in a URL, arrives as a space.
        time = datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", text.strip()))
        if time.tzinfo is None:
            raise invalid(name, "The date and time must carry a time zone.")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(name, "The value is not a date and time.") from None


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
