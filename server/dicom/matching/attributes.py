"""The attributes that the index stores: search keys and return keys.

Search keys are the required matching keys of PS3.18 Table 10.6.1-5, those listed in docs/api.md, and the further texts
of the Request Attributes Sequence (PS3.3 Table 10-9). Return keys are the default and `all` sets of docs/api.md, so
that no default response needs the metadata of an instance.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from server.dicom.elements.keywords import Path, path_of, tags_of
from server.dicom.matching import normalise
from server.model.instance import LevelAttributes
from server.model.search.query import Level, TagKey

AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"
TIMEZONE_OFFSET_FROM_UTC = "00080201"

ITEMS_SEPARATOR = "\\"
"""Separates the items of a sequence in the stored value of a search key; an item without value is empty."""

VALUES_SEPARATOR = "\n"
"""Separates the values of one item, which may contain nested items; any of them may match."""

DATES_AND_TIMES: Mapping[str, str] = MappingProxyType(
    {"StudyDate": "StudyTime", "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime"}
)
"""Search keys that are dates, and the associated times."""


@dataclass(frozen=True, slots=True)
class SearchKey:
    """A searchable attribute.

    keyword: its key in `LevelAttributes.keys` and `Condition.key`; dotted for an attribute of a sequence.
    tag_key: `Condition.key` of an extended query tag.
    is_virtual: without a stored value; conditions apply to the level below (Modalities in Study: Modality of any
        series).
    """

    keyword: str
    path: Path
    vr: str
    level: Level
    is_virtual: bool = False
    tag_key: TagKey | None = None

    @property
    def index_key(self) -> str | TagKey:
        """Its key in conditions."""
        return self.tag_key or self.keyword


_KEYS = {
    Level.STUDY: {
        "StudyInstanceUID": "UI",
        "PatientName": "PN",
        "PatientID": "LO",
        "IssuerOfPatientID": "LO",
        "PatientBirthDate": "DA",
        "AccessionNumber": "SH",
        "ReferringPhysicianName": "PN",
        "StudyDate": "DA",
        "StudyTime": "TM",
        "StudyID": "SH",
        "StudyDescription": "LO",
        "ModalitiesInStudy": "CS",
    },
    Level.SERIES: {
        "SeriesInstanceUID": "UI",
        "Modality": "CS",
        "SeriesNumber": "IS",
        "PerformedProcedureStepStartDate": "DA",
        "PerformedProcedureStepStartTime": "TM",
        "ManufacturerModelName": "LO",
        "SeriesDescription": "LO",
        "RequestAttributesSequence.ScheduledProcedureStepID": "SH",
        "RequestAttributesSequence.RequestedProcedureID": "SH",
        "RequestAttributesSequence.AccessionNumber": "SH",
        "RequestAttributesSequence.StudyInstanceUID": "UI",
        "RequestAttributesSequence.ScheduledProcedureStepDescription": "LO",
        "RequestAttributesSequence.RequestedProcedureDescription": "LO",
        "RequestAttributesSequence.ReasonForTheRequestedProcedure": "LO",
        "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue": "SH",
        "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeMeaning": "LO",
        "RequestAttributesSequence.RequestedProcedureCodeSequence.CodeValue": "SH",
        "RequestAttributesSequence.RequestedProcedureCodeSequence.CodeMeaning": "LO",
        "RequestAttributesSequence.ReasonForRequestedProcedureCodeSequence.CodeValue": "SH",
        "RequestAttributesSequence.ReasonForRequestedProcedureCodeSequence.CodeMeaning": "LO",
    },
    Level.INSTANCE: {
        "SOPInstanceUID": "UI",
        "SOPClassUID": "UI",
        "InstanceNumber": "IS",
    },
}


def _search_keys() -> Iterator[SearchKey]:
    for level, vrs in _KEYS.items():
        for keyword, vr in vrs.items():
            path = path_of(keyword)
            assert path is not None, f"{keyword} is not in the dictionary"
            yield SearchKey(keyword, path, vr, level, is_virtual=keyword == "ModalitiesInStudy")


SEARCH_KEYS: Mapping[str, SearchKey] = MappingProxyType({key.keyword: key for key in _search_keys()})
"""By keyword."""

RETURN_KEY_TAGS: Mapping[Level, frozenset[str]] = MappingProxyType(
    {
        Level.STUDY: tags_of(
            "SpecificCharacterSet StudyDate StudyTime AccessionNumber ReferringPhysicianName TimezoneOffsetFromUTC "
            "PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex StudyInstanceUID StudyID "
            "StudyDescription AnatomicRegionsInStudyCodeSequence ProcedureCodeSequence NameOfPhysiciansReadingStudy "
            "AdmittingDiagnosesDescription ReferencedStudySequence PatientAge PatientSize PatientWeight Occupation "
            "AdditionalPatientHistory"
        ),
        Level.SERIES: tags_of(
            "SpecificCharacterSet Modality TimezoneOffsetFromUTC SeriesDescription SeriesInstanceUID "
            "PerformedProcedureStepStartDate PerformedProcedureStepStartTime RequestAttributesSequence "
            "ManufacturerModelName SeriesNumber Laterality SeriesDate SeriesTime"
        ),
        Level.INSTANCE: tags_of(
            "SpecificCharacterSet SOPClassUID SOPInstanceUID TimezoneOffsetFromUTC InstanceNumber Rows Columns "
            "BitsAllocated NumberOfFrames"
        )
        | {AVAILABLE_TRANSFER_SYNTAX_UID},
    }
)
"""Tags of the return keys that the index stores at each level."""


_RETURN_KEY_TAGS_IN_ORDER = {level: tuple(sorted(tags)) for level, tags in RETURN_KEY_TAGS.items()}
_BY_PATH = {key.path: key for key in SEARCH_KEYS.values()}


def search_key(attribute: str) -> SearchKey | None:
    """Return the search key for a keyword, tag or dotted path; None if it is not searchable."""
    path = path_of(attribute)
    return None if path is None else _BY_PATH.get(path)


def concerns(level: Level, tags: Iterable[str]) -> bool:
    """Return whether `attributes_of` a level depends on any of these top-level attributes."""
    return not RETURN_KEY_TAGS[level].isdisjoint(tags)


def is_empty(element: Mapping[str, Any]) -> bool:
    """Return whether a DICOM JSON element has no value.

    Padding, the delimiters of a person name, and empty items of a sequence do not count as values.
    """
    values = element.get("Value")
    if values is None:
        return "InlineBinary" not in element and "BulkDataURI" not in element
    return not any(map(_has_content, values))


def attributes_of(level: Level, elements: Mapping[str, Any], invalid: frozenset[str] = frozenset()) -> LevelAttributes:
    """Return the attributes of a data set that the index stores at a level.

    Args:
        level: study, series or instance.
        elements: tag → DICOM JSON element; other elements are ignored.
        invalid: tags of elements whose values violate a rule of their VR; other tags are ignored.
    """
    kept = {
        tag: elements[tag]
        for tag in _RETURN_KEY_TAGS_IN_ORDER[level]
        if tag in elements and not is_empty(elements[tag])
    }
    keys: dict[str, str] = {}
    for tag, named in _KEYS_BY_TAG[level].items():
        if tag in kept:
            for key in named:
                if (normal := _value_of(key, kept)) is not None:
                    keys[key.keyword] = normal
    if TIMEZONE_OFFSET_FROM_UTC in kept and level is not Level.INSTANCE:
        offset = normal_value("offset", kept[TIMEZONE_OFFSET_FROM_UTC])
        if offset is not None:
            keys["TimezoneOffsetFromUTC"] = offset
    ambiguous = {} if level is Level.INSTANCE else dict(_invalid(level, keys, kept, invalid))
    return LevelAttributes(keys, kept, ambiguous)


def _invalid(
    level: Level, keys: Mapping[str, str], kept: Mapping[str, Any], invalid: frozenset[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the content of `LevelAttributes.invalid`."""
    single = _SINGLE_KEYS[level]
    for tag in kept:
        key = single.get(tag)
        if key is None:
            if tag in invalid or (tag == TIMEZONE_OFFSET_FROM_UTC and "TimezoneOffsetFromUTC" not in keys):
                yield tag, ()
        elif key.keyword not in keys:
            yield tag, ()
        elif tag in invalid and key.vr not in _LAX_VRS:
            yield tag, (key.keyword,)


