"""Memory is bounded with any number of slow clients."""

import asyncio
import re
import subprocess
from pathlib import Path

import grpc
import httpx
import pytest
from dicomstore.v1 import store_service_pb2 as pb
from dicomstore.v1 import store_service_pb2_grpc

from tests.data import part10
from tests.e2e.archive import running_archive

LIMIT_BYTES = 300 << 20
UPLOADS = 250


def memory(process: subprocess.Popen[bytes] | None, name: str) -> int:
    """Return the resident set of a process (VmRSS), or its peak (VmHWM), in bytes."""
    assert process is not None
    [kilobytes] = re.findall(rf"{name}:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(kilobytes) << 10


@pytest.mark.timeout(300)
async def test_hundreds_of_uploads_stalled_within_an_instance_need_little_memory(tmp_path: Path) -> None:
    half = part10(frames=[bytes(2 << 20)], Rows=1024, Columns=2048)[: 1 << 20]
    with running_archive(tmp_path / "data", ingest_wait_seconds="600") as archive:  # no upload is evicted
        async with grpc.aio.insecure_channel(archive.core_address) as channel:
            calls = [store_service_pb2_grpc.StoreServiceStub(channel).StoreInstances() for _ in range(UPLOADS)]

            async def send(call: "grpc.aio.StreamStreamCall[pb.StoreInstancesRequest, object]") -> None:
                # In one message, because an upload that is idle between instances gives its memory to others.
                piece = pb.InstancePiece(item=1, data=half)
                await call.write(pb.StoreInstancesRequest(header=pb.StoreHeader(), pieces=[piece]))

            sending = [asyncio.create_task(send(call)) for call in calls]
            done: set[asyncio.Task[None]] = set()
            while True:  # until flow control holds all others
                now_done, waiting = await asyncio.wait(sending, timeout=3)
                if now_done == done:
                    break
                done = now_done
            assert 30 <= len(done) < UPLOADS // 2
            assert memory(archive.core, "VmHWM") < LIMIT_BYTES
            for task in waiting:
                task.cancel()
            await asyncio.wait(sending)


@pytest.mark.timeout(300)
async def test_clients_that_stop_reading_need_little_memory_and_are_disconnected(tmp_path: Path) -> None:
    body = part10(frames=[bytes(1 << 20)] * 120, Rows=1024, Columns=1024, NumberOfFrames=120)
    with running_archive(tmp_path / "data", idle_seconds="3") as archive:
        url = f"{archive.http}/v2/studies"
        async with httpx.AsyncClient(timeout=120) as http:
            stored = await http.post(url, content=body, headers={"Content-Type": "application/dicom", "Accept": "*/*"})
            assert stored.status_code == 200, stored.text
            [item] = stored.json()["00081199"]["Value"]
            path = item["00081190"]["Value"][0].removeprefix(archive.http)
        programs = (archive.core, archive.facade)
        before = [memory(program, "VmRSS") for program in programs]
        port = int(archive.http.rpartition(":")[2])
        connections = [await asyncio.open_connection("127.0.0.1", port, limit=1 << 16) for _ in range(20)]
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
        head += b"Accept: application/dicom; transfer-syntax=*\r\n\r\n"
        for reader, writer in connections:
            writer.write(head)
            await reader.readexactly(1 << 20)
        after = [memory(program, "VmRSS") for program in programs]
        for new, old in zip(after, before, strict=True):
            assert new - old < len(connections) * (8 << 20)  # of 120 MB each

        async with asyncio.timeout(60):
            while archive.logs().count("response aborted") < len(connections):  # noqa: ASYNC110 - there is no event for log lines
                await asyncio.sleep(0.1)
        for _, writer in connections:
            writer.transport.abort()
