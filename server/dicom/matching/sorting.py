"""The attributes by which matches can be sorted, by level; docs/api.md lists them."""

from collections.abc import Mapping
from types import MappingProxyType

from server.dicom.elements.keywords import path_of
from server.model.search.query import Level

STORED = "stored"
"""The sort key that is no attribute: the time at which a match was first stored."""

_KEYWORDS: Mapping[Level, tuple[str, ...]] = {
    Level.STUDY: (
        *("StudyDate", "StudyTime", "PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyID"),
        *("StudyDescription", "ReferringPhysicianName"),
        *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    ),
    Level.SERIES: (
        *("Modality", "SeriesNumber", "SeriesDescription", "ManufacturerModelName"),
        *("PerformedProcedureStepStartDate", "NumberOfSeriesRelatedInstances"),
    ),
    Level.INSTANCE: ("InstanceNumber", "SOPClassUID"),
}

SORT_KEYS: Mapping[Level, Mapping[tuple[str, ...] | None, str]] = MappingProxyType(
    {level: {path_of(keyword): keyword for keyword in keywords} for level, keywords in _KEYWORDS.items()}
)
"""By level and path, the keywords of sort keys."""


def sort_keyword(level: Level, attribute: str) -> str | None:
    """Return the keyword of a sort key, given as keyword or tag, or `STORED`; None if there is no such sort key."""
    if attribute == STORED:
        return STORED
    path = path_of(attribute)
    return None if path is None else SORT_KEYS[level].get(path)
