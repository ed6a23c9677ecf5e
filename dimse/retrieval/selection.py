"""The instances that an identifier of a C-MOVE or C-GET refers to (PS3.4 section C.4.2.1.4)."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import orjson
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_INSTANCE, SearchRequest, SearchResponse, Term

from dimse.queries.identifiers import UNIQUE_KEYS, Identifier, InvalidIdentifier, Level

MOST_INSTANCES = 0xFFFF
"""Maximum number of instances of an operation: the numbers of sub-operations are of VR US."""

PAGE_SIZE = 200
"""Matches on a page of a search; the maximum of the core."""

_UIDS_PER_SEARCH = 1000
_SOP_CLASS_UID, _AVAILABLE_TRANSFER_SYNTAX_UID, _PATIENT_ID = "00080016", "00083002", "00100020"
_UID = re.compile(r"[0-9.]{1,64}")

Search = Callable[[SearchRequest], SearchResponse]


class TooManyInstances(Exception):
    """The request refers to more instances than an operation can have."""


class Series(NamedTuple):
    """Address of a series."""

    study: str
    series: str


class Form(NamedTuple):
    """SOP class of an instance, and the transfer syntax in which it is stored."""

    sop_class: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The instances that are still to be sent.

    instances: by series, the form of each instance by SOP Instance UID.
    whole_series: all instances of each series are requested.
    """

    instances: dict[Series, dict[str, Form]]
    whole_series: bool

    def count(self) -> int:
        """Return the number of instances."""
        return sum(map(len, self.instances.values()))

    def uids(self) -> Iterator[str]:
        """Yield the SOP Instance UIDs; the same one may be in several series."""
        return itertools.chain.from_iterable(self.instances.values())

    def forms(self) -> Mapping[Form, None]:
        """Return the distinct forms, in the order of sending."""
        of_all = itertools.chain.from_iterable(forms.values() for forms in self.instances.values())
        return MappingProxyType(dict.fromkeys(of_all))


def select(identifier: Identifier, level: Level, partition: str, search: Search) -> Selection:
    """Return the instances.

    The unique key of the level is required; those of the levels above may be absent, as in relational retrievals.
    The values are compared exactly: a Patient ID never stands for another one, and wildcards have no meaning.

    Raises:
        InvalidIdentifier: a unique key is missing or invalid.
        TooManyInstances: there are more than `MOST_INSTANCES`.
        and as `search`.
    """
    keys = _unique_keys(identifier, level)
    found: dict[Series, dict[str, Form]] = {}
    seen = 0
    for request in _requests(keys, partition):
        patient_id = keys.get(_PATIENT_ID, ("",))[0]
        for response in pages(request, search):
            for match in response.matches:
                content = orjson.loads(match.dicom_json)
                if patient_id and _text(content, _PATIENT_ID) != patient_id:
                    continue
                address = match.resource
                form = Form(_text(content, _SOP_CLASS_UID), _text(content, _AVAILABLE_TRANSFER_SYNTAX_UID))
                of_series = found.setdefault(Series(address.study_instance_uid, address.series_instance_uid), {})
                of_series[address.sop_instance_uid] = _shared(form)
                seen += 1
                if seen > MOST_INSTANCES:
                    raise TooManyInstances
    return Selection(found, whole_series=level is not Level.IMAGE)


def pages(request: SearchRequest, search: Search) -> Iterator[SearchResponse]:
    """Yield all pages of a search."""
    while True:
        response = search(request)
        yield response
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


def _unique_keys(identifier: Identifier, level: Level) -> dict[str, tuple[str, ...]]:
    """Return the values of the unique keys down to the level, by tag."""
    found: dict[str, tuple[str, ...]] = {}
    for one, tag in UNIQUE_KEYS.items():
        values = identifier.values(tag)
        is_list = one is level and level is not Level.PATIENT
        if len(values) > 1 and not is_list:
            raise InvalidIdentifier("A unique key must have one value", tag)
        if level is one and not values:
            raise InvalidIdentifier("The unique key of the level is missing", tag)
        if one is not Level.PATIENT and not all(map(_UID.fullmatch, values)):
            raise InvalidIdentifier("A unique key is not a UID", tag)
        if values:
            found[tag] = values
        if one is level:
            return found
    return found


def _requests(keys: Mapping[str, Sequence[str]], partition: str) -> Iterator[SearchRequest]:
    """Yield the searches; a long list of UIDs is divided."""
    *above, (last, values) = keys.items()
    for start in range(0, len(values), _UIDS_PER_SEARCH):
        chosen = [*above, (last, values[start : start + _UIDS_PER_SEARCH])]
        request = SearchRequest(
            level=QUERY_LEVEL_INSTANCE,
            terms=[Term(attribute=tag, values=some) for tag, some in chosen],
            include_attributes=[_SOP_CLASS_UID, _AVAILABLE_TRANSFER_SYNTAX_UID],
            page_size=PAGE_SIZE,
        )
        request.scope.partition = partition
        yield request


def _text(content: Mapping[str, Mapping[str, Sequence[str]]], tag: str) -> str:
    values = content.get(tag, {}).get("Value", ())
    return str(values[0]).strip(" ") if values and values[0] is not None else ""


_forms: dict[Form, Form] = {}


def _shared(form: Form) -> Form:
    """Return the same object for equal forms, of which there are few: a selection has one for each instance."""
    return _forms.setdefault(form, form) if len(_forms) < 10_000 else form
