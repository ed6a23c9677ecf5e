"""What can be searched at which level, and what somebody may have meant who wrote something else."""

from difflib import get_close_matches
from enum import StrEnum

from cli.results.dicom_json import KEYWORDS, TAGS, tag_of


class Level(StrEnum):
    """What a match is."""

    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"


_REQUEST = "RequestAttributesSequence"
KEYS: dict[str, Level] = {
    **dict.fromkeys(
        (
            "StudyInstanceUID",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "AccessionNumber",
            "ReferringPhysicianName",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "StudyDescription",
            "ModalitiesInStudy",
        ),
        Level.STUDIES,
    ),
    **dict.fromkeys(
        (
            "SeriesInstanceUID",
            "Modality",
            "SeriesNumber",
            "PerformedProcedureStepStartDate",
            "PerformedProcedureStepStartTime",
            "ManufacturerModelName",
            "SeriesDescription",
            f"{_REQUEST}.ScheduledProcedureStepID",
            f"{_REQUEST}.RequestedProcedureID",
            f"{_REQUEST}.AccessionNumber",
            f"{_REQUEST}.StudyInstanceUID",
            f"{_REQUEST}.ScheduledProcedureStepDescription",
            f"{_REQUEST}.RequestedProcedureDescription",
            f"{_REQUEST}.ReasonForTheRequestedProcedure",
            f"{_REQUEST}.ScheduledProtocolCodeSequence.CodeValue",
            f"{_REQUEST}.ScheduledProtocolCodeSequence.CodeMeaning",
            f"{_REQUEST}.RequestedProcedureCodeSequence.CodeValue",
            f"{_REQUEST}.RequestedProcedureCodeSequence.CodeMeaning",
            f"{_REQUEST}.ReasonForRequestedProcedureCodeSequence.CodeValue",
            f"{_REQUEST}.ReasonForRequestedProcedureCodeSequence.CodeMeaning",
        ),
        Level.SERIES,
    ),
    **dict.fromkeys(("SOPInstanceUID", "SOPClassUID", "InstanceNumber"), Level.INSTANCES),
}
"""Attributes that can be searched without an extended query tag, and the first level at which they can."""

_IN_STUDIES = {"Modality": "ModalitiesInStudy"}
_DEPTHS = tuple(Level)


def suggestion(attribute: str, level: Level, fixed: frozenset[str] = frozenset()) -> str:
    """Return what to write instead of a key that can't be searched at a level.

    fixed: keys that are options of this search already, such as StudyInstanceUID by --study.
    """
    keyword = KEYWORDS.get(tag_of(attribute) or "", attribute)
    if keyword in fixed:
        return f"{keyword} is given by an option already"
    if keyword in KEYS:
        deeper = f"search {KEYS[keyword]} by it"
        return (
            f"use {_IN_STUDIES[keyword]}, or {deeper}" if level is Level.STUDIES and keyword in _IN_STUDIES else deeper
        )
    possible = [key for key, first in KEYS.items() if _DEPTHS.index(first) <= _DEPTHS.index(level)]
    if keyword not in TAGS and (meant := similar(keyword, possible) or similar(keyword, KEYS)):
        return f"did you mean {meant}?"
    return "make it searchable with an extended query tag first (see docs/api.md)"


def similar(word: str, words: "list[str] | dict[str, Level] | dict[str, str]") -> str:
    """Return the word that is nearly the same, or nothing; case does not count."""
    by_lower = {known.lower(): known for known in words}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.8)
    return by_lower[close[0]] if close else ""
