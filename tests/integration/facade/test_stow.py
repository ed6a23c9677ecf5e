"""STOW-RS over a real core (PS3.18 section 10.5; docs/api.md, Storing)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import pytest_asyncio

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import IMPLICIT_LITTLE, part10
from tests.integration.facade.serving import JSON, MULTIPART, STOW, multipart, serving, stow

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


STUDY = "1.2.826.0.1.3680043.10.1.1"


def reasons(response: httpx.Response) -> list[int]:
    return [item["00081197"]["Value"][0] for item in response.json()["00081198"]["Value"]]


async def test_stored_instances_are_referenced(web: httpx.AsyncClient) -> None:
    response = await stow(web, part10(SOPInstanceUID="1.2.3"), part10(SOPInstanceUID="1.2.4"))

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    answer = response.json()
    assert list(answer) == ["00081199"]
    items = sorted(answer["00081199"]["Value"], key=lambda item: item["00081155"]["Value"])
    assert [item["00081155"]["Value"] for item in items] == [["1.2.3"], ["1.2.4"]]
    url = items[0]["00081190"]["Value"][0]
    assert url == f"{web.base_url}/v2/studies/{STUDY}/series/{STUDY}.1/instances/1.2.3"
    assert (await web.get(url, headers={"Accept": "*/*"})).status_code == 200


async def test_a_single_part_is_stored(web: httpx.AsyncClient) -> None:
    headers = JSON | {"Content-Type": "application/dicom"}

    assert (await web.post("/v1/studies", content=part10(), headers=headers)).status_code == 200


async def test_a_chunked_body_is_stored(web: httpx.AsyncClient) -> None:
    body = multipart(part10(frames=[bytes(1 << 20)], Rows=1024, Columns=1024), part10())

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7919):
            yield body[start : start + 7919]

    response = await web.post("/v2/studies", content=chunks(), headers=STOW)

    assert response.status_code == 200
    assert len(response.json()["00081199"]["Value"]) == 2


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related; type=application/dicom; boundary=boundary",
        'Multipart/Related;boundary="boundary";type="application/dicom"',
        "multipart/related; boundary=boundary",
    ],
)
async def test_the_content_type_is_read_leniently(web: httpx.AsyncClient, content_type: str) -> None:
    headers = JSON | {"Content-Type": content_type}

    assert (await web.post("/v2/studies", content=multipart(part10()), headers=headers)).status_code == 200


@pytest.mark.parametrize("part_type", ["application/dicom; transfer-syntax=1.2.840.10008.1.2.1", None])
async def test_parts_may_have_parameters_or_no_content_type(web: httpx.AsyncClient, part_type: str | None) -> None:
    body = multipart(part10(), part_type=part_type)

    assert (await web.post("/v2/studies", content=body, headers=STOW)).status_code == 200


async def test_an_unreadable_part_does_not_affect_others(web: httpx.AsyncClient) -> None:
    response = await stow(web, part10(), b"not DICOM", b"", part10())

    assert response.status_code == 202
    assert response.json()["00081198"]["Value"] == [{"00081197": {"vr": "US", "Value": [43264]}}] * 2
    assert len(response.json()["00081199"]["Value"]) == 2


async def last_sequence(web: httpx.AsyncClient) -> int:
    """Return the sequence of the last entry of the change feed; 0 if it is empty."""
    latest = await web.get("/v2/changefeed/latest", headers=JSON)
    sequence: int = latest.json()["sequence"] if latest.status_code == 200 else 0
    return sequence


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_request_can_be_repeated(web: httpx.AsyncClient, version: str) -> None:
    files = [part10(), part10()]
    before = await last_sequence(web)
    responses = [await stow(web, *files, path=f"/{version}/studies") for _ in range(2)]

    assert [response.status_code for response in responses] == [200, 200]
    assert responses[0].json() == responses[1].json()
    assert await last_sequence(web) == before + 2


async def test_a_repeated_request_gives_the_same_warnings(web: httpx.AsyncClient) -> None:
    file = part10(StudyDate="NotADate")
    responses = [await stow(web, file) for _ in range(2)]

    assert [response.status_code for response in responses] == [202, 202]
    assert responses[0].json() == responses[1].json()


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_different_bytes_with_stored_uids_are_a_conflict(web: httpx.AsyncClient, version: str) -> None:
    file = part10(SOPInstanceUID="1.5", PatientID="A")
    other = part10(SOPInstanceUID="1.5", PatientID="B")
    await stow(web, file)
    alone = await stow(web, other, path=f"/{version}/studies")
    mixed = await stow(web, other, file, part10(), path=f"/{version}/studies")

    assert (alone.status_code, reasons(alone)) == (409, [45070])
    assert (mixed.status_code, reasons(mixed)) == (202, [45070])
    assert len(mixed.json()["00081199"]["Value"]) == 2


async def test_the_same_instance_twice_in_a_request_is_stored_once(web: httpx.AsyncClient) -> None:
    file = part10()
    before = await last_sequence(web)
    response = await stow(web, file, file)

    assert response.status_code == 200
    assert len(response.json()["00081199"]["Value"]) == 2
    assert await last_sequence(web) == before + 1


async def test_identical_instances_can_be_rejected(tmp_path: Path) -> None:
    file = part10()
    async with (
        running(settings_for(tmp_path, identical_instances="reject")) as core,
        serving(core.address) as web,
    ):
        await stow(web, file)
        response = await stow(web, file)
        both = await stow(web, file, part10())

    assert (response.status_code, reasons(response)) == (409, [45070])
    assert (both.status_code, reasons(both)) == (202, [45070])


async def test_only_instances_of_the_study_in_the_url_are_stored(web: httpx.AsyncClient) -> None:
    other = part10(StudyInstanceUID="1.9")
    response = await stow(web, part10(), other, path=f"/v2/studies/{STUDY}")

    assert response.status_code == 202
    assert response.json()["00081190"]["Value"] == [f"{web.base_url}/v2/studies/{STUDY}"]
    failure = response.json()["00081198"]["Value"][0]
    assert failure["00081197"]["Value"] == [43264]
    assert failure["00741048"]["Value"][0]["00000902"]["Value"][0].startswith("DICOM100: (0020,000d) - ")
    assert (await stow(web, other, path=f"/v2/studies/{STUDY}")).status_code == 409


async def test_an_invalid_attribute_fails_v1_and_is_reported_by_v2(web: httpx.AsyncClient) -> None:
    file = part10(StudyDate="NotADate")
    refused = await stow(web, file, path="/v1/studies")
    accepted = await stow(web, file, path="/v2/studies")

    assert (refused.status_code, reasons(refused)) == (409, [43264])
    comment = refused.json()["00081198"]["Value"][0]["00741048"]["Value"][0]["00000902"]["Value"][0]
    assert comment.startswith("DICOM100: (0008,0020) - ")
    assert accepted.status_code == 202
    item = accepted.json()["00081199"]["Value"][0]
    assert item["00081196"]["Value"] == [1]
    assert item["00741048"]["Value"][0]["00000902"]["Value"][0].startswith("DICOM100: (0008,0020) - ")


@pytest.mark.parametrize(
    "attribute", [{"PatientName": "A=B=C=D"}, {"PatientID": ["A1", "B2"]}, {"StudyDescription": "a\tb"}]
)
async def test_v1_refuses_invalid_values_of_indexed_attributes(
    web: httpx.AsyncClient, attribute: dict[str, Any]
) -> None:
    assert (await stow(web, part10(**attribute), path="/v1/studies")).status_code == 409


async def test_v1_accepts_an_escape_character_without_a_warning(web: httpx.AsyncClient) -> None:
    response = await stow(web, part10(StudyDescription="a\x1bb"), path="/v1/studies")

    assert response.status_code == 200
    assert "00081196" not in response.json()["00081199"]["Value"][0]


async def test_implicit_value_representations_are_a_warning(web: httpx.AsyncClient) -> None:
    v1 = await stow(web, part10(transfer_syntax=IMPLICIT_LITTLE), path="/v1/studies")
    v2 = await stow(web, part10(transfer_syntax=IMPLICIT_LITTLE), path="/v2/studies")

    assert (v1.status_code, v2.status_code) == (200, 202)
    assert v1.json()["00081199"]["Value"][0]["00081196"]["Value"] == [45063]
    assert "00741048" not in v1.json()["00081199"]["Value"][0]
    assert v2.json()["00081199"]["Value"][0]["00741048"] == {"vr": "SQ"}


async def test_several_values_of_an_indexed_attribute_are_a_warning_header(web: httpx.AsyncClient) -> None:
    response = await stow(web, part10(AccessionNumber=["A", "B"]))

    assert response.headers["warning"] == (
        f'299 {web.base_url.netloc.decode()}: "One or more indexed Dicom tag(s) have multiple values, '
        'only first value is indexed."'
    )


async def test_the_response_can_be_xml(web: httpx.AsyncClient) -> None:
    response = await web.post(
        "/v2/studies", content=multipart(part10()), headers=MULTIPART | {"Accept": "application/dicom+xml"}
    )

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+xml"
    assert ElementTree.fromstring(response.content).find("*[@keyword='ReferencedSOPSequence']") is not None


async def test_a_body_without_parts_is_204(web: httpx.AsyncClient) -> None:
    response = await stow(web)

    assert (response.status_code, response.content) == (204, b"")


async def test_an_empty_body_of_one_instance_is_a_failure(web: httpx.AsyncClient) -> None:
    response = await web.post("/v2/studies", content=b"", headers=JSON | {"Content-Type": "application/dicom"})

    assert (response.status_code, reasons(response)) == (409, [43264])


async def test_a_body_that_ends_inside_an_instance_does_not_store_it(web: httpx.AsyncClient) -> None:
    body = multipart(part10(SOPInstanceUID="1.2.3"), part10(SOPInstanceUID="1.2.4"))[:-40]
    response = await web.post("/v2/studies", content=body, headers=STOW)

    assert (response.status_code, reasons(response)) == (202, [272])
    assert response.json()["00081199"]["Value"][0]["00081155"]["Value"] == ["1.2.3"]


@pytest.mark.parametrize("accept", ["nonsense", "text/html", "application/dicom", "application/data"])
async def test_the_response_must_be_acceptable(web: httpx.AsyncClient, accept: str) -> None:
    response = await web.post("/v2/studies", content=multipart(part10()), headers=MULTIPART | {"Accept": accept})

    assert response.status_code == 406


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json", "APPLICATION/DICOM+JSON;q=0.5"])
async def test_the_response_is_json_for_clients_that_accept_it(web: httpx.AsyncClient, accept: str) -> None:
    response = await web.post("/v2/studies", content=multipart(part10()), headers=MULTIPART | {"Accept": accept})

    assert (response.status_code, response.headers["content-type"]) == (200, "application/dicom+json")


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/octet-stream",
        "multipart/form-data; boundary=boundary",
        'multipart/related; type="application/dicom+json"; boundary=boundary',
        'multipart/related; type="application/dicom"',
        'multipart/related; type="application/dicom"; boundary=""',
    ],
)
async def test_other_content_types_are_refused(web: httpx.AsyncClient, content_type: str) -> None:
    headers = JSON | {"Content-Type": content_type}

    assert (await web.post("/v2/studies", content=multipart(part10()), headers=headers)).status_code == 415


async def test_parts_of_other_types_are_refused(web: httpx.AsyncClient) -> None:
    body = multipart(part10(), part_type="application/dicom+json")

    assert (await web.post("/v2/studies", content=body, headers=STOW)).status_code == 415


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/v2/studies/not-a-uid", STOW, multipart(b"")),
        ("/v2/studies", STOW | {"Content-Type": MULTIPART["Content-Type"] + "; start=x"}, multipart(b"")),
        ("/v2/studies", JSON | {"Content-Type": f"multipart/related; boundary={'b' * 300}"}, multipart(b"")),
        ("/v2/studies", STOW, b"no boundary in here"),
        ("/v2/studies", STOW, b"--boundary\r\nno header\r\n\r\n"),
    ],
)
async def test_malformed_requests_are_refused(
    web: httpx.AsyncClient, path: str, headers: dict[str, str], body: bytes
) -> None:
    assert (await web.post(path, content=body, headers=headers)).status_code == 400


async def test_an_instance_that_is_too_large_is_a_413(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, max_instance_bytes=2000)
    async with running(settings) as core, serving(core.address) as web:
        large = await stow(web, part10(frames=[bytes(4000)]))
        mixed = await stow(web, part10(frames=[bytes(4000)]), part10())

    assert large.status_code == 413
    assert (mixed.status_code, reasons(mixed)) == (202, [272])


async def test_outcomes_can_be_requested_in_the_order_of_the_parts(web: httpx.AsyncClient) -> None:
    accepted = {"Accept": "application/vnd.dicomstore.outcomes+json"}
    known, new = part10(SOPInstanceUID="1.2.3"), part10(SOPInstanceUID="1.2.4")
    await stow(web, known)
    changed = part10(SOPInstanceUID="1.2.3", PatientID="another")
    body = multipart(b"not DICOM", known, new, changed)
    response = await web.post("/v2/studies", content=body, headers=STOW | accepted)

    assert response.status_code == 202
    assert response.headers["content-type"] == "application/vnd.dicomstore.outcomes+json"
    outcomes = response.json()
    assert [each["outcome"] for each in outcomes] == ["failed", "unchanged", "stored", "failed"]
    assert [each["sopInstanceUid"] for each in outcomes] == ["", "1.2.3", "1.2.4", "1.2.3"]
    assert outcomes[3]["reason"] == "INSTANCE_ALREADY_EXISTS"
    assert outcomes[0]["message"]
    replacing = await web.put("/v2/studies", content=multipart(changed), headers=STOW | accepted)
    assert [each["outcome"] for each in replacing.json()] == ["replaced"]
