"""The store response (PS3.18 section 10.5.3)."""

from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.resources_pb2 import Address, AttributeFinding, ItemError
from dicomstore.v1.store_service_pb2 import StoredInstance, StoreOutcome

from facade.endpoints.stow import status_of
from facade.request.addresses import Urls
from facade.response.dicom_json import store_response, store_response_json, with_bulk_data_urls, without_bulk_data
from facade.response.dicom_xml import native_xml
from facade.versions import VERSIONS

V1, V2 = VERSIONS["v1"], VERSIONS["v2"]
URLS = Urls("http://h/v2")
FINDING = AttributeFinding(tag="00080020", keyword="StudyDate", vr="DA", message="does not validate VR DA")


def stored(**fields: Any) -> StoreOutcome:
    identity = Address(study_instance_uid="1", series_instance_uid="2", sop_instance_uid="3")
    return StoreOutcome(item=1, stored=StoredInstance(id=identity, sop_class_uid="1.9", **fields))


def failed(reason: str, **fields: Any) -> StoreOutcome:
    return StoreOutcome(item=1, failed=ItemError(reason=ErrorReason.Value(f"ERROR_REASON_{reason}"), **fields))


DUPLICATE = failed("INSTANCE_ALREADY_EXISTS", dicom_failure_reason=45070)
WARNED = stored(dicom_warning_reason=1, findings=[FINDING])


@pytest.mark.parametrize(
    ("outcomes", "v1", "v2"),
    [
        ([stored()], 200, 200),
        ([stored(identical=True)], 200, 200),
        ([stored(identical=True), DUPLICATE], 202, 202),
        ([stored(), WARNED], 200, 202),
        ([stored(dicom_warning_reason=45063)], 200, 202),
        ([stored(), DUPLICATE], 202, 202),
        ([DUPLICATE], 409, 409),
        ([DUPLICATE, failed("UNREADABLE_INSTANCE")], 409, 409),
        ([failed("INSTANCE_TOO_LARGE")], 413, 413),
        ([stored(), failed("INSTANCE_TOO_LARGE")], 202, 202),
        ([DUPLICATE, failed("INSTANCE_TOO_LARGE")], 409, 409),
        ([failed("DATABASE_UNAVAILABLE"), failed("STORAGE_UNAVAILABLE")], 503, 503),
        ([failed("STORAGE_FULL")], 507, 507),
        ([failed("INTERNAL")], 409, 409),
    ],
)
def test_the_status_depends_on_all_outcomes(outcomes: list[StoreOutcome], v1: int, v2: int) -> None:
    assert status_of(outcomes, V1) == v1
    assert status_of(outcomes, V2) == v2


def test_a_stored_instance_is_referenced_with_its_url() -> None:
    assert store_response([stored()], V2, URLS) == {
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": ["1.9"]},
                    "00081155": {"vr": "UI", "Value": ["3"]},
                    "00081190": {"vr": "UR", "Value": ["http://h/v2/studies/1/series/2/instances/3"]},
                    "00741048": {"vr": "SQ"},
                }
            ],
        }
    }


def test_v1_reports_no_findings_of_stored_instances() -> None:
    items = store_response([stored(), WARNED, stored(dicom_warning_reason=45063)], V1, URLS)["00081199"]["Value"]

    assert not any("00741048" in item for item in items)
    assert [item.get("00081196") for item in items] == [None, None, {"vr": "US", "Value": [45063]}]


def test_warnings_name_the_attributes() -> None:
    item = store_response([WARNED], V2, URLS)["00081199"]["Value"][0]

    assert item["00081196"] == {"vr": "US", "Value": [1]}
    assert item["00741048"]["Value"] == [
        {"00000902": {"vr": "LO", "Value": ["DICOM100: (0008,0020) - does not validate VR DA"]}}
    ]


def test_an_attribute_in_a_sequence_is_named_with_its_path() -> None:
    nested = AttributeFinding(tag="0008009A", path="00400275/2/0040A730/1/0008009A", vr="CS", message="is bad")
    item = store_response([stored(findings=[nested])], V2, URLS)["00081199"]["Value"][0]

    (comment,) = item["00741048"]["Value"][0]["00000902"]["Value"]
    assert comment == "DICOM100: (0040,0275)[2].(0040,a730)[1].(0008,009a) - is bad"


def test_the_study_url_is_present_if_the_path_names_the_study_and_an_instance_was_stored() -> None:
    assert store_response([stored()], V2, URLS, "1")["00081190"] == {"vr": "UR", "Value": ["http://h/v2/studies/1"]}
    assert "00081190" not in store_response([DUPLICATE], V2, URLS, "1")


