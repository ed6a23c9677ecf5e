"""Partitions over a real core (docs/api.md, Partitions)."""

import asyncio

import httpx
import pytest

from tests.data import part10
from tests.integration.facade.serving import JSON, stored, stow

STUDY = "1.2.826.0.1.3680043.10.1.1"
FILE = part10(SOPInstanceUID="1.2.3", frames=[bytes(2000)])


@pytest.mark.parametrize("path", ["/v2/partitions", "/v1/partitions/p1/studies", f"/v2/partitions/p1/studies/{STUDY}"])
async def test_partitions_are_refused_if_disabled(web: httpx.AsyncClient, path: str) -> None:
    response = await web.get(path, headers={"Accept": "*/*"})

    assert (response.status_code, response.text) == (400, "Data partitions feature is disabled.")


async def test_each_request_must_name_a_partition_if_enabled(partitioned_web: httpx.AsyncClient) -> None:
    for response in (
        await partitioned_web.get("/v2/studies", headers=JSON),
        await partitioned_web.delete(f"/v2/studies/{STUDY}"),
        await stow(partitioned_web, FILE),
    ):
        assert (response.status_code, response.text) == (400, "PartitionName value is missing in the route segment.")


async def test_an_upload_refused_midway_gets_the_reason(partitioned_web: httpx.AsyncClient) -> None:
    answers = [await stow(partitioned_web, bytes(10 << 20)) for _ in range(10)]

    assert {answer.text for answer in answers} == {"PartitionName value is missing in the route segment."}


async def test_an_unknown_partition_is_refused_and_created_by_storing(partitioned_web: httpx.AsyncClient) -> None:
    unknown = await partitioned_web.get("/v2/partitions/p1/studies", headers=JSON)
    assert (unknown.status_code, unknown.text) == (400, "Specified PartitionName does not exist.")

    await stored(partitioned_web, FILE, base="/v2/partitions/p1")
    names = [row["partitionName"] for row in (await partitioned_web.get("/v1/partitions")).json()]
    assert names == ["Microsoft.Default", "p1"]


async def test_partitions_are_listed_with_key_and_date(partitioned_web: httpx.AsyncClient) -> None:
    (row,) = (await partitioned_web.get("/v2/partitions")).json()

    assert row["partitionKey"] == 1
    assert row["partitionName"] == "Microsoft.Default"
    assert row["createdDate"].endswith("Z")


async def test_an_invalid_partition_name_is_refused(partitioned_web: httpx.AsyncClient) -> None:
    assert (await stow(partitioned_web, FILE, path="/v2/partitions/a%20b/studies")).status_code == 400


async def test_two_partitions_can_have_the_same_instance(partitioned_web: httpx.AsyncClient) -> None:
    for name in ("p1", "p2"):
        await stored(partitioned_web, FILE, base=f"/v2/partitions/{name}")
    await partitioned_web.delete(f"/v2/partitions/p1/studies/{STUDY}")

    assert (await partitioned_web.get("/v2/partitions/p1/studies", headers=JSON)).status_code == 204
    assert (await partitioned_web.get("/v2/partitions/p2/studies", headers=JSON)).status_code == 200


async def test_urls_name_the_partition(partitioned_web: httpx.AsyncClient) -> None:
    answer = (await stow(partitioned_web, FILE, path="/v2/partitions/p1/studies")).json()
    instance = f"{partitioned_web.base_url}/v2/partitions/p1/studies/{STUDY}/series/{STUDY}.1/instances/1.2.3"
    assert answer["00081199"]["Value"][0]["00081190"]["Value"] == [instance]

    (data_set,) = (await partitioned_web.get(f"{instance}/metadata", headers=JSON)).json()
    assert data_set["7FE00010"]["BulkDataURI"] == f"{instance}/bulkdata/7FE00010"
    (entry,) = (await partitioned_web.get("/v2/changefeed")).json()
    assert entry["partitionName"] == "p1"
    assert entry["metadata"]["7FE00010"]["BulkDataURI"] == f"{instance}/bulkdata/7FE00010"


async def test_a_deleted_partition_disappears_and_can_be_created_again(partitioned_web: httpx.AsyncClient) -> None:
    await stored(partitioned_web, FILE, base="/v2/partitions/p1")
    await stored(partitioned_web, FILE, base="/v2/partitions/p2")
    assert (await partitioned_web.delete("/v2/partitions/p1?reason=moved")).status_code == 204
    assert (await partitioned_web.delete("/v2/partitions/p1")).status_code == 404
    names = [row["partitionName"] for row in (await partitioned_web.get("/v2/partitions")).json()]
    assert names == ["Microsoft.Default", "p2"]
    assert (await partitioned_web.get("/v2/partitions/p1/studies", headers=JSON)).status_code == 400
    async with asyncio.timeout(30):
        while (await stow(partitioned_web, FILE, path="/v2/partitions/p1/studies")).status_code == 409:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert len((await partitioned_web.get("/v2/partitions/p1/instances", headers=JSON)).json()) == 1
    actions = [(one["partitionName"], one["action"]) for one in (await partitioned_web.get("/v2/changefeed")).json()]
    assert actions == [("p1", "Create"), ("p2", "Create"), ("p1", "Delete"), ("p1", "Create")]


async def test_the_default_partition_and_one_with_a_hold_are_not_deleted(partitioned_web: httpx.AsyncClient) -> None:
    await stored(partitioned_web, FILE, base="/v2/partitions/p1")
    await partitioned_web.put(f"/v2/partitions/p1/studies/{STUDY}/hold", json={"reason": "complaint"})
    answer = await partitioned_web.delete("/v2/partitions/p1")
    assert answer.status_code == 409
    assert "is on hold: complaint" in answer.text
    assert (await partitioned_web.delete("/v2/partitions/Microsoft.Default")).status_code == 409
    assert (await partitioned_web.delete("/v2/partitions/unknown")).status_code == 404
    assert (await partitioned_web.delete("/v2/partitions/a%20b")).status_code == 400
    assert len((await partitioned_web.get("/v2/partitions")).json()) == 2
