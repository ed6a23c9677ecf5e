"""Deleting, and the change feed, over a real core (docs/api.md)."""

from typing import Any

import httpx
import pytest

from tests.data import part10
from tests.integration.facade.serving import JSON, stored, stow

STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}.1"
FILE = part10(SOPInstanceUID="1.2.3", frames=[bytes(2000)])


async def feed(web: httpx.AsyncClient, path: str = "/v2/changefeed") -> list[dict[str, Any]]:
    response = await web.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    entries: list[dict[str, Any]] = response.json()
    return entries


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/studies/{STUDY}",
        f"/v2/studies/{STUDY}/series/{SERIES}",
        f"/v2/studies/{STUDY}/series/{SERIES}/instances/1.2.3",
    ],
)
async def test_a_deleted_resource_is_not_found_at_once(web: httpx.AsyncClient, path: str) -> None:
    await stored(web, FILE)
    response = await web.delete(path)

    assert (response.status_code, response.content) == (204, b"")
    assert (await web.delete(path)).status_code == 404
    assert (await web.get(f"/v2/studies/{STUDY}", headers={"Accept": "*/*"})).status_code == 404
    assert (await web.get("/v2/instances", headers=JSON)).status_code == 204


async def test_an_invalid_uid_is_refused(web: httpx.AsyncClient) -> None:
    assert (await web.delete("/v2/studies/x")).status_code == 400


async def test_the_feed_has_creations_and_deletions(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    await web.delete(f"/v2/studies/{STUDY}")
    await stored(web, FILE)
    entries = await feed(web)

    assert [(entry["action"], entry["state"]) for entry in entries] == [
        ("Create", "Replaced"),
        ("Delete", "Replaced"),
        ("Create", "Current"),
    ]
    first = entries[0]
    assert (first["studyInstanceUid"], first["seriesInstanceUid"], first["sopInstanceUid"]) == (STUDY, SERIES, "1.2.3")
    assert first["partitionName"] == "Microsoft.Default"
    assert first["timestamp"].endswith("Z")
    assert entries[2]["metadata"]["7FE00010"]["BulkDataURI"] == (
        f"{web.base_url}/v2/studies/{STUDY}/series/{SERIES}/instances/1.2.3/bulkdata/7FE00010"
    )


async def test_a_deleted_instance_has_no_metadata(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    await web.delete(f"/v2/studies/{STUDY}")

    assert [(entry["state"], "metadata" in entry) for entry in await feed(web)] == [("Deleted", False)] * 2


async def test_metadata_is_omitted_on_request(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)

    assert "metadata" not in (await feed(web, "/v2/changefeed?includeMetadata=false"))[0]


async def test_v1_selects_sequence_ranges_and_v2_selects_pages(web: httpx.AsyncClient) -> None:
    await stow(web, *[part10() for _ in range(12)])

    sequences = [entry["sequence"] for entry in await feed(web)]
    assert sequences == list(range(1, 13))
    assert [entry["sequence"] for entry in await feed(web, "/v1/changefeed")] == sequences[:10]
    assert [entry["sequence"] for entry in await feed(web, "/v1/changefeed?offset=10&limit=5")] == [11, 12]
    assert [entry["sequence"] for entry in await feed(web, "/v2/changefeed?offset=10&limit=1")] == [11]
    assert await feed(web, "/v2/changefeed?offset=12") == []


async def test_v2_selects_by_time(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    (entry,) = await feed(web)

    assert len(await feed(web, f"/v2/changefeed?startTime={entry['timestamp']}")) == 1
    assert await feed(web, f"/v2/changefeed?endTime={entry['timestamp']}") == []


async def test_the_latest_change(web: httpx.AsyncClient) -> None:
    assert (await web.get("/v2/changefeed/latest")).status_code == 204
    await stored(web, part10(), FILE)
    for version in ("v1", "v2"):
        latest = (await web.get(f"/{version}/changefeed/latest?includeMetadata=false")).json()
        assert latest == (await feed(web, "/v2/changefeed?includeMetadata=false"))[-1]


async def test_a_deleted_instance_can_be_stored_again(web: httpx.AsyncClient) -> None:
    await stored(web, FILE)
    await web.delete(f"/v2/studies/{STUDY}")

    assert (await stow(web, FILE)).status_code == 200
