"""On a full disk stored instances can be read, also after restarts."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.data import part10
from tests.e2e.test_restarts import health
from tests.e2e.test_up import descendants, get, gone, up
from tests.small_disk import fill, small_disk

LARGE = part10(SOPInstanceUID="1.7", frames=[os.urandom(1 << 20)] * 6, Rows=1024, Columns=1024, NumberOfFrames=6)


@pytest.mark.clients("unshare")
@pytest.mark.timeout(240)
async def test_stored_instances_are_served_after_starts_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(part10(StudyInstanceUID="1.2", SOPInstanceUID="1.5"))
    (tmp_path / "large.dcm").write_bytes(LARGE)
    options = ("--data", tmp_path / "disk/data", "--workers", 2)
    with small_disk(tmp_path / "disk", 24 << 20) as disk:
        async with up(tmp_path, *options, namespaces_of=disk.holder) as archive:
            assert (await archive.run("store", "one.dcm"))[0] == 0
            assert (await archive.ended(signal.SIGTERM))[0] == 0
        filler = fill(disk.path)
        for end in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            async with up(
                tmp_path, "--data", tmp_path / "disk/data", "--workers", 2, namespaces_of=disk.holder
            ) as archive:
                assert (await asyncio.to_thread(get, f"{archive.url}/v2/studies/1.2/instances"))[0] == 200
                assert (await asyncio.to_thread(get, f"{archive.url}/v2/studies/1.2/metadata"))[0] == 200
                assert (await health(archive))[:2] == (200, "Degraded")
                exit_code, _, errors = await archive.run("store", "large.dcm")
                assert exit_code == 1
                assert "full" in errors
                programs = descendants(archive.process.pid)
                await archive.ended(end)
                await gone(programs)
        filler.unlink()
        async with up(tmp_path, *options, namespaces_of=disk.holder) as archive:
            assert (await archive.run("store", "large.dcm"))[0] == 0
            assert (disk.path / "data/start-reserve").stat().st_size == 4 << 20
