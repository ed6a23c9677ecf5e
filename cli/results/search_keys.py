"""The search keys of each level, and suggestions for misspelt ones."""

from difflib import get_close_matches
from enum import StrEnum

from cli.results.dicom_json import KEYWORDS, TAGS, tag_of


class Level(StrEnum):
    """Query level: the kind of resource that a match is."""

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
            "IssuerOfPatientID",
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
"""Search keys that need no extended query tag, with the highest level that supports each."""

_IN_STUDIES = {"Modality": "ModalitiesInStudy"}
_DEPTHS = tuple(Level)


def suggestion(attribute: str, level: Level, fixed: frozenset[str] = frozenset()) -> str:
    """Return a suggestion for a key that is not supported at a level.

    fixed: keys that this search already has from an option, such as StudyInstanceUID from --study.
    """
    keyword = KEYWORDS.get(tag_of(attribute) or "", attribute)
    if keyword in fixed:
        return f"an option already sets {keyword}"
    if keyword in KEYS:
        deeper = f"search {KEYS[keyword]} by it"
        return (
            f"use {_IN_STUDIES[keyword]}, or {deeper}" if level is Level.STUDIES and keyword in _IN_STUDIES else deeper
        )
    possible = [key for key, first in KEYS.items() if _DEPTHS.index(first) <= _DEPTHS.index(level)]
    if keyword not in TAGS and (meant := similar(keyword, possible) or similar(keyword, KEYS)):
        return f"did you mean {meant}?"
    return "add an extended query tag for it first (see docs/api.md)"


def similar(word: str, words: "list[str] | dict[str, Level] | dict[str, str]") -> str:
    """Return the most similar of `words`, ignoring case, or "" if none is close."""
    by_lower = {known.lower(): known for known in words}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.8)
    return by_lower[close[0]] if close else ""
