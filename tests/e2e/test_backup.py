"""Backup and restore of both configurations, with the commands and settings of docs/operations.md."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.archiving_postgres import USER, ArchivingServer, archiving_server
from tests.data import new_uid, part10
from tests.e2e.archive import ROOT, Archive
from tests.e2e.operator_shell import operator_shell
from tests.e2e.test_damaged_index import PART10
from tests.e2e.test_drills import drill

PAGE = (ROOT / "docs/operations.md").read_text()
CONFIGURATION = PAGE.partition("```ini\n# postgresql.conf\n")[2].partition("```")[0]
DAY = "2026-01-31"
DICOM = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}

_RSYNC = """
rsync() {
    local excluded=() option
    for option; do case "$option" in --exclude=*) excluded+=("$option") ;; esac; done
    tar --create "${excluded[@]}" --directory "${@: -2:1}" . | tar --extract --directory "${@: -1}"
}
"""
_SQLITE = """
sqlite3() {
    python3 -c 'import sqlite3, sys
source, copy = sqlite3.connect(sys.argv[1]), sqlite3.connect(sys.argv[2].split(chr(39))[1])
source.backup(copy)' "$@"
}
"""
STAND_INS = "".join(
    function for program, function in (("rsync", _RSYNC), ("sqlite3", _SQLITE)) if not shutil.which(program)
)
"""The same with what every Linux has, on machines without the programs."""


class Contents:
    """What clients stored, updated and deleted."""

    http: httpx.Client

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}
        self._deleted: set[str] = set()

    @property
    def studies(self) -> set[str]:
        """UIDs of the studies that are not deleted."""
        return set(self._bodies)

    def store(self, study: str | None = None) -> str:
        """Store an instance in a study of its own. With the study, its only instance gets other content, as a new
        version."""
        study = study or new_uid()
        content = {"SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.1.1", "StudyID": new_uid()[-9:]}
        body = part10(StudyInstanceUID=study, **content)
        answer = self.http.post("/v2/studies", content=body, headers=PART10)
        assert answer.status_code == 200, answer.text
        self._bodies[study] = body
        return study

    def delete(self, study: str) -> None:
        """Delete a study."""
        assert self.http.delete(f"/v2/studies/{study}").status_code == 204
        del self._bodies[study]
        self._deleted.add(study)

    def agree(self) -> None:
        """Compare with what the archive returns."""
        for study, body in self._bodies.items():
            answer = self.http.get(f"/v2/studies/{study}", headers=DICOM)
            assert answer.status_code == 200, answer.text
            assert body in answer.content
        for study in self._deleted:
            assert self.http.get(f"/v2/studies/{study}", headers=DICOM).status_code == 404
        assert {study["0020000D"]["Value"][0] for study in self.http.get("/v2/studies").json()} == self.studies


@contextmanager
def running(archive: Archive, contents: Contents) -> Iterator[None]:
    """Run an archive, and let the clients use it."""
    try:
        archive.start_core()
        archive.start_facade()
        with httpx.Client(base_url=archive.http, timeout=60) as contents.http:
            yield
    finally:
        archive.stop()


def agree_and_continue(archive: Archive, contents: Contents) -> None:
    with running(archive, contents):
        contents.agree()
        contents.delete(contents.store())


@pytest.mark.files
def test_sqlite_and_local_files_are_restored_with_all_that_the_later_copy_of_the_files_has(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    [commands] = drill("Backup of SQLite and local files")
    index, files = commands.replace("$(date +%F)", DAY).split("rsync", 1)
    archive, contents = Archive(tmp_path / "data", duplicates="new-version"), Contents()

    def run(commands: str) -> str:
        return archive.shell(STAND_INS + f"DAY={DAY}\n" + commands.replace("/backup", str(backup)))

    with running(archive, contents):
        updated, deleted, deleted_later, _ = (contents.store() for _ in range(4))
        contents.delete(deleted)
        run(index)
        contents.store()
        contents.store(updated)
        contents.delete(deleted_later)
        run(f"NOW=/backup/{DAY}\nrsync{files}")
    shutil.rmtree(archive.data)
    archive.data.mkdir()
    [commands] = drill("Restore of SQLite and local files")
    recovered = run(commands)
    assert "2 instances added" in recovered, recovered
    agree_and_continue(archive, contents)


@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_postgresql_is_restored_to_a_point_in_time_and_completed_from_the_bucket(
    postgres_server: str, bucket_url: str, tmp_path: Path
) -> None:
    backup = drill("Backup of PostgreSQL and a bucket")[-1]
    main, completion = drill("Restore of PostgreSQL to a point in time")
    contents = Contents()
    with archiving_server(postgres_server, CONFIGURATION) as server:
        settings = {"blobs": bucket_url, "database": server.url, "duplicates": "new-version", "secret_key": "s" * 32}
        archive = Archive(tmp_path / "machine", **settings)
        with running(archive, contents):
            updated, updated_later, deleted, deleted_later = (contents.store() for _ in range(4))
            as_postgres(server, backup)
            contents.store(updated)
            contents.delete(deleted)
            contents.store()
            acknowledged = contents.studies
            [(time,)] = server.execute("SELECT now()::text")
            added = contents.store()
            contents.store(updated_later)
            contents.delete(deleted_later)
        server.stop()
        as_postgres(server, f"TIME='{time}'\n{main}")
        server.start()
        assert {study for [study] in server.execute("SELECT uid FROM studies")} == acknowledged
        assert added not in acknowledged
        other = Archive(tmp_path / "other-machine", **settings)
        recovered = other.shell(completion)
        assert "2 instances added" in recovered, recovered  # one of them as a new version
        agree_and_continue(other, contents)


def as_postgres(server: ArchivingServer, commands: str) -> None:
    """Run commands as the user of PostgreSQL."""
    client = f'pg_basebackup() {{ "{server.programs}/pg_basebackup" -h "{server.directory}" -U postgres "$@"; }}\n'
    commands = commands.replace("/backup", str(server.backup)).replace("/var/lib/postgresql/15/main", str(server.main))
    operator_shell(f"{client}DAY={DAY}\n{commands}", None, server.directory, USER)
