"""An index that has lost transactions: both programs keep serving reads and report the problem."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.data import new_uid, part10
from tests.e2e.archive import Archive, running_archive

POLL_SECONDS = 0.05
"""Interval between looks at health: without one, they take a processor of their own."""

PART10 = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with running_archive(tmp_path / "data") as archive:
        yield archive


def store(http: httpx.Client) -> str:
    study = new_uid()
    assert http.post("/v2/studies", content=part10(StudyInstanceUID=study), headers=PART10).status_code == 200
    return study


def becomes_unavailable(http: httpx.Client) -> None:
    """Wait until health is 503."""
    while http.get("/health/check").status_code != 503:
        time.sleep(POLL_SECONDS)


def becomes(http: httpx.Client, status: str) -> dict[str, str]:
    """Wait until health is 200 with a status; return the statuses of the components."""
    while True:
        answer = http.get("/health/check")
        body: dict[str, Any] = answer.json()
        if (answer.status_code, body["overallStatus"]) == (200, status):
            return {part["name"]: part["status"] for part in body["details"]}
        time.sleep(POLL_SECONDS)  # a response may be a second old


def is_read_only(archive: Archive, http: httpx.Client, study: str) -> None:
    assert http.get(f"/v2/studies/{study}/metadata", headers={"Accept": "*/*"}).status_code == 200
    refused = http.post("/v2/studies", content=part10(), headers=PART10)
    assert refused.status_code == 503
    assert "read-only" in refused.text
    assert http.delete(f"/v2/studies/{study}").status_code == 503
    parts = becomes(http, "Degraded")
    assert (parts["changes"], parts["core"]) == ("Degraded", "Healthy")
    doctor = archive.run("server", "check", check=False)
    assert doctor.returncode == 1
    assert "read-only" in doctor.stdout


@pytest.mark.files
def test_a_damaged_frame_of_the_write_ahead_log_makes_the_archive_read_only_and_is_named(archive: Archive) -> None:
    with httpx.Client(base_url=archive.http, timeout=60) as http:
        first = store(http)
        for _ in range(10):
            store(http)
        archive.kill_core()
        log = archive.data / "index.db-wal"
        damaged = bytearray(log.read_bytes())
        damaged[len(damaged) * 3 // 4] ^= 0xFF
        log.write_bytes(damaged)
        archive.start_core()
        is_read_only(archive, http, first)
    assert "a frame of its write-ahead log is damaged" in archive.logs()
    assert (archive.data / "index.db-wal-damaged").read_bytes() == bytes(damaged)


@pytest.mark.files
def test_an_older_copy_of_the_index_makes_the_archive_read_only(archive: Archive) -> None:
    with httpx.Client(base_url=archive.http, timeout=60) as http:
        first = store(http)
        with sqlite3.connect(archive.data / "index.db") as live, sqlite3.connect(archive.data / "copy.db") as copy:
            live.backup(copy)
        live.close()
        copy.close()
        store(http)
        archive.kill_core()
        for path in archive.data.glob("index.db*"):
            path.unlink()
        (archive.data / "copy.db").rename(archive.data / "index.db")
        archive.start_core()
        is_read_only(archive, http, first)
    assert "is an older copy" in archive.logs()
