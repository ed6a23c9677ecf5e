"""The change feed as Server-Sent Events (docs/api.md, Stream of changes)."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from server.bootstrap.serving import running
from tests.audit import until
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.integration.facade.serving import serving, stored
from tests.integration.security.callers import bearer, create_token, operator_token, revoke

EVENTS = {"Accept": "text/event-stream"}
STREAM = "/v2/changefeed/stream"
STUDY = "1.2.3"
FILE = part10(StudyInstanceUID=STUDY, frames=[bytes(2000)])


class Events:
    """Reads a stream: events as mappings of their fields, comments as text."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, str] | str | None:
        """Return the next event, with its fields, or comment; None at the end."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line.startswith(":"):
                return line
            if not line:
                if fields:
                    return fields
                continue
            name, _, value = line.partition(": ")
            fields[name] = value
        return None

    async def changes(self, count: int) -> list[dict[str, str]]:
        """Return the next changes."""
        found: list[dict[str, str]] = []
        while len(found) < count:
            read = await self.next()
            assert read is not None, "the stream has ended"
            if isinstance(read, dict) and "data" in read:
                found.append(read)
        return found

    async def end(self) -> dict[str, str] | str | None:
        """Read to the end; return what was last."""
        last = None
        while (read := await self.next()) is not None:
            last = read
        return last


@asynccontextmanager
async def opened(web: httpx.AsyncClient, url: str = STREAM, **headers: str) -> AsyncIterator[Events]:
    async with web.stream("GET", url, headers=EVENTS | headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Events(response)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_each_entry_of_the_feed_is_an_event(web: httpx.AsyncClient, version: str) -> None:
    await stored(web, FILE)
    async with opened(web, f"/{version}/changefeed/stream") as events:
        assert events.response.headers["content-type"] == "text/event-stream"
        assert events.response.headers["cache-control"] == "no-store, no-transform"
        assert events.response.headers["x-accel-buffering"] == "no"
        assert await events.next() == {"retry": "2000"}
        [create] = await events.changes(1)
        feed = (await web.get(f"/{version}/changefeed")).json()
        assert json.loads(create["data"]) == feed[0]
        await web.delete(f"/{version}/studies/{STUDY}")
        [delete] = await events.changes(1)
        feed = (await web.get(f"/{version}/changefeed")).json()
        assert json.loads(delete["data"]) == feed[1]
    assert [(each["id"], each["event"]) for each in (create, delete)] == [("1", "Create"), ("2", "Delete")]
    assert "metadata" in json.loads(create["data"])


async def test_a_stream_continues_after_the_last_event_of_the_client(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10() for _ in range(4)))
    for url, headers, expected in (
        (f"{STREAM}?includeMetadata=false", {}, ["1", "2", "3", "4"]),
        (f"{STREAM}?lastEventId=2&includeMetadata=false", {}, ["3", "4"]),
        (f"{STREAM}?lastEventId=2&includeMetadata=false", {"Last-Event-ID": "3"}, ["4"]),
    ):
        async with opened(web, url, **headers) as events:
            changes = await events.changes(len(expected))
        assert [each["id"] for each in changes] == expected
        assert "metadata" not in json.loads(changes[0]["data"])


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("?lastEventId=-1", {}, 400),
        ("?lastEventId=x", {}, 400),
        ("", {"Last-Event-ID": "x"}, 400),
        ("?includeMetadata=maybe", {}, 400),
        ("", {"Accept": "application/json"}, 406),
    ],
)
async def test_invalid_requests_are_refused(
    web: httpx.AsyncClient, query: str, headers: dict[str, str], status: int
) -> None:
    assert (await web.get(STREAM + query, headers=EVENTS | headers)).status_code == status


async def test_head_has_the_headers_without_events(web: httpx.AsyncClient) -> None:
    response = await web.head(STREAM)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")


async def test_an_idle_stream_has_heartbeats(tmp_path: Path) -> None:
    async with (
        running(settings_for(tmp_path)) as core,
        serving(core.address, event_heartbeat_seconds=1) as web,
        opened(web) as events,
    ):
        assert [await events.next() for _ in range(3)] == [{"retry": "2000"}, ": heartbeat", ": heartbeat"]


async def test_the_stream_ends_properly_when_the_core_stops_and_an_event_source_may_try_again(tmp_path: Path) -> None:
    async with AsyncExitStack() as stopping:
        core = await stopping.enter_async_context(running(settings_for(tmp_path)))
        async with serving(core.address) as web:
            async with opened(web) as events:
                assert await events.next() == {"retry": "2000"}
                await stopping.aclose()
                await events.end()
            again = await web.get(STREAM, headers=EVENTS)
            assert (again.status_code, again.text) == (200, "retry: 2000\n\n")
            assert (await web.get(STREAM)).status_code == 503


async def test_the_stream_ends_properly_when_the_facade_stops(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path)) as core, AsyncExitStack() as stopping:
        web = await stopping.enter_async_context(serving(core.address))
        async with httpx.AsyncClient(base_url=web.base_url) as client, opened(client) as events:
            assert await events.next() == {"retry": "2000"}
            ending = asyncio.create_task(stopping.aclose())
            await events.end()
            await ending


async def test_the_stream_ends_when_its_credential_is_revoked(tmp_path: Path) -> None:
    async with (
        running(settings_for(tmp_path, auth_required=True)) as core,
        serving(core.address, event_heartbeat_seconds=1) as web,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        admin = bearer(operator_token(tmp_path))
        token = await create_token(channel, "globalReader", by=admin)
        header = {"Authorization": f"Bearer {token.secret}"}
        async with opened(web, **header) as events:
            assert await events.next() == {"retry": "2000"}
            await revoke(channel, token.token, admin)
            await events.end()
        assert (await web.get(STREAM, headers=EVENTS | header)).status_code == 401


async def test_a_stream_has_the_entries_of_permitted_partitions(tmp_path: Path) -> None:
    async with (
        running(settings_for(tmp_path, auth_required=True, partitions=True)) as core,
        serving(core.address) as web,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        admin = bearer(operator_token(tmp_path))
        headers = dict(admin) | {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
        for partition in ("other", "ward", "other", "ward"):
            path = f"/v2/partitions/{partition}/studies"
            assert (await web.post(path, content=part10(), headers=headers)).status_code == 200
        token = await create_token(channel, "globalReader", partitions=["ward"], by=admin)
        async with opened(web, Authorization=f"Bearer {token.secret}") as events:
            changes = await events.changes(2)
    assert [each["id"] for each in changes] == ["2", "4"]
    assert {json.loads(each["data"])["partitionName"] for each in changes} == {"ward"}
    uri = json.dumps(json.loads(changes[0]["data"])["metadata"])
    assert "BulkDataURI" not in uri or "/partitions/ward/" in uri


async def test_a_slow_reader_is_disconnected_and_delays_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "facade.endpoints.changes.event_stream")
    size, count = 200_000, 60  # together more than the buffers of both sockets
    async with (
        running(settings_for(tmp_path)) as core,
        serving(core.address, idle_seconds=1) as web,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        client = CoreClient(channel, tmp_path, core.address)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((web.base_url.host, web.base_url.port))
            host = f"{web.base_url.host}:{web.base_url.port}"
            slow.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())
            async with opened(web, f"{STREAM}?includeMetadata=false") as events:
                for _ in range(count):
                    await client.stored(part10(TextValue="x" * size))
                assert len(await events.changes(count)) == count
                await until(lambda: "reason=CLIENT_" in caplog.text)
