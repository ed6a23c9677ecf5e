"""Which attributes the index keeps: to search by, and to answer with.

Search keys are those of spec/search.md section 3, the required matching keys of PS3.18 Table 10.6.1-5, and what else
the Request Attributes Sequence says in text (PS3.3 Table 10-9).
Kept elements are the default and `all` return sets of spec/search.md section 5, so that no default answer needs
an instance's metadata.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from server.dicom.elements.keywords import Path, path_of, tags_of
from server.dicom.matching import normalise
from server.model.instance import LevelAttributes
from server.model.search.query import Level

AVAILABLE_TRANSFER_SYNTAX_UID = "00083002"
TIMEZONE_OFFSET_FROM_UTC = "00080201"

ITEMS_SEPARATOR = "\\"
"""Between what the items of a sequence have for a key about its members; nothing where an item has no value."""

VALUES_SEPARATOR = "\n"
"""Between the values that one item has, as a sequence within it may have several items; any of them may match."""

DATES_AND_TIMES: Mapping[str, str] = MappingProxyType(
    {"StudyDate": "StudyTime", "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime"}
)
"""Search keys that are days, and those that are the times of these days."""


@dataclass(frozen=True, slots=True)
class SearchKey:
    """An attribute that terms may name.

    keyword: its name in `LevelAttributes.keys` and `Condition.key`; dotted for a member of a sequence.
    kept_as: name in `Condition.key`, if that is another.
    is_virtual: no value is kept; conditions are about the level below (Modalities in Study: any series' Modality).
    """

    keyword: str
    path: Path
    vr: str
    level: Level
    is_virtual: bool = False
    index_name: str = ""

    @property
    def index_key(self) -> str:
        """What the index calls it."""
        return self.index_name or self.keyword


_KEYS = {
    Level.STUDY: {
        "StudyInstanceUID": "UI",
        "PatientName": "PN",
        "PatientID": "LO",
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
            "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID StudyDescription "
            "AnatomicRegionsInStudyCodeSequence ProcedureCodeSequence NameOfPhysiciansReadingStudy "
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
"""Tags of the elements that the index keeps at each level."""


_RETURN_KEY_TAGS_IN_ORDER = {level: tuple(sorted(tags)) for level, tags in RETURN_KEY_TAGS.items()}
_BY_PATH = {key.path: key for key in SEARCH_KEYS.values()}


def search_key(attribute: str) -> SearchKey | None:
    """Return the search key that a keyword, tag or dotted path means; None if it means none."""
    path = path_of(attribute)
    return None if path is None else _BY_PATH.get(path)


def is_empty(element: Mapping[str, Any]) -> bool:
    """Say whether a DICOM JSON element has no value.

    Padding, the delimiters of a person name, and empty items of a sequence are no value.
    """
    values = element.get("Value")
    if values is None:
        return "InlineBinary" not in element and "BulkDataURI" not in element
    return not any(map(_has_content, values))


def attributes_of(level: Level, elements: Mapping[str, Any], invalid: frozenset[str] = frozenset()) -> LevelAttributes:
    """Return what the index keeps of one data set at a level.

    Args:
        level: study, series or instance.
        elements: tag → DICOM JSON element; others than the kept ones may be there.
        invalid: tags of elements whose values break a rule of their VR; others may be there.
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
                if (normal := _normal_value(key, kept)) is not None:
                    keys[key.keyword] = normal
    if TIMEZONE_OFFSET_FROM_UTC in kept and level is not Level.INSTANCE:
        offset = _normal_first("offset", kept[TIMEZONE_OFFSET_FROM_UTC])
        if offset is not None:
            keys["TimezoneOffsetFromUTC"] = offset
    doubtful = {} if level is Level.INSTANCE else dict(_invalid(level, keys, kept, invalid))
    return LevelAttributes(keys, kept, doubtful)


def _invalid(
    level: Level, keys: Mapping[str, str], kept: Mapping[str, Any], invalid: frozenset[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Generate what `LevelAttributes.invalid` holds."""
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
    """Return the search keys of a level that keep values, by the tag of the element that has them."""
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
"""Values of these may be invalid and yet be understood."""


def _normal_value(key: SearchKey, elements: Mapping[str, Any]) -> str | None:
    if len(key.path) == 1:
        return _normal_first(key.vr, elements[key.path[0]])
    of_items = (_members(key, item, key.path[1:]) for item in _items(elements[key.path[0]]))
    return (
        ITEMS_SEPARATOR.join(VALUES_SEPARATOR.join(dict.fromkeys(values)) for values in of_items).rstrip("\\") or None
    )


def _members(key: SearchKey, item: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Generate the values that an item has at the path within it."""
    tag, *rest = path
    if tag not in item:
        return
    if rest:
        for inner in _items(item[tag]):
            yield from _members(key, inner, tuple(rest))
    elif (value := _normal_first(key.vr, item[tag])) is not None:
        yield _SEPARATORS.sub(" ", value)


def _items(sequence: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (item for item in sequence.get("Value", ()) if isinstance(item, Mapping))


def _normal_first(vr: str, element: Mapping[str, Any]) -> str | None:
    """Return the normal form of an element's first value; further values are not indexed (spec/store.md section 3)."""
    values = element.get("Value", ())
    if not values or values[0] is None:
        return None
    return _normal_form(vr, joined_name(values[0]) if vr == "PN" else str(values[0]))


@lru_cache(maxsize=2048)
def _normal_form(vr: str, value: str) -> str | None:
    """Return the normal form of a value; the instances of a study have most of them in common."""
    return _NORMAL_FORMS.get(vr, normalise.text)(value)


_NORMAL_FORMS = {
    "PN": normalise.name,
    "UI": normalise.uid,
    "DA": normalise.stored_day,
    "TM": normalise.stored_time,
    "IS": normalise.integer,
    "offset": normalise.offset,
}
_SEPARATORS = re.compile(r"[\\\n]+")


def joined_name(value: Any) -> str:
    """Return a name of the DICOM JSON model (PS3.18 section F.2.2) as the one text of PS3.5."""
    if not isinstance(value, Mapping):
        return str(value)
    groups = (value.get(group) or "" for group in ("Alphabetic", "Ideographic", "Phonetic"))
    return normalise.GROUP_SEPARATOR.join(groups)


def _has_content(value: Any) -> bool:
    # Zero is content; an empty text, name or item is none. `dict`, not `Mapping`: an abstract class takes longer.
    if isinstance(value, str):
        return bool(value.strip(_BLANK))
    if isinstance(value, dict):
        return any(not isinstance(member, str) or member.strip(_BLANK_NAME) for member in value.values())
    return value is not None


_BLANK = " \0"
_BLANK_NAME = _BLANK + normalise.COMPONENT_SEPARATOR + normalise.GROUP_SEPARATOR
