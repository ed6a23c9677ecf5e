"""Webhooks and events of studies over HTTP (docs/api.md)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from facade.errors import Refusal
from facade.events.studies import parse_start
from facade.events.webhooks import _OF_CHANGE
from facade.request.json_body import typed_fields
from facade.request.query import Parameter
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import new_uid, part10
from tests.integration.facade.serving import serving, stored
from tests.receiver import receiving

URL = "https://receiver.example/"


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A facade of a core in which studies are quiet soon, and that sends events to this machine."""
    settings = settings_for(
        tmp_path, study_quiet_seconds=1, webhook_http=True, webhook_networks="127.0.0.1", webhook_retry_hours=0
    )
    async with running(settings) as core, serving(core.address) as client:
        yield client


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_webhook_is_created_changed_and_removed(web: httpx.AsyncClient, version: str) -> None:
    base = f"/{version}/webhooks"
    made = await web.post(base, json={"url": URL, "types": ["dicomstore.StudyStable"], "label": "AI"})
    assert made.status_code == 201
    webhook: dict[str, Any] = made.json()
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    assert made.headers["location"].endswith(f"{base}/{webhook['id']}")
    assert {name: webhook[name] for name in ("url", "label", "types", "partitions", "enabled", "problem")} == {
        "url": URL,
        "label": "AI",
        "types": ["dicomstore.StudyStable"],
        "partitions": [],
        "enabled": True,
        "problem": None,
    }
    assert (await web.get(f"{base}/{webhook['id']}")).json() == webhook
    assert (await web.get(base)).json() == [webhook]
    changed = await web.patch(f"{base}/{webhook['id']}", json={"enabled": False, "types": [], "label": None})
    assert changed.json() == {**webhook, "enabled": False, "types": []}
    rotated = await web.patch(f"{base}/{webhook['id']}", json={"rotateSecret": True})
    assert rotated.json()["secret"] not in ("", secret)
    assert (await web.delete(f"{base}/{webhook['id']}")).status_code == 204
    for gone in (web.get(f"{base}/{webhook['id']}"), web.delete(f"{base}/{webhook['id']}")):
        assert (await gone).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"url": 1},
        {"url": URL, "other": 1},
        {"types": "dicomstore.StudyStable"},
        {"types": [1]},
        {"enabled": "true"},
        {"rotateSecret": 1},
    ],
)
def test_malformed_bodies_are_refused(body: Any) -> None:
    with pytest.raises(Refusal):
        typed_fields(body, _OF_CHANGE)


async def test_invalid_webhooks_are_400(web: httpx.AsyncClient) -> None:
    for body in (
        {},
        {"url": "http://receiver.example/"},
        {"url": "https://169.254.169.254/"},
        {"url": URL, "types": ["x"]},
    ):
        assert (await web.post("/v2/webhooks", json=body)).status_code == 400


async def test_events_are_delivered_and_dead_letters_are_listed_retried_and_removed(quick: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        webhook = (await quick.post("/v2/webhooks", json={"url": receiver.url})).json()
        letters = f"/v2/webhooks/{webhook['id']}/deadletters"
        receiver.answer = lambda request: 500
        study = new_uid()
        await stored(quick, part10(StudyInstanceUID=study))
        await receiver.until(lambda: len(receiver.requests) == 2)
        found: list[dict[str, Any]] = []
        while len(found) < 2:
            found = (await quick.get(letters)).json()
            await asyncio.sleep(0.02)
        first, second = found
        assert {name: first[name] for name in ("id", "eventId", "studyInstanceUid", "attempts", "problem")} == {
            "id": "1.0",
            "eventId": "1",
            "studyInstanceUid": study,
            "attempts": 1,
            "problem": "STATUS_500",
        }
        assert (second["type"], second["eventId"]) == ("dicomstore.StudyStable", "1-stable")
        assert "sopInstanceUid" not in second
        assert (await quick.get(letters, params={"after": first["id"], "limit": 1})).json() == [second]
        receiver.answer = lambda request: 200
        assert (await quick.post(f"{letters}/$retry", params={"id": second["id"]})).json() == {"retried": 1}
        await receiver.until(lambda: len(receiver.accepted) == 1)
        assert (await quick.delete(letters)).json() == {"deleted": 1}
        assert (await quick.get(letters)).json() == []


async def test_events_of_studies_are_listed_and_streamed(quick: httpx.AsyncClient) -> None:
    study = new_uid()
    await stored(quick, part10(StudyInstanceUID=study))
    async with (
        asyncio.timeout(30),
        quick.stream("GET", "/v2/studyevents/stream", headers={"Accept": "text/event-stream"}) as response,
    ):
        assert response.headers["content-type"] == "text/event-stream"
        lines = [line async for line in until_event(response)]
    assert lines[-3:-1] == ["id: 1", "event: stable"]
    [event] = (await quick.get("/v2/studyevents")).json()
    assert {name: event[name] for name in ("number", "id", "kind", "studyInstanceUid", "instances", "created")} == {
        "number": 1,
        "id": "1-stable",
        "kind": "stable",
        "studyInstanceUid": study,
        "instances": 1,
        "created": 1,
    }
    assert "partitionName" not in event
    assert (await quick.get("/v2/studyevents?after=1")).json() == []
    assert (await quick.get("/v2/studyevents?limit=0")).status_code == 400
    assert (await quick.get("/v2/studyevents/stream", headers={"Accept": "text/html"})).status_code in (200, 406)


async def until_event(response: httpx.Response) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        yield line
        if line.startswith("data:"):
            return


def test_a_stream_starts_after_the_last_event_of_the_client() -> None:
    after, last = Parameter("after", "3"), Parameter("lastEventId", "5")
    assert parse_start([], None).after_number == 0
    assert parse_start([after], None).after_number == 3
    assert parse_start([after, last], None).after_number == 5
    assert parse_start([after, last], "7").after_number == 7
    with pytest.raises(Refusal):
        parse_start([], "x")
