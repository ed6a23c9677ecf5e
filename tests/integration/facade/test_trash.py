"""Restoring, listing and erasing deleted instances over a real core (docs/api.md, Deleting)."""

import httpx
import pytest

from tests.data import part10
from tests.integration.facade.serving import JSON, stored

STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}.1"
INSTANCE = f"/studies/{STUDY}/series/{SERIES}/instances/1.2.3"
FILE = part10(SOPInstanceUID="1.2.3", frames=[bytes(2000)])


@pytest.mark.parametrize("path", [f"/v1/studies/{STUDY}", f"/v2/studies/{STUDY}/series/{SERIES}", f"/v2{INSTANCE}"])
async def test_a_deleted_resource_is_restored(web: httpx.AsyncClient, path: str) -> None:
    await stored(web, FILE)
    await web.delete(path)
    answer = await web.post(f"{path}/$undelete")
    assert (answer.status_code, answer.json()) == (200, {"restoredInstances": 1})
    found = await web.get(f"/v2{INSTANCE}", headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert found.content == FILE
    assert (await web.post(f"{path}/$undelete")).status_code == 404


async def test_an_invalid_uid_is_refused(web: httpx.AsyncClient) -> None:
    assert (await web.post("/v2/studies/x/$undelete")).status_code == 400


@pytest.mark.parametrize(
    ("query", "headers", "reason"),
    [
        ("", {"X-Dicomstore-Reason": "Löschung".encode()}, "Löschung"),
        ("", {"X-Dicomstore-Reason": "Löschung".encode("latin-1")}, "Löschung"),
        ("?reason=L%C3%B6schung", {"X-Dicomstore-Reason": b"other"}, "Löschung"),
        ("", {}, None),
    ],
)
async def test_a_deletion_is_listed_with_its_reason(
    web: httpx.AsyncClient, query: str, headers: dict[str, bytes], reason: str | None
) -> None:
    await stored(web, FILE)
    await web.delete(f"/v2/studies/{STUDY}/series/{SERIES}{query}", headers=list(headers.items()))
    answer = await web.get("/v2/deleted")
    assert answer.headers["cache-control"] == "no-store"
    [deletion] = answer.json()
    times = deletion.pop("deletedTime"), deletion.pop("erasedTime")
    assert times[0] < times[1]
    assert deletion.pop("partitionName")
    expected = {"studyInstanceUid": STUDY, "seriesInstanceUid": SERIES, "author": "anonymous", "instances": 1}
    assert deletion == expected | ({"reason": reason} if reason else {})


async def test_the_list_has_pages_and_filters(web: httpx.AsyncClient) -> None:
    for number in (1, 2, 3):
        await stored(web, part10(SOPInstanceUID=f"1.2.{number}"))
        await web.delete(f"/v2/studies/{STUDY}/series/{SERIES}/instances/1.2.{number}")
    first = await web.get(f"/v2/deleted?limit=2&StudyInstanceUID={STUDY}&startTime=2020-01-01T00:00:00Z")
    assert [one["sopInstanceUid"] for one in first.json()] == ["1.2.3", "1.2.2"]
    second = await web.get(first.links["next"]["url"])
    assert [one["sopInstanceUid"] for one in second.json()] == ["1.2.1"]
    assert "next" not in second.links
    assert (await web.get("/v2/deleted?StudyInstanceUID=1.9")).json() == []
    assert (await web.get("/v2/deleted?endTime=2020-01-01T00:00:00Z")).json() == []


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "pagetoken=x", "StudyInstanceUID=x", "SeriesInstanceUID=1.2"),
        *("startTime=2020-01-01", "startTime=x", "startTime=0001-01-01T00:00:00%2B14:00"),
    ],
)
async def test_an_invalid_list_is_refused(web: httpx.AsyncClient, query: str) -> None:
    assert (await web.get(f"/v2/deleted?{query}")).status_code == 400


async def test_an_erased_resource_is_not_restored(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    await web.delete(f"/v2{INSTANCE}")
    assert (await web.delete(f"/v2/studies/{STUDY}?erase=later")).status_code == 400
    assert (await web.delete(f"/v2/studies/{STUDY}?erase=now")).status_code == 204
    refused = await web.post(f"/v2/studies/{STUDY}/$undelete")
    assert (refused.status_code, refused.text) == (404, "There are no deleted instances to restore.")
    assert (await web.delete("/v2/studies/1.9?erase=now")).status_code == 404
    assert (await web.get("/v2/instances", headers=JSON)).status_code == 204
