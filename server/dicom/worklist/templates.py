"""Templates of workitems, from which rules create the workitem of a study (docs/worklist.md)."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from server.dicom.elements import dictionary
from server.dicom.elements.keywords import tags_of
from server.dicom.matching.attributes import is_empty
from server.dicom.worklist.data_set import DataSet, invalid, parse
from server.dicom.worklist.requirements import REQUIREMENTS
from server.model.errors import InvalidRequest

MAX_TEMPLATE_BYTES = 64 << 10
"""Size limit of a template in JSON."""

MAX_REFERENCES = 2000
"""Number of instances up to which a workitem refers to all instances of a study."""

STUDY_ATTRIBUTES = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
    "AccessionNumber",
)
"""Keywords of the attributes of a study that a workitem needs."""

_FROM_STUDY = tags_of("PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex StudyInstanceUID")
_SET_BY_ARCHIVE = _FROM_STUDY | tags_of(
    "TransactionUID SOPClassUID SOPInstanceUID ScheduledProcedureStepModificationDateTime ProcedureStepState "
    "IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence InputInformationSequence"
)
_STUDY, _SERIES, _ACCESSION, _REQUEST = "0020000D", "0020000E", "00080050", "0040A370"
_START, _PRIORITY, _READINESS = "00404005", "00741200", "00404041"
_INPUT, _TYPE, _SOPS, _SOP_CLASS, _SOP_INSTANCE = "00404021", "0040E020", "00081199", "00081150", "00081155"

_MAY_BE_EMPTY = {
    one.path[0]: str(dictionary.public_vr(int(one.path[0], 16)))
    for one in REQUIREMENTS
    if one.depth == 0 and one.create in ("2/2", "1C/2")
}
"""VRs of the attributes that must be present and may be empty, by tag."""

_OF_REQUEST = {
    one.path[1]: str(dictionary.public_vr(int(one.path[1], 16)))
    for one in REQUIREMENTS
    if one.depth == 1 and one.path[0] == _REQUEST and one.create == "2/2"
}


class Reference(NamedTuple):
    """An instance to which a workitem refers."""

    series: str
    sop_class: str
    sop_instance: str


def parse_template(dicom_json: bytes) -> DataSet:
    """Return a template.

    Raises:
        InvalidRequest: INVALID_WORKITEM, with the attribute and never a value.
    """
    if len(dicom_json) > MAX_TEMPLATE_BYTES:
        raise invalid("", f"The template has more than {MAX_TEMPLATE_BYTES} bytes.")
    template = parse(dicom_json)
    for tag in template.keys() & _SET_BY_ARCHIVE:
        if not is_empty(template[tag]):
            raise invalid(dictionary.keyword(tag) or tag, "A template must not have it, because the archive sets it.")
    return {tag: element for tag, element in template.items() if tag not in _SET_BY_ARCHIVE}


def from_template(
    template: Mapping[str, Any], study: Mapping[str, Any], references: Sequence[Reference], start: str
) -> DataSet:
    """Return the data set of a new workitem, as a client would provide it.

    Args:
        template: from `parse_template`.
        study: `STUDY_ATTRIBUTES` in DICOM JSON. Invalid values are left out: a workitem has no invalid attributes.
        references: the input, ordered by series.
        start: Scheduled Procedure Step Start DateTime if the template has none.
    """
    data_set = dict(template)
    known = {_STUDY: study[_STUDY]}
    for tag, element in study.items():
        known |= _valid(tag, element)
    data_set |= {tag: element for tag, element in known.items() if tag in _FROM_STUDY}
    data_set[_INPUT] = _sequence(_input_items(known, references))
    defaults = {_START: ("DT", start), _PRIORITY: ("CS", "MEDIUM"), _READINESS: ("CS", "READY")}
    for tag, (vr, value) in defaults.items():
        data_set.setdefault(tag, _element(vr, value))
    if _ACCESSION in known and not is_empty(known[_ACCESSION]):
        data_set.setdefault(_REQUEST, _sequence([_request(known)]))
    for tag, vr in _MAY_BE_EMPTY.items():
        data_set.setdefault(tag, {"vr": vr})
    return dict(sorted(data_set.items()))


def _input_items(study: Mapping[str, Any], references: Iterable[Reference]) -> list[DataSet]:
    """Return the items of Input Information Sequence (PS3.3 Table 10-3b), one for each series."""
    return [
        {
            _SOPS: _sequence(
                [
                    {_SOP_CLASS: _element("UI", one.sop_class), _SOP_INSTANCE: _element("UI", one.sop_instance)}
                    for one in instances
                ]
            ),
            _STUDY: study[_STUDY],
            _SERIES: _element("UI", series),
            _TYPE: _element("CS", "DICOM"),
        }
        for series, instances in groupby(references, key=lambda one: one.series)
    ]


def _request(study: Mapping[str, Any]) -> DataSet:
    """Return the item of Referenced Request Sequence for the request that a study fulfils."""
    empty: DataSet = {tag: {"vr": vr} for tag, vr in _OF_REQUEST.items()}
    return dict(sorted((empty | {tag: study[tag] for tag in (_STUDY, _ACCESSION)}).items()))


def _valid(tag: str, element: Mapping[str, Any]) -> DataSet:
    """Return a data set with an element, or without it if its value is not valid."""
    try:
        return parse(orjson.dumps({tag: element}))
    except InvalidRequest:
        return {}


def _sequence(items: list[DataSet]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _element(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
