"""Matching of worklist items with the keys of a query (PS3.4 sections C.2.2.2 and K.2.2.2).

The core searches workitems, which have other attributes than worklist items: it narrows the candidates, and the rest
is compared here. As in searches, text is compared without case.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from dicomstore.v1.workitem_service_pb2 import SearchWorkitemsRequest, WorkitemTerm

from dimse.data_sets.reading import DataSet, joined
from dimse.queries.identifiers import COMPUTED, Identifier, InvalidIdentifier, Key
from dimse.queries.requests import Matching
from dimse.worklist.elements import tag
from dimse.worklist.scheduled_steps import RETURNED, SEQUENCE

_DATE = (SEQUENCE, tag("ScheduledProcedureStepStartDate"))
_TIME = (SEQUENCE, tag("ScheduledProcedureStepStartTime"))
_STATUS = (SEQUENCE, tag("ScheduledProcedureStepStatus"))

_SEARCHED: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        (tag("PatientName"),): "PatientName",
        (tag("PatientID"),): "PatientID",
        (tag("IssuerOfPatientID"),): "IssuerOfPatientID",
        (tag("PatientBirthDate"),): "PatientBirthDate",
        (tag("PatientSex"),): "PatientSex",
        (tag("AdmissionID"),): "AdmissionID",
        (tag("AccessionNumber"),): "ReferencedRequestSequence.AccessionNumber",
    }
)
"""Keys of the query that the core compares, and their paths in workitems."""

_WILDCARDS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_DAY = re.compile(r"[0-9]{8}")
_TIME_OF_DAY = re.compile(r"[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?")
_FIRST_DAY, _LAST_DAY = "00010101", "99991231"


class WorklistQuery:
    """A query for worklist items."""

    def __init__(self, identifier: Identifier) -> None:
        """Raises: InvalidIdentifier, a date or time is invalid, or a sequence has several items."""
        keys = {key.path: key for key in identifier.matching_keys()}
        self._searched = {path: key for path, key in keys.items() if path in _SEARCHED}
        day = keys.pop(_DATE, None)
        self._period = _period(day, keys.pop(_TIME, None) if day else None)
        self._compared = [key for path, key in keys.items() if path not in _SEARCHED]
        self._returned = [name for name in identifier.data_set if name not in COMPUTED and name != SEQUENCE]

    def request(self, partition: str, matching: Matching, page_size: int) -> SearchWorkitemsRequest:
        """Return the search for the candidates."""
        terms = [
            WorkitemTerm(attribute=_SEARCHED[path], values=key.values) for path, key in sorted(self._searched.items())
        ]
        if not any(key.path == _STATUS for key in self._compared):
            terms.append(WorkitemTerm(attribute="ProcedureStepState", values=["SCHEDULED"]))
        first, last = _days_around(*self._period)
        if (first, last) != (_FIRST_DAY, _LAST_DAY):
            terms.append(WorkitemTerm(attribute="ScheduledProcedureStepStartDateTime", values=[f"{first}-{last}"]))
        return SearchWorkitemsRequest(
            partition=partition,
            terms=terms,
            fuzzy_matching=matching.fuzzy,
            empty_value_matching=matching.empty_values,
            include_attributes=[*self._returned, *RETURNED],
            page_size=page_size,
        )

    def matches(self, item: DataSet) -> bool:
        """Return whether a candidate, as a worklist item, matches all keys that the core has not compared."""
        start = f"{_text_at(item, _DATE)}{_full_time(_text_at(item, _TIME), '0')}"
        first, last = self._period
        return first <= start <= last and all(_matches(key, _values_at(item, key.path)) for key in self._compared)


def _period(day: Key | None, time: Key | None) -> tuple[str, str]:
    """Return the first and the last moment, as YYYYMMDDHHMMSS.ffffff, of a range of dates and times together.

    A range of both is one period (PS3.4 Table K.6-1): dates 5 to 7 and times 10 to 18 end on day 7 at 18.
    """
    first_day, last_day = _ends(day, _DAY) if day else (_FIRST_DAY, _LAST_DAY)
    first_time, last_time = _ends(time, _TIME_OF_DAY) if time else ("", "")
    return (
        (first_day or _FIRST_DAY) + _full_time(first_time if first_day else "", "0"),
        (last_day or _LAST_DAY) + _full_time(last_time if last_day else "", "9"),
    )


def _ends(key: Key, form: re.Pattern[str]) -> tuple[str, str]:
    low, dash, high = (part.strip() for part in key.values[0].partition("-"))
    ends = (low, high if dash else low)
    if len(key.values) > 1 or not any(ends) or not all(form.fullmatch(end) for end in ends if end):
        raise InvalidIdentifier("A key has no valid value or range of its VR", key.path[0])
    return ends


def _full_time(time: str, fill: str) -> str:
    """Return a time as HHMMSS.ffffff; `fill` "0" is the first, "9" the last moment that it denotes."""
    missing = "000000.000000" if fill == "0" else "235959.999999"
    return time + missing[len(time) :]


def _days_around(first: str, last: str) -> tuple[str, str]:
    """Return days between which a period lies in every time zone."""
    return _shifted(first[:8], -1), _shifted(last[:8], 1)


def _shifted(day: str, days: int) -> str:
    if day in (_FIRST_DAY, _LAST_DAY):
        return day
    try:
        return f"{date(int(day[:4]), int(day[4:6]), int(day[6:])) + timedelta(days=days):%Y%m%d}"
    except (ValueError, OverflowError):
        raise InvalidIdentifier("A key has no valid date", _DATE[0]) from None


def _matches(key: Key, found: Sequence[str]) -> bool:
    if key.vr in ("DA", "TM"):
        return any(_in_range(one, wanted) for wanted in key.values for one in found)
    if key.vr in _WILDCARDS:
        patterns = [_pattern(wanted) for wanted in key.values]
        return any(pattern.fullmatch(_normal(one)) for pattern in patterns for one in found or ("",))
    return any(one == wanted for wanted in key.values for one in found) or key.values == ("*",)


def _in_range(found: str, wanted: str) -> bool:
    low, dash, high = (part.strip() for part in wanted.partition("-"))
    high = high if dash else low
    return (not low or found >= low) and (not high or found <= high or found.startswith(high))


@lru_cache(maxsize=256)
def _pattern(wanted: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    expression = "".join(parts.get(one, re.escape(one)) for one in _normal(wanted))
    return re.compile(expression, re.DOTALL)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip(" ^")).casefold()


def _text_at(item: DataSet, path: tuple[str, ...]) -> str:
    return next(iter(_values_at(item, path)), "")


def _values_at(item: DataSet, path: tuple[str, ...]) -> list[str]:
    return list(_values((item,), path))


def _values(items: Iterable[Mapping[str, Any]], path: tuple[str, ...]) -> Iterator[str]:
    name, *rest = path
    for item in items:
        found = item.get(name, {}).get("Value", ())
        if rest:
            yield from _values(found, tuple(rest))
        else:
            yield from (joined(one) for one in found if one is not None)
