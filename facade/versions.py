"""The differences between the API versions, as data (docs/api.md, Versions). All other behaviour is the same."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicomstore.v1.search_service_pb2 import QueryLevel
from dicomstore.v1.store_service_pb2 import ValidationMode
from starlette.convertors import Convertor

SUPPORTED = "1.0, 2.0"
"""Value of the `api-supported-versions` header."""

STUDY = QueryLevel.QUERY_LEVEL_STUDY
SERIES = QueryLevel.QUERY_LEVEL_SERIES
INSTANCE = QueryLevel.QUERY_LEVEL_INSTANCE

Attributes = Mapping[int, tuple[str, ...]]
"""Keywords by query level."""


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """One version of the API.

    name: the URL segment.
    validation: strictness of validation when instances are stored.
    status_with_warnings: status of a store request if all instances were stored, some with a Warning Reason.
    reports_findings: findings of a stored instance are reported as Warning Reason 1 and in a Failed Attributes
        Sequence, which is empty if there are none.
    returned_attributes: attributes that a search returns by default for each level in its scope: those of Azure's
        service in this version, and those that PS3.18 requires.
    status_of_success: status text of an operation that has succeeded.
    feed_limit_default, feed_limit_maximum: page size of the change feed.
    feed_is_paged_by_rows: whether offset and limit count entries; otherwise they are a range of sequence numbers.
    has_external_metadata: whether `msdicom-meta-*` headers have an effect.
    has_updates: whether `/studies/$bulkUpdate` exists.
    """

    name: str
    validation: ValidationMode
    status_with_warnings: int
    reports_findings: bool
    returned_attributes: Attributes
    status_of_success: str
    feed_limit_default: int
    feed_limit_maximum: int
    feed_is_paged_by_rows: bool
    has_external_metadata: bool
    has_updates: bool


_STANDARD: Attributes = {
    STUDY: (
        "SpecificCharacterSet",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "InstanceAvailability",
        "ModalitiesInStudy",
        "ReferringPhysicianName",
        "TimezoneOffsetFromUTC",
        "RetrieveURL",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    SERIES: (
        "SpecificCharacterSet",
        "Modality",
        "TimezoneOffsetFromUTC",
        "SeriesDescription",
        "RetrieveURL",
        "SeriesInstanceUID",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "RequestAttributesSequence",
    ),
    INSTANCE: (
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "InstanceAvailability",
        "TimezoneOffsetFromUTC",
        "RetrieveURL",
        "InstanceNumber",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
    ),
}
"""Attributes that a search must return (PS3.18 Tables 10.6.3-3, 10.6.3-4 and 10.6.3-5)."""

_V1_ATTRIBUTES: Attributes = {
    STUDY: (
        "SpecificCharacterSet",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "InstanceAvailability",
        "ReferringPhysicianName",
        "TimezoneOffsetFromUTC",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
    ),
    SERIES: (
        "SpecificCharacterSet",
        "Modality",
        "TimezoneOffsetFromUTC",
        "SeriesDescription",
        "SeriesInstanceUID",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "RequestAttributesSequence",
    ),
    INSTANCE: (
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "InstanceAvailability",
        "TimezoneOffsetFromUTC",
        "InstanceNumber",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
    ),
}

_V2_ATTRIBUTES: Attributes = {
    STUDY: (
        "StudyInstanceUID",
        "StudyDate",
        "StudyDescription",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
    ),
    SERIES: ("SeriesInstanceUID", "Modality", "PerformedProcedureStepStartDate", "ManufacturerModelName"),
    INSTANCE: ("SOPInstanceUID",),
}


def _with_the_standard(attributes: Attributes) -> Attributes:
    return {level: tuple(dict.fromkeys((*names, *_STANDARD[level]))) for level, names in attributes.items()}


ALL_ATTRIBUTES: Attributes = {
    STUDY: (
        *_V1_ATTRIBUTES[STUDY],
        "StudyDescription",
        "AnatomicRegionsInStudyCodeSequence",
        "ProcedureCodeSequence",
        "NameOfPhysiciansReadingStudy",
        "AdmittingDiagnosesDescription",
        "ReferencedStudySequence",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "Occupation",
        "AdditionalPatientHistory",
    ),
    SERIES: (*_V1_ATTRIBUTES[SERIES], "SeriesNumber", "Laterality", "SeriesDate", "SeriesTime"),
    INSTANCE: _V1_ATTRIBUTES[INSTANCE],
}
"""Attributes that `includefield=all` adds to the defaults, in every version."""

VERSIONS: Mapping[str, ApiVersion] = {
    version.name: version
    for version in (
        ApiVersion(
            name="v1",
            validation=ValidationMode.VALIDATION_MODE_INDEXED_STRICT,
            status_with_warnings=200,
            reports_findings=False,
            returned_attributes=_with_the_standard(_V1_ATTRIBUTES),
            status_of_success="completed",
            feed_limit_default=10,
            feed_limit_maximum=100,
            feed_is_paged_by_rows=False,
            has_external_metadata=False,
            has_updates=False,
        ),
        ApiVersion(
            name="v2",
            validation=ValidationMode.VALIDATION_MODE_LENIENT,
            status_with_warnings=202,
            reports_findings=True,
            returned_attributes=_with_the_standard(_V2_ATTRIBUTES),
            status_of_success="succeeded",
            feed_limit_default=100,
            feed_limit_maximum=200,
            feed_is_paged_by_rows=True,
            has_external_metadata=True,
            has_updates=True,
        ),
    )
}


class VersionConvertor(Convertor[ApiVersion]):
    """The version segment of a path; any other segment is an unknown path (404)."""

    regex = "|".join(VERSIONS)

    def convert(self, value: str) -> ApiVersion:
        """Return the version of a path segment."""
        return VERSIONS[value]

    def to_string(self, value: ApiVersion) -> str:
        """Return the path segment of a version."""
        return value.name
