"""Event channels of the worklist while the core is killed (docs/api.md, Event channel)."""

import asyncio
import json
from contextlib import suppress

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.e2e.archive import Archive
from tests.worklist import workitem

WORKLIST = "1.2.840.10008.5.1.4.34.5"
WORKITEMS = 60


async def follow(url: str, found: list[str], missing: set[str]) -> None:
    """Read reports, and connect again when the connection is lost, until nothing is missing."""
    while True:
        with suppress(OSError, WebSocketException):
            async with connect(url, compression=None, proxy=None) as channel:
                async for message in channel:
                    report = json.loads(message)
                    if report["00001002"]["Value"] == [1]:
                        found.append(report["00001000"]["Value"][0])
                        missing.discard(found[-1])
                        if not missing:
                            return
        await asyncio.sleep(0.1)


async def create(web: httpx.AsyncClient, uid: str) -> None:
    """Create a workitem; tries again while the archive is not available."""
    while True:
        answer = await web.post(f"/v2/workitems?{uid}", json=[workitem()])
        if answer.status_code in (201, 409):
            return
        assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.1)


async def test_no_report_is_lost_when_the_core_is_killed(archive: Archive) -> None:
    async with httpx.AsyncClient(base_url=archive.http, timeout=60) as web:
        subscribed = await web.post(f"/v2/workitems/{WORKLIST}/subscribers/KILLED")
        assert subscribed.status_code == 201
        uids = [f"2.25.77.{number}" for number in range(1, WORKITEMS + 1)]
        found: list[str] = []
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(follow(subscribed.headers["content-location"], found, set(uids)))
            for number, uid in enumerate(uids):
                if number in (WORKITEMS // 3, 2 * WORKITEMS // 3):
                    await asyncio.to_thread(archive.kill_core)
                    await asyncio.to_thread(archive.start_core)
                await create(web, uid)
        deleted = await web.delete(f"/v2/workitems/{WORKLIST}/subscribers/KILLED")
        assert deleted.status_code == 200
    firsts = list(dict.fromkeys(found))
    assert firsts == uids  # in order; some may have been sent again
