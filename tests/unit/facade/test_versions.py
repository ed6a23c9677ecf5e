"""The differences between v1 and v2 (docs/api.md, Versions)."""

import pytest
from dicomstore.v1.store_service_pb2 import ValidationMode

from facade.versions import ALL_ATTRIBUTES, INSTANCE, SERIES, STUDY, VERSIONS

V1, V2 = VERSIONS["v1"], VERSIONS["v2"]


def test_v1_refuses_invalid_values_that_v2_accepts() -> None:
    assert V1.validation == ValidationMode.VALIDATION_MODE_INDEXED_STRICT
    assert V2.validation == ValidationMode.VALIDATION_MODE_LENIENT


def test_only_v2_returns_202_for_warnings_and_lists_findings_of_stored_instances() -> None:
    assert (V1.status_with_warnings, V1.reports_findings) == (200, False)
    assert (V2.status_with_warnings, V2.reports_findings) == (202, True)


def test_the_change_feed_has_sequence_ranges_in_v1_and_pages_in_v2() -> None:
    assert (V1.feed_is_paged_by_rows, V1.feed_limit_default, V1.feed_limit_maximum) == (False, 10, 100)
    assert (V2.feed_is_paged_by_rows, V2.feed_limit_default, V2.feed_limit_maximum) == (True, 100, 200)


# docs/api.md, Returned attributes
AZURE = {
    "v1": {
        STUDY: "SpecificCharacterSet StudyDate StudyTime AccessionNumber InstanceAvailability ReferringPhysicianName "
        "TimezoneOffsetFromUTC PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID",
        SERIES: "SpecificCharacterSet Modality TimezoneOffsetFromUTC SeriesDescription SeriesInstanceUID "
        "PerformedProcedureStepStartDate PerformedProcedureStepStartTime RequestAttributesSequence",
        INSTANCE: "SpecificCharacterSet SOPClassUID SOPInstanceUID InstanceAvailability TimezoneOffsetFromUTC "
        "InstanceNumber Rows Columns BitsAllocated NumberOfFrames",
    },
    "v2": {
        STUDY: "StudyInstanceUID StudyDate StudyDescription AccessionNumber ReferringPhysicianName PatientName "
        "PatientID PatientBirthDate",
        SERIES: "SeriesInstanceUID Modality PerformedProcedureStepStartDate ManufacturerModelName",
        INSTANCE: "SOPInstanceUID",
    },
}

# PS3.18 Tables 10.6.3-3 to 10.6.3-5
STANDARD = {
    STUDY: "SpecificCharacterSet StudyDate StudyTime AccessionNumber InstanceAvailability ModalitiesInStudy "
    "ReferringPhysicianName TimezoneOffsetFromUTC RetrieveURL PatientName PatientID PatientBirthDate PatientSex "
    "StudyInstanceUID StudyID NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances",
    SERIES: "SpecificCharacterSet Modality TimezoneOffsetFromUTC SeriesDescription RetrieveURL SeriesInstanceUID "
    "SeriesNumber NumberOfSeriesRelatedInstances PerformedProcedureStepStartDate PerformedProcedureStepStartTime "
    "RequestAttributesSequence",
    INSTANCE: "SpecificCharacterSet SOPClassUID SOPInstanceUID InstanceAvailability TimezoneOffsetFromUTC RetrieveURL "
    "InstanceNumber Rows Columns BitsAllocated NumberOfFrames",
}


@pytest.mark.parametrize("level", [STUDY, SERIES, INSTANCE])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_search_returns_the_attributes_of_azures_service_and_those_required_by_the_standard(
    version: str, level: int
) -> None:
    expected = {*AZURE[version][level].split(), *STANDARD[level].split()}

    assert set(VERSIONS[version].returned_attributes[level]) == expected


def test_include_all_adds_to_the_attributes_of_v1() -> None:
    assert [len(ALL_ATTRIBUTES[level]) for level in (STUDY, SERIES, INSTANCE)] == [24, 12, 10]
    for level in (STUDY, SERIES, INSTANCE):
        assert set(AZURE["v1"][level].split()) <= set(ALL_ATTRIBUTES[level])
