"""An export whose worker is killed has the same files as an undisturbed one."""

import asyncio
import hashlib
import json
import os
import signal
from pathlib import Path

import grpc
import pytest

from server.adapters.sql.engine import open_database
from server.bootstrap.serving import running
from server.model.operation import Operation
from tests.core import CoreClient, settings_for
from tests.data import UID_ROOT, part10
from tests.e2e.reindexing import is_done, worker
from tests.integration.facade.serving import serving

INSTANCES = int(os.environ.get("EXPORT_INSTANCES", "1200"))
OF_A_STUDY = 150
MAX_MB = 180
"""Largest memory of the worker, however many instances there are."""

KILL_AFTER = (1, 300, 700)
"""Instances that are exported when the worker is killed."""


def instance(number: int) -> tuple[str, bytes]:
    """Return path and content of an instance."""
    study = f"{UID_ROOT}.{number // OF_A_STUDY + 1}"
    series = f"{study}.{number % 2 + 1}"
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": f"{study}.9.{number}"}
    return f"results/{study}/{series}/{study}.9.{number}.dcm", part10(frames=[number.to_bytes(4, "big") * 500], **uids)


async def store(core: CoreClient) -> dict[str, bytes]:
    """Store all instances; return the digests of the files by path."""
    digests = {}
    for start in range(0, INSTANCES, 300):
        some = dict(map(instance, range(start, min(start + 300, INSTANCES))))
        await core.stored(*some.values())
        digests |= {path: hashlib.sha256(content).digest() for path, content in some.items()}
    return digests


def peak_mb(pid: int) -> int:
    """Return the largest memory that a process has had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.timeout(180)
async def test_a_worker_that_is_killed_three_times_leaves_no_file_out_and_none_twice(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    settings = settings_for(tmp_path / "data", export_folders=str(folder))
    options = {"export_folders": str(folder), "migrate": "true"}
    async with (
        running(settings) as core,
        serving(core.address) as web,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        expected = await store(CoreClient(channel, tmp_path))
        body = {"source": {"type": "partition"}, "destination": {"type": "folder", "settings": {"path": str(folder)}}}
        started = await web.post("/v2/export", json=body)
        assert started.status_code == 202, started.text
        operation = started.json()["id"]
        database = open_database(settings.database_url)

        async def until(done: int) -> Operation:
            while True:  # the time limit of the test ends a wait that has no end
                found = await database.operations.get(operation)
                assert found is not None
                if is_done(found) or done <= found.done:
                    return found
                await asyncio.sleep(0.005)

        for done in KILL_AFTER:
            with worker(settings.database_url, tmp_path / "data", **options) as process:
                interrupted = await until(done)
                process.send_signal(signal.SIGKILL)
                assert not interrupted.state.is_final, "it was over before it could be killed"
        with worker(settings.database_url, tmp_path / "data", **options) as process:
            finished = await until(INSTANCES + 1)
            peak = peak_mb(process.pid)
        print(f"{INSTANCES} instances, peak memory of the worker {peak} MB")
        await database.close()
    assert peak < MAX_MB
    assert finished.result["exported"] == INSTANCES
    root = folder / operation
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    manifest = [json.loads(line) for line in found.pop("manifest.jsonl").read_text().splitlines()]
    assert found.pop("errors.log").read_bytes() == b""
    assert {path: hashlib.sha256(file.read_bytes()).digest() for path, file in found.items()} == expected
    assert len(manifest) == len(expected)
    assert {entry["path"]: bytes.fromhex(entry["sha256"]) for entry in manifest} == expected
    assert [name for name in os.listdir(root) if name.startswith(".")] == []
