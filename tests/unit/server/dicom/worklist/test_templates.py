"""Templates of workitems, and the workitems that follow from them."""

from typing import Any

import orjson
import pytest

from server.dicom.worklist.rules import check_new
from server.dicom.worklist.templates import MAX_TEMPLATE_BYTES, Reference, from_template, parse_template
from server.model.errors import InvalidRequest, Reason

CT = "1.2.840.10008.5.1.4.1.1.2"
LABEL = {"00741204": {"vr": "LO", "Value": ["Lung CAD"]}}
STUDY = {
    "00080050": {"vr": "SH", "Value": ["A-1"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    "00100020": {"vr": "LO", "Value": ["P-1"]},
    "00100030": {"vr": "DA"},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
}
INPUT = [Reference("1.4", CT, "1.4.1"), Reference("1.4", CT, "1.4.2"), Reference("1.5", CT, "1.5.1")]
START = "20260301120000.000000+0000"


def template_of(**more: Any) -> Any:
    return parse_template(orjson.dumps(LABEL | more))


def test_a_label_is_enough_for_a_valid_workitem() -> None:
    data_set = from_template(template_of(), STUDY, INPUT, START)
    check_new(data_set)
    values = {tag: data_set[tag].get("Value") for tag in ("00404005", "00741200", "00404041", "00100010", "00100030")}
    assert values == {
        "00404005": [START],
        "00741200": ["MEDIUM"],
        "00404041": ["READY"],
        "00100010": [{"Alphabetic": "Doe^Jane"}],
        "00100030": None,
    }


def test_the_input_are_the_instances_of_each_series() -> None:
    items = from_template(template_of(), STUDY, INPUT, START)["00404021"]["Value"]
    assert [(item["0020000D"]["Value"], item["0020000E"]["Value"]) for item in items] == [
        (["1.2.3"], ["1.4"]),
        (["1.2.3"], ["1.5"]),
    ]
    references = [[one["00081155"]["Value"][0] for one in item["00081199"]["Value"]] for item in items]
    assert references == [["1.4.1", "1.4.2"], ["1.5.1"]]


def test_the_request_of_the_study_is_referenced_if_it_has_an_accession_number() -> None:
    [item] = from_template(template_of(), STUDY, INPUT, START)["0040A370"]["Value"]
    assert (item["00080050"]["Value"], item["0020000D"]["Value"]) == (["A-1"], ["1.2.3"])
    without = from_template(template_of(), STUDY | {"00080050": {"vr": "SH"}}, INPUT, START)
    assert without["0040A370"] == {"vr": "SQ"}


def test_what_the_template_has_is_kept() -> None:
    template = template_of(**{"00741200": {"vr": "CS", "Value": ["HIGH"]}, "0040A370": {"vr": "SQ"}})
    data_set = from_template(template, STUDY, INPUT, START)
    assert (data_set["00741200"]["Value"], data_set["0040A370"]) == (["HIGH"], {"vr": "SQ"})


def test_invalid_values_of_the_study_are_left_out() -> None:
    study = STUDY | {
        "00100020": {"vr": "LO", "Value": ["x" * 65]},
        "00100040": {"vr": "CS", "Value": ["F" * 17]},
    }
    data_set = from_template(template_of(), study, INPUT, START)
    check_new(data_set)
    assert (data_set["00100020"], data_set["00100040"]) == ({"vr": "LO"}, {"vr": "CS"})


@pytest.mark.parametrize(
    ("tag", "element"),
    [
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "Doe"}]}),
        ("00080018", {"vr": "UI", "Value": ["1.2"]}),
        ("00081195", {"vr": "UI", "Value": ["1.2"]}),
        ("00741000", {"vr": "CS", "Value": ["SCHEDULED"]}),
        ("00404021", {"vr": "SQ", "Value": [{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]}),
    ],
)
def test_a_template_has_no_attributes_that_the_archive_sets(tag: str, element: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        template_of(**{tag: element})
    assert caught.value.reason is Reason.INVALID_WORKITEM
    assert tag not in template_of(**{tag: {"vr": element["vr"]}})


def test_the_size_of_a_template_is_limited() -> None:
    with pytest.raises(InvalidRequest):
        parse_template(b" " * MAX_TEMPLATE_BYTES + b"{}")
