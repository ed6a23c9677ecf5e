"""Labels and external metadata over a real core (docs/api.md, Labels)."""

import json
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.data import part10
from tests.integration.facade.serving import JSON, MULTIPART, STOW, multipart, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}.1"
PATHS = {
    "study": f"/studies/{STUDY}",
    "series": f"/studies/{STUDY}/series/{SERIES}",
    "instance": f"/studies/{STUDY}/series/{SERIES}/instances/1.2.3",
}
FILE = part10(SOPInstanceUID="1.2.3")
META = {"msdicom-request-meta": "true"}


@pytest.mark.parametrize("level", PATHS)
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_labels_are_replaced_patched_and_removed(web: httpx.AsyncClient, version: str, level: str) -> None:
    await stored(web, FILE)
    path = f"/{version}{PATHS[level]}/labels"
    put = await web.put(path, json={"project": "lung", "b": "ü"})
    assert (put.status_code, put.json()) == (200, {"b": "ü", "project": "lung"})
    patched = await web.patch(path, json={"b": None, "c": "1", "unknown": None})
    assert (patched.status_code, patched.json()) == (200, {"c": "1", "project": "lung"})
    got = await web.get(path)
    assert got.headers["cache-control"] == "no-store"
    assert (got.headers["content-type"], got.json()) == ("application/json; charset=utf-8", patched.json())
    assert (await web.delete(path)).status_code == 204
    assert (await web.get(path)).json() == {}


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        *(("PUT", "[]", 400), ("PUT", '{"a": null}', 400), ("PUT", '{"a": 1}', 400), ("PUT", "{", 400)),
        *(("PUT", '{"a b": ""}', 400), ("PATCH", '{"a b": null}', 400), ("PATCH", '{"a": "\\ud800"}', 400)),
        *(("PATCH", '{"a": "\\n"}', 400), ("PATCH", '{"msdicom-meta-LO-00191101": "x"}', 400), ("POST", "{}", 405)),
    ],
)
async def test_malformed_labels_are_refused(web: httpx.AsyncClient, method: str, body: str, status: int) -> None:
    await stored(web, FILE)
    path = f"/v2{PATHS['study']}/labels"
    headers = {"Content-Type": "application/json"}
    assert (await web.request(method, path, content=body, headers=headers)).status_code == status
    assert (await web.get(path)).json() == {}


async def test_labels_of_an_unknown_resource_are_404(web: httpx.AsyncClient) -> None:
    for path in PATHS.values():
        assert (await web.get(f"/v2{path}/labels")).status_code == 404
        assert (await web.put(f"/v2{path}/labels", json={"a": "1"})).status_code == 404
    assert (await web.get("/v2/studies/x/labels")).status_code == 400


@pytest.mark.asyncio(loop_scope="function")
async def test_labels_belong_to_a_partition(partitioned_web: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await partitioned_web.post(f"/v2/partitions/{name}/studies", content=multipart(FILE), headers=STOW)
    await partitioned_web.put(f"/v2/partitions/a{PATHS['study']}/labels", json={"x": "1"})
    assert (await partitioned_web.get(f"/v2/partitions/b{PATHS['study']}/labels")).json() == {}
    found = [await partitioned_web.get(f"/v2/partitions/{name}/studies?label.x=1", headers=JSON) for name in "ab"]
    assert [answer.status_code for answer in found] == [200, 204]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        *(("label.project=lung", 2), ("LABEL.project=l*", 2), ("label.Project=lung", 0), ("label.project=heart", 1)),
        *(("label.project=lung&label.project=heart", 3), ("label.project=lung&label.done=1", 1), ("label.done=", 3)),
        *(("label.done=%22%22&emptyvaluematching=true", 2), ("label.project=lung&StudyInstanceUID=1.3", 1)),
    ],
)
async def test_studies_are_found_by_labels(web: httpx.AsyncClient, query: str, count: int) -> None:
    await stored(web, *(part10(StudyInstanceUID=f"1.{number}") for number in (2, 3, 4)))
    for study, labels in (
        ("1.2", {"done": "1", "project": "lung"}),
        ("1.3", {"project": "lung"}),
        ("1.4", {"project": "heart"}),
    ):
        await web.put(f"/v2/studies/{study}/labels", json=labels)
    answer = await web.get(f"/v2/studies?{query}", headers=JSON)
    assert "warning" not in answer.headers
    assert len(answer.json() if answer.content else []) == count
    strict = await web.get(f"/v2/studies?{query}", headers={**JSON, "Prefer": "handling=strict"})
    assert strict.status_code == (400 if query.count("project") == 2 or query == "label.done=" else answer.status_code)