def _keys_by_tag(level: Level) -> dict[str, list[SearchKey]]:
    """Return the search keys of a level with stored values, by the tag of the element that contains them."""
    named: dict[str, list[SearchKey]] = {}
    for key in SEARCH_KEYS.values():
        if key.level is level and not key.is_virtual:
            named.setdefault(key.path[0], []).append(key)
    return named


_KEYS_BY_TAG = {level: _keys_by_tag(level) for level in Level}
_SINGLE_KEYS = {
    level: {tag: keys[0] for tag, keys in named.items() if len(keys[0].path) == 1}
    for level, named in _KEYS_BY_TAG.items()
}
_LAX_VRS = frozenset({"DA", "TM"})
"""VRs with invalid values that are still unambiguous."""


def _value_of(key: SearchKey, elements: Mapping[str, Any]) -> str | None:
    if len(key.path) == 1:
        return normal_value(key.vr, elements[key.path[0]])
    of_items = (_members(key, item, key.path[1:]) for item in _items(elements[key.path[0]]))
    return (
        ITEMS_SEPARATOR.join(VALUES_SEPARATOR.join(dict.fromkeys(values)) for values in of_items).rstrip("\\") or None
    )


def _members(key: SearchKey, item: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Yield the values of an item at a path within it."""
    tag, *rest = path
    if tag not in item:
        return
    if rest:
        for inner in _items(item[tag]):
            yield from _members(key, inner, tuple(rest))
    elif (value := normal_value(key.vr, item[tag])) is not None:
        yield _SEPARATORS.sub(" ", value)


def _items(sequence: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (item for item in sequence.get("Value", ()) if isinstance(item, Mapping))


def normal_value(vr: str, element: Mapping[str, Any]) -> str | None:
    """Return the normalised first value of an element; further values are not indexed."""
    values = element.get("Value", ())
    if not values or values[0] is None:
        return None
    return _normal_form(vr, joined_name(values[0]) if vr == "PN" else str(values[0]))


@lru_cache(maxsize=2048)
def _normal_form(vr: str, value: str) -> str | None:
    """Return the normalised form of a value; cached, because the instances of a study share most values."""
    return _NORMAL_FORMS.get(vr, normalise.text)(value)


_NORMAL_FORMS = {
    "PN": normalise.name,
    "UI": normalise.uid,
    "DA": normalise.stored_day,
    "TM": normalise.stored_time,
    "DT": normalise.first_instant,
    "IS": normalise.integer,
    "offset": normalise.offset,
}
_SEPARATORS = re.compile(r"[\\\n]+")


def joined_name(value: Any) -> str:
    """Convert a person name of the DICOM JSON model (PS3.18 section F.2.2) to its PS3.5 form."""
    if not isinstance(value, Mapping):
        return str(value)
    groups = (value.get(group) or "" for group in ("Alphabetic", "Ideographic", "Phonetic"))
    return normalise.GROUP_SEPARATOR.join(groups)


def _has_content(value: Any) -> bool:
    # Zero is a value; an empty text, name or item is not. `dict` instead of `Mapping`, whose instance check is slower.
    if isinstance(value, str):
        return bool(value.strip(_BLANK))
    if isinstance(value, dict):
        return any(not isinstance(member, str) or member.strip(_BLANK_NAME) for member in value.values())
    return value is not None


_BLANK = " \0"
_BLANK_NAME = _BLANK + normalise.COMPONENT_SEPARATOR + normalise.GROUP_SEPARATOR
