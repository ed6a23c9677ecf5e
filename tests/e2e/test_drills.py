"""The drills of docs/operations.md for a damaged instance, a full disk and a frozen database, as written there.

Those for a lost, damaged and old index are in `test_lost_index`.
"""

import os
import resource
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from tests.data import new_uid, part10
from tests.e2e.archive import ROOT, Archive, running_archive
from tests.e2e.test_damaged_index import PART10, becomes, becomes_unavailable, store
from tests.e2e.test_up import descendants

PAGE = (ROOT / "docs/operations.md").read_text()


def drill(heading: str) -> list[str]:
    """Return the blocks of commands below a heading."""
    chapter = PAGE.partition(f"\n### {heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    blocks = chapter.split("```")[1::2]
    assert blocks, heading
    return blocks


def run(archive: Archive, commands: str, **variables: object) -> str:
    """Run a block with the operator's variables, on this archive."""
    given = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items())
    return archive.shell(given + commands.replace("http://127.0.0.1:8080", archive.http))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Size of an instance that does not fit on the full disk."""
    path = tmp_path / "instance.dcm"
    path.write_bytes(part10(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", SOPInstanceUID="1.2.3.4.5",
                            Rows=1500, Columns=1000, frames=[os.urandom(1_500_000)]))  # fmt: skip
    return path


@pytest.mark.files
def test_a_damaged_instance_is_named_deleted_and_stored_again(tmp_path: Path, file: Path) -> None:
    with running_archive(tmp_path / "data") as archive, httpx.Client(base_url=archive.http, timeout=60) as http:
        assert http.post("/v2/studies", content=file.read_bytes(), headers=PART10).status_code == 200
        [blob] = [path for path in (archive.data / "blobs").glob("*/*") if path.stat().st_size >= file.stat().st_size]
        damaged = bytearray(blob.read_bytes())
        damaged[-100_000] ^= 0xFF
        with open(blob, "r+b") as stored:
            stored.write(damaged)
        path = "/v2/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5"
        assert http.get(path, headers={"Accept": "*/*"}).status_code == 500
        found = archive.run("cli", "doctor", "--deep", check=False)
        assert found.returncode == 1
        assert "1.2.3.4.5" in found.stdout
        [commands] = drill("One instance that is missing or damaged")
        run(archive, commands, STUDY="1.2.3", SERIES="1.2.3.4", INSTANCE="1.2.3.4.5", FILE=file)
        assert http.get(path, headers={"Accept": "application/dicom"}).content == file.read_bytes()


@contextmanager
def full_disk(process: int, size_bytes: int) -> Iterator[None]:
    """Let no file of a process grow beyond a size."""
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.files
def test_a_full_disk_is_degraded_and_recovers_when_space_is_freed(tmp_path: Path, file: Path) -> None:
    presentation, after = drill("When the disk is full")
    with running_archive(tmp_path / "data") as archive, httpx.Client(base_url=archive.http, timeout=60) as http:
        study = store(http)
        assert archive.core is not None
        with full_disk(archive.core.pid, 1_000_000):
            assert http.post("/v2/studies", content=file.read_bytes(), headers=PART10).status_code == 507
            becomes(http, "Degraded")
            assert http.get(f"/v2/studies/{study}/metadata", headers={"Accept": "*/*"}).status_code == 200
            assert str(archive.data / "blobs") in run(archive, presentation)
        becomes(http, "Healthy")
        run(archive, after, FILE=file)


@pytest.mark.postgres
def test_a_frozen_database_is_503_and_the_archive_recovers_with_it(
    postgres_to_stop: Any, tmp_path: Path, file: Path
) -> None:
    presentation, restart, after = drill("When the database is frozen")
    url = make_url(postgres_to_stop.get_uri()).set(drivername="postgresql+psycopg").render_as_string(False)
    with (
        running_archive(tmp_path / "data", database=url) as archive,
        httpx.Client(base_url=archive.http, timeout=60) as http,
    ):
        study = new_uid()
        assert http.post("/v2/studies", content=part10(StudyInstanceUID=study), headers=PART10).status_code == 200
        postmaster = int((postgres_to_stop.pgdata / "postmaster.pid").read_text().splitlines()[0])
        frozen = [postmaster, *descendants(postmaster)]
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
        try:
            becomes_unavailable(http)
            assert '"index"' in run(archive, presentation)
            goes_on = f"systemctl() {{ kill -CONT {' '.join(map(str, frozen))}; }}\n"
            run(archive, goes_on + restart)
        finally:
            for process in frozen:
                os.kill(process, signal.SIGCONT)
        becomes(http, "Healthy")
        assert http.get(f"/v2/studies/{study}/metadata", headers={"Accept": "*/*"}).status_code == 200
        run(archive, after, FILE=file)
