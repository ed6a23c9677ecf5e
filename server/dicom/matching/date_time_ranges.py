"""Combined ranges of a date and its time, and time zones (PS3.4 section C.2.2.2.5).

    StudyDate=20240101-20240102&StudyTime=2200-0600             from 22:00 until 06:00 the next day
    StudyDate=20240101&TimezoneOffsetFromUTC=%2B0900            that day in Tokyo time, in any time zone of the study

- Two ranges are combined: from the first time on the first day to the last time on the last day. If an end has a time
  but no date, or if either is not a single range, each range is compared by itself.
- With a time zone, values with a known offset are compared in UTC; others are assumed to be in the requested zone. A
  time that belongs to no single date is compared as written.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence

from server.dicom.matching.attributes import DATES_AND_TIMES, SEARCH_KEYS, SearchKey
from server.dicom.matching.matching import (
    EMPTY_VALUE,
    MAX_PATTERNS,
    Ends,
    check_order,
    ends_of,
    invalid,
    is_range,
    values_of_list,
)
from server.model.search.date_time import DAY, FIRST_TIME, LAST_TIME, MAX_DAYS_APART, day_after, in_utc
from server.model.search.query import Between, Condition, DateTimeRange

Terms = Mapping[SearchKey, Sequence[str]]


def extract_date_time_ranges(terms: MutableMapping[SearchKey, list[str]], offset: str | None) -> Iterator[Condition]:
    """Yield the combined conditions for associated dates and times, and remove these from `terms`.

    Args:
        terms: the values of each attribute, as written by the caller.
        offset: Timezone Offset From UTC of the values, "+HHMM" or "-HHMM"; None: values are compared as they are.

    Raises:
        InvalidRequest: INVALID_QUERY, naming the attribute and never a value.
    """
    for date, time in DATES_AND_TIMES.items():
        day_key, time_key = SEARCH_KEYS[date], SEARCH_KEYS[time]
        days = values_of_list(day_key, terms.get(day_key, ()))
        times = values_of_list(time_key, terms.get(time_key, ()))
        if not days or EMPTY_VALUE in (*days, *times):
            continue
        spans = _spans(day_key, days, time_key, times, is_zoned=offset is not None)
        if not spans:
            continue
        if len(spans) > MAX_PATTERNS:
            raise invalid(day_key, "too many values.")
        yield from _conditions(day_key, spans, offset)
        del terms[day_key]
        if times and _are_combined(day_key, days, time_key, times):
            del terms[time_key]


def _spans(
    day_key: SearchKey, days: Sequence[str], time_key: SearchKey, times: Sequence[str], *, is_zoned: bool
) -> list[Ends]:
    """Return alternative ranges for the combined date and time; none if they cannot be combined."""
    if times and _are_combined(day_key, days, time_key, times):
        if not is_zoned and not any(is_range(day_key, day) for day in days):
            return []  # the separate conditions are equivalent
        spans = [_span(ends_of(day_key, day), ends_of(time_key, time)) for day in days for time in times]
    elif is_zoned:
        spans = [_span(ends_of(day_key, day), (None, None)) for day in days]
    else:
        return []
    for low, high in spans:
        check_order(day_key, low, high)
    return spans


def _are_combined(day_key: SearchKey, days: Sequence[str], time_key: SearchKey, times: Sequence[str]) -> bool:
    """True if dates and times form combined values: single dates, or one range of each with a date at both ends."""
    if not any(is_range(day_key, day) for day in days):
        return True
    if len(days) > 1 or len(times) > 1 or not is_range(time_key, times[0]):
        return False
    return all(
        day is not None or time is None
        for day, time in zip(ends_of(day_key, days[0]), ends_of(time_key, times[0]), strict=True)
    )


def _span(days: Ends, times: Ends) -> Ends:
    (first_day, last_day), (first_time, last_time) = days, times
    return (
        None if first_day is None else first_day + (first_time or FIRST_TIME),
        None if last_day is None else last_day + (last_time or LAST_TIME),
    )


def _conditions(key: SearchKey, spans: Sequence[Ends], offset: str | None) -> Iterator[Condition]:
    """Yield the condition, preceded by one that can use an index on dates."""
    days_apart = 0 if offset is None else MAX_DAYS_APART
    yield Condition(key.keyword, tuple(Between(_day(low, -days_apart), _day(high, days_apart)) for low, high in spans))
    yield Condition(key.keyword, tuple(DateTimeRange(Between(*span), _zoned(span, offset)) for span in spans))


def _day(date_time: str | None, days: int) -> str | None:
    return None if date_time is None else day_after(date_time[DAY], days)


def _zoned(span: Ends, offset: str | None) -> Between | None:
    if offset is None:
        return None
    low, high = (None if end is None else in_utc(end, offset) for end in span)
    return Between(low, high)
