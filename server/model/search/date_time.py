"""Dates and times in one text, `YYYYMMDDHHMMSS.ffffff`, so that chronological order is code point order.

Local unless stated to be in UTC. Offsets from UTC are `+HHMM` or `-HHMM` (PS3.3 section C.12.1.1, Timezone Offset From
UTC).
"""

from datetime import date, timedelta

DAY = slice(8)
TIME = slice(8, None)

FIRST_TIME = "000000.000000"
LAST_TIME = "235960.999999"
"""Including a leap second (PS3.5 section 6.2, TM)."""

MAX_DAYS_APART = 2
"""Largest difference, in days, between the local dates of one instant: offsets from UTC span 26 hours."""

_MINUTES_OF_DAY = 24 * 60


def in_utc(date_time: str, offset: str) -> str | None:
    """Convert a local date-time to UTC; None outside the calendar (years 1 to 9999)."""
    minutes = int(date_time[8:10]) * 60 + int(date_time[10:12]) - _minutes(offset)
    days, minutes = divmod(minutes, _MINUTES_OF_DAY)
    day = day_after(date_time[DAY], days)
    return None if day is None else f"{day}{minutes // 60:02d}{minutes % 60:02d}{date_time[12:]}"


def day_after(day: str, days: int) -> str | None:
    """Return the day `days` later; None outside the calendar."""
    try:
        return (date(int(day[:4]), int(day[4:6]), int(day[6:8])) + timedelta(days)).isoformat().replace("-", "")
    except (OverflowError, ValueError):
        return None


def _minutes(offset: str) -> int:
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return -minutes if offset[0] == "-" else minutes
