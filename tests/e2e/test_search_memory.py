"""Search responses of any length are streamed in bounded memory."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from bench.index import data as index_data
from server.adapters.sql.engine import migrate, open_database
from tests.e2e.archive import ROOT, Archive, running_archive

ROWS = 60_000
MAX_GROWTH_BYTES = 32 << 20
JSON = {"Accept": "application/dicom+json"}


@pytest.fixture(scope="module")
def archive(module_path: Path) -> Iterator[Archive]:
    """An archive of 60,000 instances, of which there are no files."""
    data = module_path / "data"
    with running_archive(data):
        pass  # data directory and index are bound to each other
    asyncio.run(filled(f"sqlite:///{data / 'index.db'}"))
    with running_archive(data) as archive:
        yield archive


async def filled(url: str) -> None:
    await asyncio.to_thread(migrate, url)
    database = open_database(url)
    for batch in index_data.batches(ROWS, 2000):
        await database.instances.add(batch, datetime.now(UTC))
    await database.close()


def peaks(archive: Archive) -> list[int]:
    """Return the peak resident set of core and facade, in bytes."""
    found = []
    for process in (archive.core, archive.facade):
        assert process is not None
        [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        found.append(int(kilobytes) << 10)
    return found


async def rows_of(http: httpx.AsyncClient, url: str) -> int:
    """Return how many matches an answer has, without holding it."""
    needle, count, tail = b'"00081190":', 0, b""
    async with http.stream("GET", url, headers=JSON) as answer:
        assert answer.status_code == 200
        async for piece in answer.aiter_bytes():
            count += (tail + piece).count(needle)
            tail = piece[-len(needle) + 1 :]
    return count


@pytest.mark.files
@pytest.mark.timeout(300)
async def test_a_response_of_60_000_rows_needs_bounded_memory(archive: Archive) -> None:
    async with httpx.AsyncClient(timeout=120) as http:
        url = f"{archive.http}/v2/instances"
        assert await rows_of(http, f"{url}?limit=2000") == 2000
        before = peaks(archive)

        answer = await http.get(f"{url}?limit=1&totalcount=true", headers=JSON)
        total = int(answer.headers["x-total-count"])
        assert await rows_of(http, f"{url}?limit=1000000") == total >= ROWS * 0.95

        growth = [after - peak for peak, after in zip(before, peaks(archive), strict=True)]
    assert max(growth) < MAX_GROWTH_BYTES, growth


def printed(archive: Archive, *arguments: str) -> tuple[int, int]:
    """Return how many lines `dicomstore search` prints and its peak resident set in bytes."""
    command = [sys.executable, "-m", "cli", "search", "instances", "--json", "--core", archive.core_address, *arguments]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = sum(1 for _ in process.stdout)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return lines, usage.ru_maxrss << 10


@pytest.mark.files
@pytest.mark.timeout(300)
def test_the_command_line_prints_60_000_rows_in_bounded_memory(archive: Archive) -> None:
    few, before = printed(archive, "--limit", "2000")
    assert few == 2000

    all_of_them, after = printed(archive, "--limit", "1000000", "--quiet")

    assert all_of_them >= ROWS * 0.95
    assert after - before < MAX_GROWTH_BYTES
