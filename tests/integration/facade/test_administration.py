"""Operations, audit trail, access tokens, permissions and storage use over HTTP."""

from pathlib import Path
from typing import Any

import httpx

from server.bootstrap.serving import running
from tests.audit import audited
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import next_of, serving, stored
from tests.integration.security.callers import operator_token

FILES = [part10(StudyInstanceUID=f"1.{n}", SeriesInstanceUID=f"1.{n}.1", SOPInstanceUID=f"1.{n}.1.1") for n in (1, 2)]


async def rows(web: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    """Return the rows of all pages of a list."""
    found: list[dict[str, Any]] = []
    following: str | None = url
    while following:
        page = await web.get(following)
        assert page.status_code == 200, page.text
        assert page.headers["cache-control"] == "no-store"
        found += page.json()
        following = next_of(page)
    return found


async def test_operations_are_listed_newest_first_with_their_failed_items(web: httpx.AsyncClient) -> None:
    await stored(web, *FILES)
    tag = await web.post("/v2/extendedquerytags", json=[{"path": "StationName", "level": "Series"}])
    change = {"studyInstanceUids": ["1.1"], "changeDataset": {"00100020": {"vr": "LO", "Value": ["P-1"]}}}
    update = await web.post("/v2/studies/$bulkUpdate", json=change)
    ids = [answer.json()["id"] for answer in (tag, update)]
    found = await rows(web, "/v2/operations?limit=1")
    assert [one["operationId"] for one in found] == ids[::-1]
    assert [one["type"] for one in found] == ["update", "reindex"]
    assert found[0].keys() >= {"status", "items", "href", "createdTime", "percentComplete"}
    assert (await web.get(found[0]["href"])).json()["operationId"] == ids[1]
    assert await rows(web, "/v2/operations?type=export,import") == []
    assert len(await rows(web, "/v2/operations?type=reindex,update&status=notStarted,running,succeeded")) == 2
    assert (await web.get("/v2/operations?status=done")).status_code == 400
    assert await rows(web, f"/v2/operations/{ids[0]}/errors") == []
    assert (await web.get(f"/v2/operations/{'0' * 32}/errors")).status_code == 404


async def test_the_audit_trail_is_searched_page_by_page(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        await stored(web, *FILES)
        await web.delete("/v2/studies/1.1")
        await audited(tmp_path, kind="executed", subtype="delete")
        newest = await rows(web, "/v2/audit?limit=2&StudyInstanceUID=1.1")
        assert [one["subtype"] for one in newest if one["kind"] != "executing"] == ["delete", "store"]
        assert await rows(web, "/v2/audit?limit=2&StudyInstanceUID=1.1&order=oldest") == newest[::-1]
        assert [one["kind"] for one in await rows(web, "/v2/audit?action=delete&outcome=success")] == ["executed"]
        assert await rows(web, "/v2/audit?action=delete&endTime=2020-01-01T00:00:00Z") == []
        for query in ("order=x", "startTime=x", "StudyInstanceUID=x", "limit=201", "pagetoken=x"):
            assert (await web.get(f"/v2/audit?{query}")).status_code == 400, query


async def test_tokens_are_created_listed_and_revoked(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, partitions=True)) as core, serving(core.address) as web:
        assert (await web.get("/v2/me")).json()["authenticationRequired"] is False
        body = {"name": "gateway", "roles": ["writer"], "partitions": ["ward"], "expiresInSeconds": 3600}
        assert (await web.post("/v2/tokens", json=body)).status_code == 400  # the partition does not exist
        created = await web.post("/v2/tokens", json={**body, "createPartitions": True})
        assert created.status_code == 201, created.text
        token = created.json()
        assert created.headers["location"].endswith(f"/v2/tokens/{token['id']}")
        web.headers["Authorization"] = f"Bearer {token['token']}"
        me = (await web.get("/v2/me")).json()
        assert (me["id"], me["roles"], me["authenticationRequired"]) == (f"token:{token['id']}", ["writer"], True)
        assert me["grants"] == [{"actions": ["read", "write"], "partitionName": "ward"}]
        assert (me["partitionsEnabled"], me["knownRoles"]) == (True, [])
        assert (await web.get("/v2/tokens")).status_code == 403
        web.headers["Authorization"] = f"Bearer {operator_token(tmp_path)}"
        me = (await web.get("/v2/me")).json()
        assert "administer" in me["grants"][0]["actions"]
        assert me["knownRoles"] == ["auditor", "globalAdmin", "globalReader", "monitor", "writer"]
        secret = token.pop("token")
        listed = await rows(web, "/v2/tokens?limit=1")
        assert [{**one, "lastUsedTime": None} for one in listed] == [{**token, "lastUsedTime": None}]
        assert (await web.delete(f"/v2/tokens/{token['id']}")).status_code == 204
        assert await rows(web, "/v2/tokens") == []
        assert [one["id"] for one in await rows(web, "/v2/tokens?includeinvalid=true")] == [token["id"]]
        assert (await web.get("/v2/me", headers={"Authorization": f"Bearer {secret}"})).status_code == 401


async def test_an_invalid_token_request_is_refused(web: httpx.AsyncClient) -> None:
    valid = {"name": "x", "roles": ["writer"]}
    later = {"expiresTime": "2099-01-01T00:00:00Z"}
    for body in (
        {},
        valid,
        {**valid, "expiresInSeconds": 0},
        {**valid, "expiresInSeconds": 9, **later},
        {**valid, "expiresTime": "tomorrow"},
        {**valid, **later, "roles": ["unknown"]},
        {**valid, **later, "roles": "writer"},
    ):
        assert (await web.post("/v2/tokens", json=body)).status_code == 400, body


async def test_the_storage_use_of_each_partition(partitioned_web: httpx.AsyncClient) -> None:
    await stored(partitioned_web, *FILES, base="/v2/partitions/ward")
    default, ward = await rows(partitioned_web, "/v2/usage")
    assert (default["studies"], ward["partitionName"]) == (0, "ward")
    assert (ward["studies"], ward["series"], ward["instances"]) == (2, 2, 2)
    assert ward["storedBytes"] == sum(map(len, FILES))
