"""Consumers of the change feed, over HTTP and gRPC (docs/api.md, Consumers)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import serving, stored
from tests.integration.facade.test_change_stream import STREAM, opened
from tests.integration.security.callers import bearer, create_token, operator_token

ROUTER = "/v2/changefeed/consumers/router"


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_archive_keeps_the_position_of_a_consumer(web: httpx.AsyncClient, version: str) -> None:
    url = f"/{version}/changefeed/consumers/router"
    assert (await web.get(url)).status_code == 404
    for sequence in (3, 5, 4):
        put = await web.put(url, json={"sequence": sequence})
        assert put.status_code == 200
        got = (await web.get(url)).json()
        assert got == put.json()
        assert got.pop("updated").endswith("Z")
        assert got == {"name": "router", "owner": "anonymous", "sequence": sequence}
    assert (await web.delete(url)).status_code == 204
    assert (await web.delete(url)).status_code == 404


async def test_two_workers_of_a_consumer_notice_each_other(web: httpx.AsyncClient) -> None:
    assert (await web.put(ROUTER, json={"sequence": 3, "expectedSequence": 0})).status_code == 200
    moved = await web.put(ROUTER, json={"sequence": 4, "expectedSequence": 0})
    assert moved.status_code == 409
    assert "position 3" in moved.text
    assert (await web.get(ROUTER)).json()["sequence"] == 3
    assert (await web.put(ROUTER, json={"sequence": 4, "expectedSequence": 3})).status_code == 200


async def test_consumers_are_listed_by_name_in_pages(web: httpx.AsyncClient) -> None:
    for name in ("b", "c", "a"):
        await web.put(f"/v2/changefeed/consumers/{name}", json={"sequence": 1})
    first = (await web.get("/v2/changefeed/consumers?limit=2")).json()
    assert [each["name"] for each in first] == ["a", "b"]
    rest = (await web.get("/v2/changefeed/consumers?limit=2&after=b")).json()
    assert [each["name"] for each in rest] == ["c"]


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("PUT", ROUTER, {}),
        ("PUT", ROUTER, []),
        ("PUT", ROUTER, {"sequence": -1}),
        ("PUT", ROUTER, {"sequence": "1"}),
        ("PUT", ROUTER, {"sequence": True}),
        ("PUT", ROUTER, {"sequence": 2**63}),
        ("PUT", ROUTER, {"sequence": 1, "expectedSequence": -1}),
        ("PUT", ROUTER, {"sequence": 1, "other": 1}),
        ("PUT", "/v2/changefeed/consumers/-x", {"sequence": 1}),
        ("PUT", "/v2/changefeed/consumers/" + "x" * 65, {"sequence": 1}),
        ("GET", "/v2/changefeed/consumers/a%20b", None),
        ("GET", "/v2/changefeed/consumers?limit=0", None),
        ("GET", "/v2/changefeed/consumers?after=a%20b", None),
        ("GET", f"{STREAM}?consumer=a%20b", None),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_invalid_requests_are_400(shared_web: httpx.AsyncClient, method: str, url: str, body: Any) -> None:
    assert (await shared_web.request(method, url, json=body)).status_code == 400


async def test_a_stream_starts_after_the_position_of_a_consumer_and_does_not_move_it(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10() for _ in range(3)))
    for position, headers, expected in ((None, {}, "1"), (1, {}, "2"), (1, {"Last-Event-ID": "2"}, "3")):
        if position is not None:
            await web.put(ROUTER, json={"sequence": position})
        async with opened(web, f"{STREAM}?consumer=router", **headers) as events:
            [change] = await events.changes(1)
        assert change["id"] == expected
    assert (await web.get(ROUTER)).json()["sequence"] == 1


@asynccontextmanager
async def closed_archive(data: Path) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, dict[str, str]]]]:
    """Yield a facade and the headers of several principals."""
    async with (
        running(settings_for(data, auth_required=True, partitions=True)) as core,
        serving(core.address) as web,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        operator = operator_token(data)
        tokens = {"operator": operator}
        for name, roles, partitions in (
            ("alice", ("globalReader",), ()),
            ("bob", ("globalReader",), ()),
            ("ward", ("globalAdmin",), ("ward",)),
        ):
            created = await create_token(channel, *roles, partitions=partitions, by=bearer(operator))
            tokens[name] = created.secret
        yield web, {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}


async def test_a_consumer_belongs_to_the_principal_that_created_it(tmp_path: Path) -> None:
    async with closed_archive(tmp_path) as (web, who):
        created = await web.put(ROUTER, json={"sequence": 3}, headers=who["alice"])
        assert created.status_code == 200
        for other in ("bob", "ward"):
            assert (await web.get(ROUTER, headers=who[other])).status_code == 404
            assert (await web.put(ROUTER, json={"sequence": 4}, headers=who[other])).status_code == 404
            assert (await web.delete(ROUTER, headers=who[other])).status_code == 404
            assert (await web.get("/v2/changefeed/consumers", headers=who[other])).json() == []
            assert (await web.get(f"{STREAM}?consumer=router", headers=who[other])).status_code == 404
        by_operator = await web.put(ROUTER, json={"sequence": 5}, headers=who["operator"])
        assert by_operator.json()["owner"] == created.json()["owner"]
        for name in ("alice", "operator"):
            [listed] = (await web.get("/v2/changefeed/consumers", headers=who[name])).json()
            assert listed["sequence"] == 5
        assert (await web.delete(ROUTER, headers=who["operator"])).status_code == 204
