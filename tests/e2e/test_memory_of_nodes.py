"""Many slow readers and large images at once: `dicomstore up` with two nodes stays within its memory budget."""

import asyncio
import re
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.data import part10
from tests.e2e.test_restarts import of_kind
from tests.e2e.test_up import Archive, up

BUDGET_BYTES = 768 << 20
"""Of nodes and pixel workers together: PSS, in which memory that several processes share counts once."""

SLOW_READERS = 64
RENDERINGS = 32
ROWS, COLUMNS = 4096, 3328


def mammogram() -> bytes:
    """An instance of the size that mammograms have, 26 MiB in one frame, smooth with some noise."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    noise = np.random.default_rng(1).normal(0, 40, (ROWS, COLUMNS))
    pixels = ((np.sin(x / 97) * np.cos(y / 131) + 1) * 1500 + noise + 1000).astype("<u2").tobytes()
    return part10(frames=[pixels], Rows=ROWS, Columns=COLUMNS, BitsAllocated=16, BitsStored=16, HighBit=15)


def held(archive: Archive) -> int:
    """Return the proportional set size (proc(5), smaps_rollup) of nodes and pixel workers."""
    size = 0
    for process in (*of_kind(archive, "node"), *of_kind(archive, "server.adapters.workers.process")):
        try:
            [kilobytes] = re.findall(r"^Pss: +(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.M)
        except (OSError, ValueError):  # it has ended
            continue
        size += int(kilobytes) << 10
    return size


@pytest.mark.timeout(300)
async def test_slow_readers_and_large_images_stay_within_the_budget_of_two_nodes(tmp_path: Path) -> None:
    large = part10(frames=[bytes(1 << 20)] * 200, Rows=1024, Columns=1024, NumberOfFrames=200)
    async with up(tmp_path, "--workers", 2, is_executed=True) as archive, httpx.AsyncClient(timeout=200) as http:

        async def stored(body: bytes) -> str:
            headers = {"Content-Type": "application/dicom", "Accept": "*/*"}
            response = await http.post(f"{archive.url}/v2/studies", content=body, headers=headers)
            assert response.status_code == 200, response.text
            return str(response.json()["00081199"]["Value"][0]["00081190"]["Value"][0])

        slow, mammogram_url = await stored(large), await stored(mammogram())
        host, _, port = archive.url.removeprefix("http://").rpartition(":")
        head = f"GET {slow.removeprefix(archive.url)} HTTP/1.1\r\nHost: localhost\r\n"
        head += "Accept: application/dicom; transfer-syntax=*\r\n\r\n"
        readers = [socket.create_connection((host, int(port))) for _ in range(SLOW_READERS)]
        peak = 0
        try:
            for reader in readers:
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                reader.sendall(head.encode())
            for reader in readers:
                assert (await asyncio.to_thread(reader.recv, 15)) == b"HTTP/1.1 200 OK"
            asking = [asyncio.create_task(http.get(f"{mammogram_url}/rendered")) for _ in range(RENDERINGS)]
            while not all(task.done() for task in asking):
                peak = max(peak, await asyncio.to_thread(held, archive))
                await asyncio.wait(asking, timeout=0.05)
            for task in asking:
                status, headers = task.result().status_code, task.result().headers
                assert status == 200 or (status == 503 and "Retry-After" in headers)
        finally:
            for reader in readers:
                reader.close()
        assert peak < BUDGET_BYTES, f"{peak >> 20} MiB"
