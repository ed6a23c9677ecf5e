"""LabelService, and labels in searches and metadata, as specified in the contract."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import label_service_pb2 as pb
from dicomstore.v1 import label_service_pb2_grpc, share_service_pb2_grpc
from dicomstore.v1 import search_service_pb2 as search_pb
from dicomstore.v1 import share_service_pb2 as share_pb
from dicomstore.v1 import store_service_pb2 as store_pb

from tests.core import CoreClient, Ref, reason_of
from tests.data import SECONDARY_CAPTURE, element, padded_uid, part10, part10_of
from tests.integration.conftest import a_core

STUDY = Ref(study_instance_uid="1.2")
SERIES = Ref(study_instance_uid="1.2", series_instance_uid="1.2.1")
INSTANCE = Ref(study_instance_uid="1.2", series_instance_uid="1.2.1", sop_instance_uid="1.2.1.1")
FILE = part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", SOPInstanceUID="1.2.1.1")


class Labels:
    """The stub with short helper methods."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Any = ()) -> None:
        self._stub: Any = label_service_pb2_grpc.LabelServiceStub(channel)
        self._metadata = metadata

    async def get(self, resource: Any) -> dict[str, str]:
        answer = await self._stub.GetLabels(pb.GetLabelsRequest(resource=resource), metadata=self._metadata)
        return dict(answer.labels)

    async def change(self, resource: Any, *removed: str, replace: bool = False, **labels: str) -> dict[str, str]:
        request = pb.ChangeLabelsRequest(resource=resource, labels=labels, removed_names=removed, replace=replace)
        return dict((await self._stub.ChangeLabels(request, metadata=self._metadata)).labels)

    async def refusal(self, resource: Any, *removed: str, **labels: str) -> str | None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.change(resource, *removed, **labels)
        return reason_of(caught.value)


@pytest.fixture
async def labels(core: CoreClient) -> Labels:
    await core.stored(FILE)
    return Labels(core.channel)


@pytest.mark.parametrize("resource", [STUDY, SERIES, INSTANCE], ids=["study", "series", "instance"])
async def test_labels_are_set_replaced_and_removed(labels: Labels, resource: Any) -> None:
    assert await labels.get(resource) == {}
    assert await labels.change(resource, project="lung", done="") == {"project": "lung", "done": ""}
    assert await labels.change(resource, "done", "unknown", project="heart") == {"project": "heart"}
    assert await labels.change(resource, replace=True, other="1") == {"other": "1"}
    assert await labels.get(resource) == {"other": "1"}
    assert await labels.change(resource, "other", other="2") == {"other": "2"}
    assert await labels.change(resource, replace=True) == {}


async def test_labels_change_neither_objects_nor_the_feed(core: CoreClient, labels: Labels) -> None:
    before = await core.metadata(STUDY)
    await labels.change(STUDY, project="lung")
    assert await core.metadata(STUDY) == before
    assert len(await core.changes()) == 1
    [(_, body)] = await core.retrieve(STUDY)
    assert body == FILE


@pytest.mark.parametrize(
    "invalid",
    [
        *({"": "x"}, {"a b": "x"}, {".a": "x"}, {"ä": "x"}, {"a" * 64: "x"}),
        *({"a": "x" * 257}, {"a": "line\nbreak"}, {"msdicom-meta-CS-00191100": "x"}, {"MSDICOM-META-x": "x"}),
    ],
)
async def test_invalid_labels_are_refused(labels: Labels, invalid: dict[str, str]) -> None:
    assert await labels.refusal(STUDY, **invalid) == "INVALID_LABEL"
    assert await labels.get(STUDY) == {}


async def test_names_and_values_of_the_greatest_length_are_accepted(labels: Labels) -> None:
    longest = {"A" * 63: "ü" * 256, "0._-": "a label, of words"}
    assert await labels.change(STUDY, **longest) == longest


