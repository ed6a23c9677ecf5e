"""Requirements of the attributes of a workitem (PS3.4 Table CC.2.5-3) as data.

Validation, search keys and the conformance statement follow from these tables.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from server.dicom.elements.keywords import Path, path_of, tags_of


@dataclass(frozen=True, slots=True)
class Requirement:
    """A row of the table.

    attribute: dotted path of keywords.
    create, update: requirement types of N-CREATE and N-SET as "SCU/SCP" (PS3.4 section 5.4.2.1): 1 with a value, 2
        present, 3 optional, C under a condition; "-": not allowed.
    final: final state code (PS3.4 Table CC.2.5-1): R both final states require a value, P only COMPLETED, X only
        CANCELED, RC under a condition, O none.
    match: R required, U unique and O optional matching key; "-": not a matching key.
    """

    attribute: str
    path: Path
    create: str
    update: str
    final: str
    match: str

    @property
    def depth(self) -> int:
        """Number of enclosing sequences."""
        return len(self.path) - 1


# Macros: of codes (Table CC.2.5-2a), content items (2b), references to instances (2c), HL7v2 hierarchic designators
# (2d), issuers of patient ids (2e) and SOP instances (2f). "*" stands for the matching key type of the sequence.
_CODE = """
CodeValue                 1C/1C 1C/1C O *
CodingSchemeDesignator    1C/1C 1C/1C O *
CodingSchemeVersion       1C/1C 1C/1C O -
CodeMeaning               1/1   1/1   O -
LongCodeValue             1C/1C 1C/1C O *
URNCodeValue              1C/1C 1C/1C O *
"""
_CONTENT_ITEM = """
ValueType                 1/1   1/1   O *
ConceptNameCodeSequence   1/1   1/1   O * :code
DateTime                  1C/1C 1C/1C O *
Date                      1C/1C 1C/1C O *
Time                      1C/1C 1C/1C O *
PersonName                1C/1C 1C/1C O *
UID                       1C/1C 1C/1C O *
TextValue                 1C/1C 1C/1C O *
ConceptCodeSequence       1C/1C 1C/1C O * :code
NumericValue              1C/1C 1C/1C O -
MeasurementUnitsCodeSequence 1C/1C 1C/1C O * :code
"""
_REFERENCE = """
TypeOfInstances           1/1   1/1   O *
StudyInstanceUID          1C/1  1C/1  O *
SeriesInstanceUID         1C/1  1C/1  O *
ReferencedSOPSequence     1/1   1/1   O *
>ReferencedSOPClassUID    1/1   1/1   O *
>ReferencedSOPInstanceUID 1/1   1/1   O *
"""
_HIERARCHIC = """
LocalNamespaceEntityID    1C/1C 1C/1C O *
UniversalEntityID         1C/1C 1C/1C O *
UniversalEntityIDType     1C/1C 1C/1C O *
"""
_SOP_INSTANCE = """
ReferencedSOPClassUID     1/1   1/1   O *
ReferencedSOPInstanceUID  1/1   1/1   O *
"""
_MACROS: Mapping[str, str] = {
    ":code": _CODE,
    ":content": _CONTENT_ITEM,
    ":reference": _REFERENCE,
    ":hierarchic": _HIERARCHIC,
    ":instance": _SOP_INSTANCE,
}

_TABLE = """
TransactionUID                                    2/2   -    O  -
SpecificCharacterSet                              1C/1C 1C/1C RC -
SOPClassUID                                       1/1   -    R  O
SOPInstanceUID                                    1/1   -    R  U
ScheduledProcedureStepPriority                    1/1   3/1  R  R
ScheduledProcedureStepModificationDateTime        -/1   -/1  R  O
ProcedureStepLabel                                1/1   3/1  O  R
WorklistLabel                                     2/1   3/1  O  R
ScheduledProcessingParametersSequence             2/2   3/2  O  - :content
ScheduledStationNameCodeSequence                  2/2   3/2  O  R :code
ScheduledStationClassCodeSequence                 2/2   3/2  O  R :code
ScheduledStationGeographicLocationCodeSequence    2/2   3/2  O  R :code
ScheduledHumanPerformersSequence                  2C/2C 3/2  O  R
>HumanPerformerCodeSequence                       1/1   1/1  O  R :code
>HumanPerformerName                               1/1   1/1  O  O
>HumanPerformerOrganization                       1/1   1/1  O  O
ScheduledProcedureStepStartDateTime               1/1   3/1  R  R
ExpectedCompletionDateTime                        3/1   3/1  O  R
ScheduledProcedureStepExpirationDateTime          3/3   3/3  O  O
ScheduledWorkitemCodeSequence                     2/2   3/1  O  R :code
CommentsOnTheScheduledProcedureStep               2/2   3/1  O  O
InputReadinessState                               1/1   3/1  R  R
InputInformationSequence                          2/2   3/2  O  O :reference
StudyInstanceUID                                  1C/2  3/2  O  O
OutputDestinationSequence                         3/3   3/3  O  -
PatientName                                       2/2   -    O  R
PatientID                                         1C/2  -    O  R
IssuerOfPatientID                                 2/2   -    O  R
IssuerOfPatientIDQualifiersSequence               2/2   -    O  O
>UniversalEntityID                                2/2   -    O  O
>UniversalEntityIDType                            1C/1  -    O  O
>IdentifierTypeCode                               2/2   -    O  O
OtherPatientIDsSequence                           2/2   -    O  O
>PatientID                                        1/1   -    O  O
>IssuerOfPatientID                                2/2   -    O  O
>TypeOfPatientID                                  3/3   -    O  O
PatientBirthDate                                  2/2   -    O  R
PatientSex                                        2/2   -    O  R
ReferencedPatientPhotoSequence                    3/3   3/3  O  - :reference
AdmissionID                                       2/2   -    O  R
IssuerOfAdmissionIDSequence                       2/2   -    O  R :hierarchic
AdmittingDiagnosesDescription                     2/2   -    O  O
AdmittingDiagnosesCodeSequence                    2/2   -    O  O :code
ReferencedRequestSequence                         2/2   -    O  R
>StudyInstanceUID                                 1/1   -    O  O
>AccessionNumber                                  2/2   -    O  R
>IssuerOfAccessionNumberSequence                  2/2   -    O  R :hierarchic
>PlacerOrderNumberImagingServiceRequest           3/1   -    O  O
>OrderPlacerIdentifierSequence                    2/2   -    O  O :hierarchic
>FillerOrderNumberImagingServiceRequest           3/1   -    O  O
>OrderFillerIdentifierSequence                    2/2   -    O  O :hierarchic
>RequestedProcedureID                             2/2   -    O  R
>RequestedProcedureDescription                    2/2   -    O  O
>RequestedProcedureCodeSequence                   2/2   -    O  O :code
>ReasonForTheRequestedProcedure                   3/3   -    O  O
>ReasonForRequestedProcedureCodeSequence          3/3   -    O  O :code
>RequestedProcedureComments                       3/3   -    O  O
>ConfidentialityCode                              3/3   -    O  O
>NamesOfIntendedRecipientsOfResults               3/3   -    O  O
>ImagingServiceRequestComments                    3/3   -    O  O
>RequestingPhysician                              3/3   -    O  O
>RequestingService                                3/1   -    O  R
>RequestingServiceCodeSequence                    3/3   -    O  O :code
>IssueDateOfImagingServiceRequest                 3/3   -    O  O
>IssueTimeOfImagingServiceRequest                 3/3   -    O  O
>ReferringPhysicianName                           3/3   -    O  O
ReplacedProcedureStepSequence                     1C/1C -    O  R :instance
MedicalAlerts                                     3/2   3/2  O  O
PregnancyStatus                                   3/2   3/2  O  -
SpecialNeeds                                      3/2   3/2  O  O
ProcedureStepState                                1/1   -    R  R
ProcedureStepProgressInformationSequence          2/2   3/2  X  -
>ProcedureStepProgress                            -     3/1  O  -
>ProcedureStepProgressDescription                 -     3/1  O  -
>ProcedureStepProgressParametersSequence          -     3/3  O  - :content
>ProcedureStepCommunicationsURISequence           -     3/1  O  -
>>ContactURI                                      -     1/1  O  -
>>ContactDisplayName                              -     3/1  O  -
>ProcedureStepCancellationDateTime                -     3/1  X  -
>ReasonForCancellation                            -     3/1  O  -
>ProcedureStepDiscontinuationReasonCodeSequence   -     3/1  X  - :code
UnifiedProcedureStepPerformedProcedureSequence    2/2   3/2  P  -
>ActualHumanPerformersSequence                    -     3/1  RC O
>>HumanPerformerCodeSequence                      -     3/1  RC O :code
>>HumanPerformerName                              -     3/1  RC O
>>HumanPerformerOrganization                      -     3/1  O  -
>PerformedStationNameCodeSequence                 -     3/2  P  O :code
>PerformedStationClassCodeSequence                -     3/2  O  - :code
>PerformedStationGeographicLocationCodeSequence   -     3/2  O  - :code
>PerformedProcedureStepStartDateTime              -     3/1  P  -
>PerformedProcedureStepDescription                -     3/1  O  -
>CommentsOnThePerformedProcedureStep              -     3/1  O  -
>PerformedWorkitemCodeSequence                    -     3/1  P  - :code
>PerformedProcessingParametersSequence            -     3/1  O  - :content
>PerformedProcedureStepEndDateTime                -     3/1  P  O
>OutputInformationSequence                        -     2/2  P  - :reference
"""

MAY_HAVE_NO_ITEMS = "UnifiedProcedureStepPerformedProcedureSequence.OutputInformationSequence"
"""Without relevant output, the sequence may have no items in a final state (remark in Table CC.2.5-3)."""

SINGLE_ITEM = tags_of("""
IssuerOfPatientIDQualifiersSequence IssuerOfAdmissionIDSequence IssuerOfAccessionNumberSequence
OrderPlacerIdentifierSequence OrderFillerIdentifierSequence RequestedProcedureCodeSequence ScheduledWorkitemCodeSequence
HumanPerformerCodeSequence ConceptNameCodeSequence ConceptCodeSequence MeasurementUnitsCodeSequence
ProcedureStepProgressInformationSequence UnifiedProcedureStepPerformedProcedureSequence
""")
"""Tags of sequences that have at most one item (PS3.3 sections C.30 and 10.2, and of the macros)."""

RETURN_KEYS = """
SpecificCharacterSet SOPClassUID SOPInstanceUID ScheduledProcedureStepPriority ProcedureStepLabel WorklistLabel
ScheduledProcessingParametersSequence ScheduledStationNameCodeSequence ScheduledStationClassCodeSequence
ScheduledStationGeographicLocationCodeSequence ScheduledHumanPerformersSequence ScheduledProcedureStepStartDateTime
ScheduledWorkitemCodeSequence InputReadinessState InputInformationSequence StudyInstanceUID PatientName PatientID
IssuerOfPatientID IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence PatientBirthDate PatientSex AdmissionID
IssuerOfAdmissionIDSequence AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence ReferencedRequestSequence
MedicalAlerts PregnancyStatus SpecialNeeds ProcedureStepState ProcedureStepProgressInformationSequence
"""
"""Keywords of the attributes that a search returns by default."""

VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ScheduledProcedureStepPriority": ("HIGH", "MEDIUM", "LOW"),
        "InputReadinessState": ("INCOMPLETE", "UNAVAILABLE", "READY"),
    }
)
"""Enumerated Values (PS3.3 section C.30.1)."""


def _rows(table: str, above: tuple[str, ...], match: str) -> Iterator[Requirement]:
    enclosing = list(above)
    for line in table.strip().splitlines():
        written, create, update, final, kind, *macros = line.split()
        keyword = written.lstrip(">")
        del enclosing[len(above) + len(written) - len(keyword) :]
        enclosing.append(keyword)
        attribute = ".".join(enclosing)
        path = path_of(attribute)
        assert path is not None, f"{attribute} is not in the dictionary"
        kind = match if kind == "*" else kind
        yield Requirement(attribute, path, create, update, final, kind)
        for macro in macros:
            yield from _rows(_MACROS[macro], tuple(enclosing), kind)


REQUIREMENTS: tuple[Requirement, ...] = tuple(_rows(_TABLE, (), "-"))
"""All rows, in the order of the table; a sequence precedes its members."""