def test_a_failure_has_its_reason_and_the_uids_if_readable() -> None:
    response = store_response(
        [
            failed("UNREADABLE_INSTANCE", dicom_failure_reason=43264),
            failed(
                "INSTANCE_ALREADY_EXISTS",
                dicom_failure_reason=45070,
                instance={"sop_instance_uid": "3"},
                sop_class_uid="1.9",
            ),
        ],
        V2,
        URLS,
    )

    assert response == {
        "00081198": {
            "vr": "SQ",
            "Value": [
                {"00081197": {"vr": "US", "Value": [43264]}},
                {
                    "00081150": {"vr": "UI", "Value": ["1.9"]},
                    "00081155": {"vr": "UI", "Value": ["3"]},
                    "00081197": {"vr": "US", "Value": [45070]},
                },
            ],
        }
    }


def test_a_validation_failure_names_the_attributes() -> None:
    outcome = failed("INVALID_INSTANCE", dicom_failure_reason=43264, findings=[FINDING])
    item = store_response([outcome], V1, URLS)["00081198"]["Value"][0]

    assert item["00741048"]["Value"][0]["00000902"]["Value"] == ["DICOM100: (0008,0020) - does not validate VR DA"]


def test_a_study_mismatch_names_the_study_even_without_findings() -> None:
    outcome = failed("STUDY_MISMATCH", dicom_failure_reason=43264, message="They differ.")
    item = store_response([outcome], V2, URLS)["00081198"]["Value"][0]

    assert item["00741048"]["Value"][0]["00000902"]["Value"] == ["DICOM100: (0020,000d) - They differ."]


def test_tags_are_in_ascending_order() -> None:
    def check(data_set: dict[str, Any]) -> None:
        assert list(data_set) == sorted(data_set)
        for element in data_set.values():
            for item in element.get("Value", []):
                if isinstance(item, dict):
                    check(item)

    check(
        store_response(
            [WARNED, failed("INVALID_INSTANCE", instance={"sop_instance_uid": "3"}, findings=[FINDING])], V2, URLS, "1"
        )
    )


def test_the_response_can_be_xml() -> None:
    document = native_xml(store_response([WARNED, failed("UNREADABLE_INSTANCE", dicom_failure_reason=43264)], V2, URLS))

    assert document.startswith(b"<?xml version='1.0' encoding='UTF-8'?>")
    dicom = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    root = ElementTree.fromstring(document)
    assert root.tag == f"{dicom}NativeDicomModel"
    failure = root.find(f"{dicom}DicomAttribute[@keyword='FailedSOPSequence']/{dicom}Item/{dicom}DicomAttribute")
    assert failure is not None
    assert failure.attrib == {"keyword": "FailureReason", "tag": "00081197", "vr": "US"}
    assert failure.findtext(f"{dicom}Value[@number='1']") == "43264"


def test_xml_can_contain_an_invalid_uid() -> None:
    document = native_xml(
        store_response([failed("INVALID_INSTANCE", instance={"sop_instance_uid": "1\x00<&"})], V2, URLS)
    )

    assert "1\ufffd<&" in "".join(ElementTree.fromstring(document).itertext())


def test_bulk_data_uris_become_absolute_without_parsing() -> None:
    data_set = b'{"00081030":{"vr":"LO","Value":["\\"BulkDataURI\\":\\"bulkdata:x"]},' + (
        b'"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata:7FE00010"}}'
    )

    assert with_bulk_data_urls(data_set, "http://h/i") == data_set.replace(
        b'"bulkdata:7FE00010"', b'"http://h/i/bulkdata/7FE00010"'
    )


@pytest.mark.parametrize("outcomes", [[], [WARNED], [DUPLICATE], [stored(), DUPLICATE, WARNED, DUPLICATE]])
@pytest.mark.parametrize("study", ["", "1"])
def test_the_json_response_is_built_item_by_item(outcomes: list[StoreOutcome], study: str) -> None:
    assert orjson.loads(store_response_json(outcomes, V2, URLS, study)) == store_response(outcomes, V2, URLS, study)


@pytest.mark.parametrize(
    ("data_set", "left"),
    [
        ("{}", "{}"),
        ("{#}", "{}"),
        ("{#,#}", "{}"),
        ("{#,#,~}", "{~}"),
        ("{~,#}", "{~}"),
        ("{~,#,#,~}", "{~,~}"),
        ("{#,~,#,~,#}", "{~,~}"),
        ('{"00081140":{"vr":"SQ","Value":[{#},{#,~},{~,#}]},#}', '{"00081140":{"vr":"SQ","Value":[{},{~},{~}]}}'),
    ],
)
@pytest.mark.parametrize(
    "binary",
    [
        '"00282000":{"vr":"OB"}',
        '"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata:7FE00010"}',
        '"00091001":{"vr":"UN","InlineBinary":"AAAA"}',
        '"00189087":{"vr":"FD","BulkDataURI":"bulkdata:00189087"}',
    ],
)
def test_binary_elements_can_be_omitted_at_any_depth(data_set: str, left: str, binary: str) -> None:
    text = r'"00081030":{"vr":"LO","Value":["\"00282000\":{\"vr\":\"OB\"}"]}'

    def filled(form: str) -> bytes:
        return form.replace("#", binary).replace("~", text).encode()

    assert without_bulk_data(filled(data_set)) == filled(left)
