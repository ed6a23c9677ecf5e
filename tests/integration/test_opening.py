"""A core starts only on a data directory and an index that belong together (server/opening.py)."""

import asyncio
import json
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from server.adapters.blobs.objects.client import ObjectClient
from server.bootstrap.working import working
from server.opening import StartError, check_binding, migrate, prepare, recovering
from tests.core import Ref, settings_for
from tests.data import new_uid, part10
from tests.integration.conftest import a_core

Damage = Callable[[Path], None]
STUDY = new_uid()
EVERYTHING = Ref(study_instance_uid=STUDY)


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    """The data directory of an archive with one instance in a segment and one in a separate file."""
    async with a_core(tmp_path / "data") as core:
        large = part10(StudyInstanceUID=STUDY, Rows=1500, Columns=1000, frames=[bytes(1_500_000)])
        await core.stored(part10(StudyInstanceUID=STUDY), large)
    return tmp_path / "data"


async def refusal(data: Path, **settings: str) -> str:
    """Start a core that must refuse to start; return the reason."""
    with pytest.raises(StartError) as caught:
        async with a_core(data, **settings):
            pass
    return str(caught.value)


def contents(root: Path) -> dict[str, bytes]:
    paths = [*root.glob("segments/*.seg"), *root.glob("blobs/*/*"), *root.glob("quarantine/*")]
    return {str(path): path.read_bytes() for path in paths}


async def test_an_index_that_all_users_may_read_is_restricted_at_the_start(data: Path) -> None:
    index = data / "index.db"
    index.chmod(0o644)
    with closing(sqlite3.connect(index)) as reader:
        reader.execute("SELECT * FROM studies").fetchall()
        files = [index, data / "index.db-wal", data / "index.db-shm"]
        assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o644] * 3
        async with a_core(data):
            assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * 3


def remove_index(data: Path) -> None:
    for path in data.glob("index.db*"):
        path.unlink()


def empty_index(data: Path) -> None:
    remove_index(data)
    (data / "index.db").touch()


def no_index(data: Path) -> None:
    remove_index(data)
    (data / "index.db").write_bytes(b"not a database" * 1000)


def damaged_index(data: Path) -> None:
    remove_wal(data)
    with open(data / "index.db", "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 4000)


def remove_wal(data: Path) -> None:
    sqlite3.connect(data / "index.db").close()


def new_index(data: Path) -> None:
    remove_index(data)
    migrate(settings_for(data.parent / "elsewhere"))
    shutil.copy(data.parent / "elsewhere" / "index.db", data / "index.db")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_index, "index was lost"),
        (new_index, "index was lost"),
        (empty_index, "the file has 0 bytes"),
        (no_index, "the file is not an SQLite database"),
        (damaged_index, "malformed"),
    ],
)
async def test_a_data_directory_without_its_index_is_refused_and_not_changed(
    data: Path, damage: Damage, message: str
) -> None:
    shutil.copytree(data, data.parent / "right")
    before = contents(data)
    damage(data)
    for _ in range(2):
        assert message in await refusal(data)
        with pytest.raises(StartError, match=message):
            migrate(settings_for(data))
        with pytest.raises(StartError, match=message):
            check_binding(settings_for(data))
    assert contents(data) == before
    remove_index(data)
    shutil.copy(data.parent / "right" / "index.db", data / "index.db")
    async with a_core(data) as core:
        assert len(await core.retrieve(EVERYTHING)) == 2


async def test_the_index_of_another_archive_is_refused(data: Path, tmp_path: Path) -> None:
    async with a_core(tmp_path / "other") as core:
        await core.stored(part10())
    before = contents(data)
    assert "another archive" in await refusal(data, database=f"sqlite:///{tmp_path / 'other' / 'index.db'}")
    assert contents(data) == before


@pytest.mark.parametrize("is_used", [False, True])
async def test_a_second_data_directory_on_one_database_is_refused(tmp_path: Path, is_used: bool) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    async with a_core(tmp_path / "one", database=url) as core:
        if is_used:
            await core.stored(part10())
    assert "serves one archive" in await refusal(tmp_path / "other", database=url)


@pytest.mark.postgres
async def test_an_empty_postgresql_database_with_existing_blobs_is_refused_and_stays_empty(
    data: Path, postgres_url: str
) -> None:
    assert "index was lost" in await refusal(data, database=postgres_url)
    assert "index was lost" in await refusal(data, database=postgres_url)


async def test_an_empty_file_in_an_empty_data_directory_is_a_new_archive(tmp_path: Path) -> None:
    (tmp_path / "index.db").touch()
    async with a_core(tmp_path) as core:
        await core.stored(part10())


async def test_an_archive_without_an_identity_is_given_one(data: Path) -> None:
    (data / "archive.json").unlink()
    with sqlite3.connect(data / "index.db") as connection:
        connection.execute("DELETE FROM archive")
    connection.close()
    async with a_core(data) as core:
        assert len(await core.retrieve(EVERYTHING)) == 2
    assert json.loads((data / "archive.json").read_text())["bound"] is True


async def test_an_interrupted_assignment_of_the_identity_is_completed(data: Path) -> None:
    facts = json.loads((data / "archive.json").read_text())
    (data / "archive.json").write_text(json.dumps({**facts, "bound": False}))
    async with a_core(data) as core:
        assert len(await core.retrieve(EVERYTHING)) == 2
    assert json.loads((data / "archive.json").read_text()) == facts


async def test_processes_creating_an_archive_concurrently_agree_on_its_identity(tmp_path: Path) -> None:
    await asyncio.gather(*(asyncio.to_thread(prepare, settings_for(tmp_path)) for _ in range(6)))
    prepare(settings_for(tmp_path))


async def test_a_worker_refuses_a_mismatched_index_and_data_directory_and_needs_no_blobs(
    data: Path, tmp_path: Path
) -> None:
    async with working(settings_for(tmp_path / "elsewhere", database=f"sqlite:///{data / 'index.db'}")):
        pass
    async with a_core(tmp_path / "other") as core:
        await core.stored(part10())
    with pytest.raises(StartError, match="another archive"):
        async with working(settings_for(tmp_path / "other", database=f"sqlite:///{data / 'index.db'}")):
            pass


async def test_a_start_that_fails_leaves_no_lease_in_the_bucket(tmp_path: Path, bucket_url: str) -> None:
    settings = settings_for(tmp_path / "data", blobs=bucket_url)
    client = ObjectClient(bucket_url)
    await asyncio.to_thread(migrate, settings)
    prepared = await asyncio.to_thread(prepare, settings)
    assert len(list(client.names("processes"))) == 1
    await asyncio.to_thread(prepared.storage.close)
    other = settings_for(tmp_path / "other", blobs=bucket_url)
    client.put("blobs/0123456789abcdef/0123456789abcdefl", b"x")
    for start in (prepare, check_binding):
        with pytest.raises(StartError) as refused:
            await asyncio.to_thread(start, other)
        assert bucket_url in str(refused.value)
        assert "data directory" not in str(refused.value)
    with pytest.raises(StartError), recovering(settings):
        raise StartError("a recovery that fails")
    assert list(client.names("processes")) == []
