"""`kill -9` at any time: acknowledged instances survive, and incomplete ones leave nothing behind."""

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from dicomstore.v1 import change_feed_service_pb2 as pb

from tests.core import CoreClient, Ref, id_of, store_requests
from tests.data import new_uid, part10
from tests.e2e import archive as stores
from tests.e2e.archive import Archive, running_archive

INSTANCES = 200


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with running_archive(tmp_path / "data") as archive:
        yield archive


def instances_of(study: str) -> list[bytes]:
    """Small and large ones, so that a kill finds blobs in all states."""
    return [
        part10(StudyInstanceUID=study, Rows=rows, Columns=100, frames=[random.randbytes(rows * 100)])
        for rows in random.choices([1, 100, 6000, 15_000], k=INSTANCES)
    ]


async def store_until_killed(archive: Archive, bodies: list[bytes], kill_after: int) -> list[Any]:
    """Store over gRPC and kill the core after some acknowledgements; return the acknowledged instances by item."""
    acknowledged: list[Any] = []
    async with grpc.aio.insecure_channel(archive.core_address) as channel:
        client = CoreClient(channel, archive.data)
        call = client.store_stub.StoreInstances(store_requests(bodies))

        async def read() -> None:
            async for response in call:
                acknowledged.extend(response.outcomes)
                if len(acknowledged) >= kill_after and archive.core is not None and archive.core.poll() is None:
                    archive.kill_core()

        with suppress(grpc.aio.AioRpcError):  # none when the last outcomes came together with the fatal one
            await read()
    assert archive.core is not None
    assert archive.core.poll() is not None
    return acknowledged


async def check(archive: Archive, study: str, bodies: list[bytes], acknowledged: list[Any]) -> None:
    async with grpc.aio.insecure_channel(archive.core_address) as channel:
        client = CoreClient(channel, archive.data)
        found = {head.id.sop_instance_uid: body for head, body in await client.retrieve(Ref(study_instance_uid=study))}
        for outcome in acknowledged:
            assert found[outcome.stored.id.sop_instance_uid] == bodies[outcome.item - 1]
        assert set(found.values()) <= set(bodies)
        _, metadata = await client.metadata(Ref(study_instance_uid=study))
        assert len(metadata) == len(found)
        for uid, body in random.sample(sorted(found.items()), min(5, len(found))):
            [outcome] = await client.store(body)
            assert outcome.stored.identical, uid


def agreement(archive: Archive) -> dict[str, Any]:
    checks = json.loads(archive.run("server", "check", "--deep").stdout)["checks"]
    return {entry["name"]: entry["status"] for entry in checks}


@pytest.mark.timeout(300)
async def test_acknowledged_instances_survive_kill_9_and_incomplete_ones_are_removed(archive: Archive) -> None:
    for kill_after in (1, 40, 90, 150, 199):
        study = new_uid()
        bodies = instances_of(study)
        acknowledged = await store_until_killed(archive, bodies, kill_after)
        assert len(acknowledged) >= kill_after
        await asyncio.to_thread(archive.start_core)
        await check(archive, study, bodies, acknowledged)
        found = agreement(archive)
        assert found.pop("quarantine") in ("ok", "warning")  # uploads that were not acknowledged
        if stores.variables_of(
            archive.data
        ):  # in a bucket, those of a killed process are found when its lease has ended
            assert found.pop("unused blobs") in ("ok", "warning")
            found["unused blobs"] = "ok"
            assert found.pop("object store") == "ok"
        assert found == {
            "disk": "ok",
            "archive": "ok",
            "clock": "ok",
            "database": "ok",
            "operations": "ok",
            "agreement": "ok",
            "history": "ok",
            "scrub": "ok",
            "unused blobs": "ok",
        }


@pytest.mark.timeout(300)
async def test_a_store_request_that_loses_its_core_is_answered_and_can_be_repeated(archive: Archive) -> None:
    study = new_uid()
    bodies = instances_of(study)
    parts = (
        b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n" for body in bodies) + b"--b--\r\n"
    )
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b', "Accept": "*/*"}

    async def kill_soon() -> None:
        async with grpc.aio.insecure_channel(archive.core_address) as channel:
            call = CoreClient(channel, archive.data).change_feed_stub.WatchChanges(pb.WatchChangesRequest())
            seen = 0
            while seen < 60:
                seen += len((await call.read()).entries)
        archive.kill_core()

    async with httpx.AsyncClient(timeout=60) as http:
        killing = asyncio.create_task(kill_soon())
        answer = await http.post(f"{archive.http}/v2/studies", content=parts + b"--b--\r\n", headers=headers)
        await killing
        assert answer.status_code == 503
        assert "Traceback" not in answer.text
        assert int(answer.headers["Retry-After"]) > 0
        await asyncio.to_thread(archive.start_core)
        again = await http.post(f"{archive.http}/v2/studies", content=parts + b"--b--\r\n", headers=headers)
    assert again.status_code == 200
    assert len(again.json()["00081199"]["Value"]) == INSTANCES
    assert agreement(archive)["agreement"] == "ok"


async def test_an_unreachable_core_is_503_and_the_facade_finds_it_again(archive: Archive) -> None:
    [stored] = [await store_one(archive)]
    archive.kill_core()
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(f"{archive.http}/v2/studies", headers={"Accept": "*/*"})
        assert answer.status_code == 503
        await asyncio.to_thread(archive.start_core)
        url = f"{archive.http}/v2/studies/{id_of(stored).study_instance_uid}/metadata"
        while (answer := await http.get(url, headers={"Accept": "*/*"})).status_code == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # waits for the channel's reconnection back-off
        assert answer.status_code == 200


async def store_one(archive: Archive) -> Any:
    async with grpc.aio.insecure_channel(archive.core_address) as channel:
        [stored] = await CoreClient(channel, archive.data).stored(part10())
        return stored
