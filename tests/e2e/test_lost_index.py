"""The drills of docs/operations.md for a lost, damaged and old index, as written there."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.archive import ROOT, Archive, running_archive
from tests.e2e.test_damaged_index import becomes, store

PAGE = ROOT / "docs" / "operations.md"
CHAPTER = "### When the index is lost, damaged or old\n"


def drill(name: str) -> str:
    """Return the commands below the paragraph that begins with a name."""
    chapter = PAGE.read_text().partition(CHAPTER)[2].partition("\n### ")[0]
    commands = chapter.partition(f"**{name}")[2].partition("```\n")[2].partition("```")[0]
    assert "dicomstore recover" in commands
    return commands


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with running_archive(tmp_path / "data") as archive:
        yield archive


def remove_index(archive: Archive) -> None:
    for path in archive.data.glob("index.db*"):
        path.unlink()


def holds(archive: Archive, http: httpx.Client, stored: list[str], deleted: str) -> None:
    """Start the archive again, compare its contents, and store another instance."""
    archive.start_core()
    becomes(http, "Healthy")
    for study in stored:
        assert http.get(f"/v2/studies/{study}/metadata", headers={"Accept": "*/*"}).status_code == 200
    assert http.get(f"/v2/studies/{deleted}/metadata", headers={"Accept": "*/*"}).status_code == 404
    stored.append(store(http))
    archive.stop_core()


@pytest.mark.files
@pytest.mark.timeout(300)
def test_every_drill_restores_all_acknowledged_and_no_deleted_instances(archive: Archive) -> None:
    with httpx.Client(base_url=archive.http, timeout=60) as http:
        stored = [store(http) for _ in range(3)]
        deleted = store(http)
        with sqlite3.connect(archive.data / "index.db") as live, sqlite3.connect(archive.data / "older.db") as copy:
            live.backup(copy)
        live.close()
        copy.close()
        assert http.delete(f"/v2/studies/{deleted}").status_code == 204
        stored += [store(http) for _ in range(3)]
        archive.kill_core()

        remove_index(archive)
        (archive.data / "index.db").touch()
        assert "the file has 0 bytes" in archive.refusal()
        archive.shell(drill("Lost**"))
        holds(archive, http, stored, deleted)

        (archive.data / "index.db").write_bytes(b"not a database" * 1000)
        assert "not an SQLite database" in archive.refusal()
        archive.shell(drill("Damaged**"))
        holds(archive, http, stored, deleted)

        remove_index(archive)
        shutil.copy(archive.data / "older.db", archive.data / "index.db")
        archive.start_core()
        becomes(http, "Degraded")
        archive.stop_core()
        archive.shell(drill("Old, or"))
        holds(archive, http, stored, deleted)
