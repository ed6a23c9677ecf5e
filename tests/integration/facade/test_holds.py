"""Holds over a real core (docs/api.md, Holds)."""

from typing import Any

import httpx
import pytest

from tests.data import part10
from tests.integration.facade.serving import JSON, STOW, multipart, stored

STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}.1"
LEVELS = (
    f"/studies/{STUDY}",
    f"/studies/{STUDY}/series/{SERIES}",
    f"/studies/{STUDY}/series/{SERIES}/instances/1.2.3",
)
FILE = part10(SOPInstanceUID="1.2.3", frames=[bytes(2000)])


@pytest.mark.parametrize("path", [f"/v1{LEVELS[0]}", f"/v2{LEVELS[1]}", f"/v2{LEVELS[2]}"])
async def test_what_is_on_hold_is_not_deleted_until_the_hold_is_released(web: httpx.AsyncClient, path: str) -> None:
    await stored(web, FILE)
    answer = await web.put(f"{path}/hold", json={"reason": "Prüfung", "name": "audit"})
    assert answer.status_code == 200
    hold = answer.json()
    assert (hold["name"], hold["reason"], hold["author"], hold["studyInstanceUid"]) == (
        *("audit", "Prüfung", "anonymous"),
        STUDY,
    )
    for level in LEVELS:
        for query in ("", "?erase=now"):
            refused = await web.delete(f"/v2{level}{query}")
            assert refused.status_code == 409
            assert "is on hold (audit): Prüfung" in refused.text
        assert (await web.get(f"/v2{level}/hold")).json() == [hold]
    assert (await web.get("/v2/holds")).json() == [hold]
    assert (await web.delete(f"{path}/hold")).status_code == 404
    assert (await web.delete(f"{path}/hold?name=audit&reason=done")).status_code == 204
    assert (await web.delete(path)).status_code == 204


async def test_what_is_on_hold_is_not_replaced_and_the_response_has_the_reason(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    await web.put(f"/v2{LEVELS[1]}/hold", json={"reason": "Prüfung"})
    other = part10(SOPInstanceUID="1.2.3", frames=[bytes(2001)])
    refused = await web.put("/v2/studies", content=other, headers=JSON | {"Content-Type": "application/dicom"})
    [failed] = refused.json()["00081198"]["Value"]
    assert (refused.status_code, failed["00081197"]["Value"]) == (409, [272])
    assert failed["00000902"]["Value"] == [f"Series {SERIES} is on hold: Prüfung"]


async def test_deleted_instances_can_be_put_on_hold(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    await web.delete(f"/v2{LEVELS[0]}")
    assert (await web.put(f"/v2{LEVELS[2]}/hold", json={"reason": "late"})).status_code == 200
    assert (await web.delete(f"/v2{LEVELS[0]}?erase=now")).status_code == 409
    assert (await web.post(f"/v2{LEVELS[0]}/$undelete")).json() == {"restoredInstances": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "The request body is invalid: It must be an object."),
        ({"colour": "red"}, "The request body is invalid: Only name, reason are allowed."),
        ({"reason": 1}, "The field 'reason' in request body is invalid: It must be a string."),
    ],
)
async def test_an_invalid_body_is_refused_with_the_field(web: httpx.AsyncClient, body: Any, message: str) -> None:
    answer = await web.put(f"/v2{LEVELS[0]}/hold", json=body)
    assert (answer.status_code, answer.text) == (400, message)


async def test_the_list_of_holds_has_pages(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    for name in "abc":
        await web.put(f"/v2{LEVELS[0]}/hold", json={"reason": "many", "name": name})
    for path in ("/v2/holds", f"/v2{LEVELS[1]}/hold"):
        first = await web.get(f"{path}?limit=2")
        second = await web.get(first.links["next"]["url"])
        assert [one["name"] for one in (*first.json(), *second.json())] == ["c", "b", "a"]
        assert "next" not in second.links


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/studies/x/hold", {"reason": "r"}, 400),
        ("/v2/studies/1.9/hold", {"reason": "r"}, 404),
        (f"/v2/studies/{STUDY}/series/1.9/hold", {"reason": "r"}, 404),
        (f"/v2/studies/{STUDY}/hold", {}, 400),
        (f"/v2/studies/{STUDY}/hold", {"reason": " "}, 400),
        (f"/v2/studies/{STUDY}/hold", {"reason": "x" * 501}, 400),
        (f"/v2/studies/{STUDY}/hold", {"reason": "two\nlines"}, 400),
        (f"/v2/studies/{STUDY}/hold", {"reason": "r", "name": "x" * 65}, 400),
        (f"/v2/studies/{STUDY}/hold", {"reason": 1}, 400),
        (f"/v2/studies/{STUDY}/hold", {"reason": "r", "other": "x"}, 400),
    ],
)
async def test_an_invalid_hold_is_refused(
    web: httpx.AsyncClient, path: str, body: dict[str, object], status: int
) -> None:
    await stored(web, FILE)
    assert (await web.put(path, json=body)).status_code == status
    assert (await web.get("/v2/holds")).json() == []


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_what_is_on_hold_is_not_replaced_and_other_instances_of_the_request_are(
    web: httpx.AsyncClient, version: str
) -> None:
    other = part10(SOPInstanceUID="1.2.4", SeriesInstanceUID=f"{STUDY}.2")
    await stored(web, FILE, other)
    await web.put(f"/v2{LEVELS[1]}/hold", json={"reason": "complaint"})
    changed = [
        part10(SOPInstanceUID="1.2.3", PatientID="new"),
        part10(SOPInstanceUID="1.2.4", SeriesInstanceUID=f"{STUDY}.2", PatientID="new"),
    ]
    answer = await web.put(f"/{version}/studies", content=multipart(*changed), headers=STOW)
    assert answer.status_code == 202
    [failed] = answer.json()["00081198"]["Value"]
    assert failed["00081155"]["Value"] == ["1.2.3"]
    assert failed["00081197"]["Value"] == [272]
    found = await web.get(f"/v2{LEVELS[2]}", headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert found.content == FILE
