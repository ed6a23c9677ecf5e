"""Transfers over HTTP (docs/api.md, Transfers)."""

from typing import Any

import httpx
import pytest

SEND = {"type": "send", "remote": "PACS", "resources": ["1.2", "1.2/1.2.3/1.2.3.4"]}


async def created(web: httpx.AsyncClient, body: Any) -> dict[str, Any]:
    response = await web.post("/v2/transfers", json=body)
    assert response.status_code == 202, response.text
    transfer: dict[str, Any] = response.json()
    assert response.headers["location"].endswith(f"/v2/transfers/{transfer['id']}")
    return transfer


async def test_a_transfer_is_created_listed_cancelled_and_retried(web: httpx.AsyncClient) -> None:
    transfer = await created(web, SEND)
    expected = {
        **SEND,
        "partition": "Microsoft.Default",
        "state": "waiting",
        "attempts": 0,
        **dict.fromkeys(("total", "completed", "failed", "warnings"), 0),
        "problem": None,
        "rule": None,
    }
    assert {name: value for name, value in transfer.items() if name in expected} == expected
    url = f"/v2/transfers/{transfer['id']}"
    assert (await web.get(url)).json() == transfer
    assert (await web.delete(url)).status_code == 202
    assert (await web.get(url)).json()["state"] == "canceled"
    assert (await web.post(f"{url}/$retry")).json()["state"] == "waiting"
    pull = await created(web, {"type": "pull", "remote": "PACS", "keys": {"PatientID": "1"}, "method": "get"})
    assert (pull["keys"], pull["method"], pull["resources"]) == ({"PatientID": "1"}, "get", [])
    notification = await created(web, {"type": "notification", "remote": "RIS", "resources": ["1.2"]})
    page = await web.get("/v2/transfers?limit=2")
    assert [one["id"] for one in page.json()] == [notification["id"], pull["id"]]
    assert [one["id"] for one in (await web.get(page.links["next"]["url"])).json()] == [transfer["id"]]
    assert [one["id"] for one in (await web.get("/v2/transfers?remote=RIS")).json()] == [notification["id"]]
    assert (await web.get("/v2/transfers?state=failed")).json() == []


async def test_a_repeated_request_returns_the_first_transfer(web: httpx.AsyncClient) -> None:
    first = await created(web, {**SEND, "requestId": "1"})
    assert (await created(web, {**SEND, "requestId": "1"}))["id"] == first["id"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "body",
    [
        [],
        {"remote": "PACS"},
        {"type": "send"},
        {**SEND, "type": "copy"},
        {**SEND, "resources": ["x"]},
        {**SEND, "resources": ["1/2/3/4"]},
        {**SEND, "keys": {"PatientID": "1"}},
        {**SEND, "other": 1},
        {"type": "pull", "remote": "PACS"},
        {"type": "pull", "remote": "PACS", "keys": {"PatientID": 1}},
        {"type": "pull", "remote": "PACS", "resources": ["1.2"], "method": "copy"},
        {"type": "notification", "remote": "PACS", "resources": ["1.2/1.3"]},
    ],
)
async def test_invalid_transfers_are_400(shared_web: httpx.AsyncClient, body: Any) -> None:
    assert (await shared_web.post("/v2/transfers", json=body)).status_code == 400


@pytest.mark.asyncio(loop_scope="module")
async def test_unknown_transfers_are_404(shared_web: httpx.AsyncClient) -> None:
    url = f"/v2/transfers/{'0' * 32}"
    for missing in (shared_web.get(url), shared_web.delete(url), shared_web.post(f"{url}/$retry")):
        assert (await missing).status_code == 404
    assert (await shared_web.get("/v2/transfers?state=x")).status_code == 400