async def test_pages_of_labelled_studies_follow_the_link(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10(StudyInstanceUID=f"1.{number}") for number in (2, 3, 4)))
    for number in (2, 3, 4):
        await web.put(f"/v2/studies/1.{number}/labels", json={"project": "lung"})
    first = await web.get("/v2/studies?label.project=lung&limit=2&labels=true", headers=JSON)
    second = await web.get(first.links["next"]["url"], headers=JSON)
    uids = [match["0020000D"]["Value"][0] for answer in (first, second) for match in answer.json()]
    assert uids == ["1.4", "1.3", "1.2"]
    assert all("00991001" in match for match in second.json())


def shown(data_set: dict[str, Any]) -> dict[str, str]:
    """Return the labels in a data set, with their levels."""
    items = data_set.get("00991001", {}).get("Value", [])
    return {
        f"{item['00991002']['Value'][0]} {item['00991003']['Value'][0]}": item["00991004"]["Value"][0] for item in items
    }


async def test_metadata_has_labels_on_request_and_then_no_entity_tag(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    await web.put(f"/v2{PATHS['study']}/labels", json={"project": "lung"})
    path = f"/v2{PATHS['series']}/metadata"
    plain = await web.get(path, headers=JSON)
    assert shown(plain.json()[0]) == {}
    for value in ("1", "2"):
        await web.put(f"/v2{PATHS['instance']}/labels", json={"reviewed": value})
        answer = await web.get(f"{path}?labels=true", headers={**JSON, "If-None-Match": plain.headers["etag"]})
        assert answer.status_code == 200
        assert shown(answer.json()[0]) == {"STUDY project": "lung", "INSTANCE reviewed": value}
        assert "etag" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
    assert (await web.get(path, headers={**JSON, "If-None-Match": plain.headers["etag"]})).status_code == 304
    xml = await web.get(f"{path}?labels=true", headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    assert b'privateCreator="DICOMSTORE"' in xml.content
    assert b"lung" in xml.content
    assert (await web.get(f"{path}?labels=maybe", headers=JSON)).status_code == 400


async def test_the_documented_request_of_azure_stores_external_metadata(web: httpx.AsyncClient) -> None:
    headers = {
        "Accept": 'application/dicom+json, multipart/related; type="application/dicom+json"',
        "msdicom-meta-CS-001912FF": "CS",
        "msdicom-meta-PN-00191100": "PersonName",
        "msdicom-meta-DA-001900FF": "20241231",
    }
    answer = await web.post("/v2/studies", content=multipart(FILE), headers=MULTIPART | headers)
    assert answer.status_code == 200
    [data_set] = (await web.get(f"/v2{PATHS['instance']}/metadata", headers=JSON | META)).json()
    expected = {
        "001900FF": {"vr": "DA", "Value": ["20241231"]},
        "00190011": {"vr": "LO", "Value": ["Microsoft"]},
        "00190012": {"vr": "LO", "Value": ["Microsoft"]},
        "00191100": {"vr": "PN", "Value": [{"Alphabetic": "PersonName"}]},
        "001912FF": {"vr": "CS", "Value": ["CS"]},
    }
    assert expected.items() <= data_set.items()
    [match] = (await web.get("/v2/studies?00191100=PersonName", headers=JSON | META)).json()
    assert expected.items() <= match.items()
    assert (await web.get("/v2/studies?00191100=Other", headers=JSON | META)).status_code == 204
    [data_set] = (await web.get(f"/v2{PATHS['instance']}/metadata", headers=JSON)).json()
    assert not expected.keys() & data_set.keys()


@pytest.mark.parametrize(
    "header", ["msdicom-meta-LO", "msdicom-meta-LO-PatientID", "msdicom-meta-XX-00191100", "msdicom-meta-DA-00191100"]
)
async def test_an_invalid_header_fails_the_whole_request(web: httpx.AsyncClient, header: str) -> None:
    headers = STOW | {"msdicom-meta-LO-00191101": "valid", header: "not a date"}
    assert (await web.post("/v2/studies", content=multipart(FILE), headers=headers)).status_code == 400
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 204


async def test_version_1_ignores_external_metadata(web: httpx.AsyncClient) -> None:
    headers = STOW | {"msdicom-meta-XX-1": "x", "msdicom-meta-LO-00191101": "x"}
    assert (await web.post("/v1/studies", content=multipart(FILE), headers=headers)).status_code == 200
    assert (await web.get(f"/v2{PATHS['study']}/labels")).json() == {}


@pytest.mark.parametrize("value", ["Müller".encode(), "Müller".encode("latin-1")])
async def test_values_are_utf_8_or_latin_1(web: httpx.AsyncClient, value: bytes) -> None:
    headers = [*STOW.items(), ("msdicom-meta-PN-00191100", value)]
    await web.post("/v2/studies", content=multipart(FILE), headers=headers)  # type: ignore[arg-type]
    labels = (await web.get(f"/v2{PATHS['study']}/labels")).json()
    assert labels == {"msdicom-meta-PN-00191100": "Müller"}, json.dumps(labels)