async def test_the_number_of_labels_is_limited(labels: Labels) -> None:
    await labels.change(STUDY, **{f"n{number}": "" for number in range(64)})
    assert await labels.refusal(STUDY, more="") == "TOO_MANY_LABELS"
    assert len(await labels.change(STUDY, "n0", more="")) == 64


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (Ref(), "INVALID_FIELD"),
        (Ref(study_instance_uid="x"), "INVALID_UID"),
        (Ref(study_instance_uid="9"), "STUDY_NOT_FOUND"),
        (Ref(study_instance_uid="1.2", series_instance_uid="9"), "SERIES_NOT_FOUND"),
        (
            Ref(study_instance_uid="1.2", series_instance_uid="1.2.1", sop_instance_uid="9"),
            "INSTANCE_NOT_FOUND",
        ),
    ],
)
async def test_labels_need_an_existing_resource(labels: Labels, resource: Any, reason: str) -> None:
    assert await labels.refusal(resource, a="1") == reason
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await labels.get(resource)
    assert reason_of(caught.value) == reason


async def found(
    core: CoreClient, *terms: tuple[str, str], level: Any = search_pb.QUERY_LEVEL_STUDY, **rest: Any
) -> Any:
    request = search_pb.SearchRequest(
        level=level, terms=[search_pb.Term(attribute=name, values=[value]) for name, value in terms], **rest
    )
    return await core.search_stub.Search(request)


@pytest.mark.parametrize(
    ("value", "matches"),
    [("lung", 1), ("Lung", 0), ("l*", 1), ("?ung", 1), ("*", 1), ("", 1), ("heart", 0), ("lung,heart", 0), ("a-z", 0)],
)
async def test_a_search_finds_labels(core: CoreClient, labels: Labels, value: str, matches: int) -> None:
    await labels.change(STUDY, project="lung")
    for level in (search_pb.QUERY_LEVEL_STUDY, search_pb.QUERY_LEVEL_SERIES, search_pb.QUERY_LEVEL_INSTANCE):
        page = await found(core, ("label.project", value), level=level)
        assert len(page.matches) == matches
        assert not page.ignored_attributes


async def test_an_absent_label_can_be_searched_for(core: CoreClient, labels: Labels) -> None:
    await labels.change(STUDY, project="lung")
    assert not (await found(core, ("label.project", '""'), empty_value_matching=True)).matches
    assert len((await found(core, ("label.other", '""'), empty_value_matching=True)).matches) == 1


