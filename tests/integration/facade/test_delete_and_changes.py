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


@pytest.mark.parametrize(
    ("version", "query"),
    [
        *((version, query) for version in ("v1", "v2") for query in ("limit=0", "limit=-1", "limit=x", "limit=201")),
        *((version, query) for version in ("v1", "v2") for query in ("offset=-1", "offset=x", "includeMetadata=2")),
        ("v1", "limit=101"),
        *(("v2", f"{name}={date}") for name in ("startTime", "endTime") for date in ("x", "2026-13-01T00:00:00Z")),
        ("v2", "startTime=2026-02-03T04:05:06Z&endTime=2026-02-03T04:05:06Z"),
        ("v2", "startTime=2026-02-03T04:05:06Z&endTime=2026-02-03T05:05:06%2B01:00"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_invalid_window_is_400(shared_web: httpx.AsyncClient, version: str, query: str) -> None:
    assert (await shared_web.get(f"/{version}/changefeed?{query}")).status_code == 400


@pytest.mark.asyncio(loop_scope="module")
async def test_a_time_without_a_zone_is_400_with_the_reason(shared_web: httpx.AsyncClient) -> None:
    refused = await shared_web.get("/v2/changefeed?startTime=2026-02-03T04:05:06")

    assert refused.status_code == 400
    assert "must carry a time zone" in refused.text


@pytest.mark.parametrize("query", ["", "?offset=1000000", "?limit=100", "?startTime=2026-02-03T04:05:06Z"])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_window_without_entries_is_an_empty_array(
    shared_web: httpx.AsyncClient, version: str, query: str
) -> None:
    assert await feed(shared_web, f"/{version}/changefeed{query}") == []


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_entries_have_the_metadata_of_the_current_version(web: httpx.AsyncClient, version: str) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", PatientID="first"))
    await web.delete(f"/v2/studies/{STUDY}")
    await stored(web, part10(SOPInstanceUID="1.2.3", PatientID="second"))

    for entry in await feed(web, f"/{version}/changefeed"):
        assert entry["metadata"]["00100020"] == {"vr": "LO", "Value": ["second"]}
    latest = (await web.get(f"/{version}/changefeed/latest")).json()
    assert latest == (await feed(web, f"/{version}/changefeed"))[-1]
    assert list(latest) == [
        *("sequence", "partitionName", "studyInstanceUid", "seriesInstanceUid", "sopInstanceUid"),
        *("action", "timestamp", "state", "metadata"),
    ]


async def test_v1_ignores_times_and_returns_fewer_entries_than_its_limit_where_sequences_have_gaps(
    partitioned_web: httpx.AsyncClient,
) -> None:
    for partition in ("a", "b"):
        await stored(partitioned_web, part10(), base=f"/v2/partitions/{partition}")

    entries = await feed(partitioned_web, "/v1/changefeed?offset=1&limit=100&startTime=x&endTime=y")
    assert [(entry["sequence"], entry["partitionName"]) for entry in entries] == [(2, "b")]
    window = f"startTime={entries[0]['timestamp']}&limit=200"
    assert [entry["sequence"] for entry in await feed(partitioned_web, f"/v2/changefeed?{window}")] == [2]


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
