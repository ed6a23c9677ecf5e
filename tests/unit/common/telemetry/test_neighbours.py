"""Processes of a group read the metrics of each other."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.telemetry import neighbours
from common.telemetry.catalogue import PROCESS_CPU, PROCESS_MEMORY
from common.telemetry.metrics import provided, snapshot
from common.telemetry.neighbours import Neighbours, group_of, joined
from common.telemetry.process_figures import process_samples

OTHER_PROCESS = """
import asyncio, sys
from common.telemetry.catalogue import LOG_RECORDS
from common.telemetry.neighbours import joined
async def main():
    LOG_RECORDS.of("warning").value = 7
    async with joined(sys.argv[1], "worker") as own:
        print(own.name, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Neighbours]:
    async with joined(group_of(tmp_path), "node") as own:
        yield own


async def test_a_process_returns_its_metrics_and_those_of_others(own: Neighbours, tmp_path: Path) -> None:
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER_PROCESS, group_of(tmp_path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"worker-1\n"
    found = dict(await own.snapshots())
    assert found.keys() == {"node-1", "worker-1"}
    assert found["worker-1"]["dicomstore_log_records_total"] == [(("warning",), 7)]
    other.kill()
    await other.wait()
    assert [name for name, _ in await own.snapshots()] == ["node-1"]


async def test_a_process_takes_the_lowest_free_name(own: Neighbours, tmp_path: Path) -> None:
    async with joined(group_of(tmp_path), "node") as second, joined(group_of(tmp_path), "node") as third:
        assert [own.name, second.name, third.name] == ["node-1", "node-2", "node-3"]
    async with joined(group_of(tmp_path), "node") as next_one:
        assert next_one.name == "node-2"


async def test_processes_of_other_directories_are_not_included(own: Neighbours, tmp_path: Path) -> None:
    async with joined(group_of(tmp_path / "other"), "worker"):
        assert [name for name, _ in await own.snapshots()] == ["node-1"]


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'{"dicomstore_log_records_total": [[1]]}', b"\xff"])
async def test_a_process_with_another_answer_is_omitted(own: Neighbours, sent: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(own.address("core-1"))
        listener.listen()
        connected = False

        def answer() -> None:
            nonlocal connected
            connection, _ = listener.accept()
            with connection:
                connected = True
                connection.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        assert [name for name, _ in await own.snapshots()] == ["node-1"]
        thread.join()
        assert connected


async def test_processes_of_other_users_are_neither_answered_nor_believed(
    own: Neighbours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "trusted_users", lambda: {os.getuid() + 1})
    async with joined(group_of(tmp_path), "worker"):
        assert [name for name, _ in await own.snapshots()] == ["node-1"]


def test_figures_of_the_process_are_read_from_the_system() -> None:
    with provided(process_samples):
        taken = snapshot()
    [(_, cpu)] = taken[PROCESS_CPU.name]
    [(_, memory)] = taken[PROCESS_MEMORY.name]
    assert isinstance(cpu, float)
    assert isinstance(memory, int)
    assert 0 < cpu < 100_000
    assert 1 << 20 < memory < 1 << 36