async def test_pages_of_a_search_by_labels_follow_one_another(core: CoreClient, labels: Labels) -> None:
    for study in ("1.3", "1.4"):
        await core.stored(part10(StudyInstanceUID=study))
    for study in ("1.2", "1.3", "1.4"):
        await labels.change(Ref(study_instance_uid=study), project="lung")
    first = await found(core, ("label.project", "lung"), page_size=2, total_count=True)
    assert first.total_count == 3
    second = await found(core, ("label.project", "lung"), page_size=2, page_token=first.next_page_token)
    studies = [match.resource.study_instance_uid for page in (first, second) for match in page.matches]
    assert studies == ["1.4", "1.3", "1.2"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await found(core, ("label.project", "heart"), page_size=2, page_token=first.next_page_token)
    assert reason_of(caught.value) == "INVALID_PAGE_TOKEN"


async def test_a_term_with_an_invalid_name_of_a_label_is_refused(core: CoreClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await found(core, ("label.a b", "1"))
    assert reason_of(caught.value) == "INVALID_QUERY"


def shown(dicom_json: bytes) -> list[list[str]]:
    """Return level, name and value of the labels in a data set."""
    data_set = json.loads(dicom_json)
    assert list(data_set) == sorted(data_set)
    if "00991001" not in data_set:
        return []
    assert data_set["00990010"] == {"vr": "LO", "Value": ["DICOMSTORE"]}
    items = data_set["00991001"]["Value"]
    assert all(item["00990010"]["Value"] == ["DICOMSTORE"] for item in items)
    return [[item[f"009910{element}"].get("Value", [""])[0] for element in ("02", "03", "04")] for item in items]


async def test_search_results_and_metadata_have_labels_on_request(core: CoreClient, labels: Labels) -> None:
    await labels.change(STUDY, project="lung", empty="")
    await labels.change(INSTANCE, reviewed="yes")
    of_study = [["STUDY", "empty", ""], ["STUDY", "project", "lung"]]
    [match] = (await found(core, include_labels=True)).matches
    assert shown(match.dicom_json) == of_study
    [match] = (await found(core, level=search_pb.QUERY_LEVEL_INSTANCE, include_labels=True)).matches
    assert shown(match.dicom_json) == [*of_study, ["INSTANCE", "reviewed", "yes"]]
    [match] = (await found(core)).matches
    assert shown(match.dicom_json) == []
    state, [item] = await core.metadata(SERIES, include_labels=True)
    assert shown(item) == [*of_study, ["INSTANCE", "reviewed", "yes"]]
    await labels.change(INSTANCE, reviewed="no")
    _, [item] = await core.metadata(SERIES, include_labels=True, known_state=state)
    assert shown(item)[-1] == ["INSTANCE", "reviewed", "no"]


async def test_labels_use_a_free_private_block(core: CoreClient) -> None:
    uids = {0x00080016: SECONDARY_CAPTURE, 0x00080018: "1.2.1.1", 0x0020000D: "1.2", 0x0020000E: "1.2.1"}
    elements = {tag: element(tag, "UI", padded_uid(uid)) for tag, uid in uids.items()}
    elements |= {0x00100020: element(0x00100020, "LO", b"P1"), 0x00990010: element(0x00990010, "LO", b"SOMEBODY")}
    await core.stored(part10_of(elements[tag] for tag in sorted(elements)))
    labels = Labels(core.channel)
    await labels.change(STUDY, a="1")
    _, [item] = await core.metadata(STUDY, include_labels=True)
    data_set = json.loads(item)
    assert data_set["00990010"]["Value"] == ["SOMEBODY"]
    assert data_set["00990011"]["Value"] == ["DICOMSTORE"]
    assert data_set["00991101"]["Value"][0]["00991103"]["Value"] == ["a"]


async def test_recipients_of_share_links_read_labels_and_cannot_change_them(core: CoreClient, labels: Labels) -> None:
    await labels.change(STUDY, project="lung")
    share: Any = share_service_pb2_grpc.ShareServiceStub(core.channel)
    for purpose, scope in ((share_pb.SHARE_PURPOSE_READ, STUDY), (share_pb.SHARE_PURPOSE_UPLOAD, Ref())):
        link = await share.CreateShareLink(share_pb.CreateShareLinkRequest(purpose=purpose, scope=scope))
        recipient = Labels(core.channel, (("authorization", f"Bearer {link.token}"),))
        assert await recipient.refusal(STUDY, a="1") == "PERMISSION_DENIED"
        if purpose == share_pb.SHARE_PURPOSE_READ:
            assert await recipient.get(STUDY) == {"project": "lung"}
    assert await labels.get(STUDY) == {"project": "lung"}


async def test_a_change_is_in_the_audit_trail_and_not_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with a_core(tmp_path) as core:
        await core.stored(FILE)
        await Labels(core.channel).change(STUDY, project="a secret")
    trail = b"".join(path.read_bytes() for path in sorted((tmp_path / "audit").rglob("*")) if path.is_file())
    assert b'"labels":["project"]' in trail
    assert "a secret" not in caplog.text


def external(*attributes: tuple[str, str, str]) -> dict[str, Any]:
    """Return the field of the header."""
    return {
        "external_metadata": [store_pb.ExternalAttribute(tag=tag, vr=vr, value=value) for tag, vr, value in attributes]
    }


async def test_external_metadata_is_set_for_each_stored_study(core: CoreClient) -> None:
    other = part10(StudyInstanceUID="1.3")
    await core.stored(FILE, other, **external(("00191100", "PN", "Doe^Jane"), ("001900FF", "DA", "20241231")))
    labels = Labels(core.channel)
    for study in ("1.2", "1.3"):
        expected = {"msdicom-meta-PN-00191100": "Doe^Jane", "msdicom-meta-DA-001900FF": "20241231"}
        assert await labels.get(Ref(study_instance_uid=study)) == expected
    await core.stored(FILE, **external(("00191100", "PN", "Roe^Jane")))  # identical bytes
    assert (await labels.get(STUDY))["msdicom-meta-PN-00191100"] == "Roe^Jane"
    assert len(await labels.change(STUDY, "msdicom-meta-PN-00191100", replace=True)) == 2


@pytest.mark.parametrize(
    "attributes",
    [
        *([("00100010", "PN", "x")], [("x", "PN", "x")], [("00191100", "SQ", "x")], [("00191100", "CS", "lower")]),
        *([("00191100", "DA", "20240230")], [("00191100", "DA", "20240101-20240102")], [("00191100", "US", "65536")]),
        *([("00191100", "FD", "nan")], [("00191100", "LO", "a\\b")], [("00191100", "LO", "x" * 65)]),
        [("00191101", "LO", "x"), ("00191100", "LO", "x"), ("00191100", "SH", "x")],
        [("00191101", "SH", "other VR than before")],
    ],
)
async def test_invalid_external_metadata_fails_the_whole_call(
    core: CoreClient, attributes: list[tuple[str, str, str]]
) -> None:
    await core.stored(part10(StudyInstanceUID="1.9"), **external(("00191101", "LO", "x")))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await core.store(FILE, **external(*attributes))
    assert reason_of(caught.value) == "INVALID_LABEL"
    assert len(await core.changes()) == 1


EXTERNAL = (
    ("00191101", "LO", "text"),
    ("00191102", "US", "7"),
    ("00191103", "FD", "2.5"),
    ("00191104", "DA", "20240615"),
    ("00191105", "PN", "Doe^Jane=Ideo"),
    ("00191106", "SH", ""),
)


async def test_external_metadata_is_returned_as_attributes_on_request(core: CoreClient) -> None:
    await core.stored(FILE, **external(*EXTERNAL))
    expected = {
        "00190011": {"vr": "LO", "Value": ["Microsoft"]},
        "00191101": {"vr": "LO", "Value": ["text"]},
        "00191102": {"vr": "US", "Value": [7]},
        "00191103": {"vr": "FD", "Value": [2.5]},
        "00191104": {"vr": "DA", "Value": ["20240615"]},
        "00191105": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "Ideo"}]},
        "00191106": {"vr": "SH"},
    }
    [match] = (await found(core, level=search_pb.QUERY_LEVEL_SERIES, external_metadata=True)).matches
    assert expected.items() <= json.loads(match.dicom_json).items()
    _, [item] = await core.metadata(INSTANCE, external_metadata=True)
    assert expected.items() <= json.loads(item).items()
    _, [item] = await core.metadata(INSTANCE)
    assert not expected.keys() & json.loads(item).keys()


@pytest.mark.parametrize(
    ("term", "matches"),
    [
        *((("00191101", "text"), 1), (("00191101", "t*"), 1), (("00191101", "other"), 0), (("00191102", "7"), 1)),
        *((("00191104", "20240101-20241231"), 1), (("00191104", "20240616-"), 0), (("00191104", "-20240615"), 1)),
        *((("00191109", "x"), 0), (("00191109", ""), 1), (("PatientID", "nobody"), 0)),
    ],
)
async def test_external_metadata_is_found_on_request(core: CoreClient, term: tuple[str, str], matches: int) -> None:
    await core.stored(FILE, **external(*EXTERNAL))
    assert len((await found(core, term, external_metadata=True)).matches) == matches
    if term[0] != "PatientID":
        assert (await found(core, term)).ignored_attributes == [term[0]]
