"""Settings `blobs` and `blobs_also`: an archive whose blobs are in several stores."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from server.adapters.blobs.factory import storage_of
from server.adapters.sql.engine import Inspection
from server.bootstrap.checks import checks
from server.model.archive import Mark
from server.model.errors import Unavailable
from server.opening import StartError, prepare
from tests.core import Ref, settings_for
from tests.data import new_uid, part10
from tests.integration.conftest import a_core

STUDY = new_uid()
EVERYTHING = Ref(study_instance_uid=STUDY)
LARGE = {"Rows": 1500, "Columns": 1000, "frames": [bytes(1_500_000)]}


def instances() -> list[bytes]:
    return [part10(StudyInstanceUID=STUDY), part10(StudyInstanceUID=STUDY, **LARGE)]


def store_id(directory: Path) -> str | None:
    found: str | None = json.loads((directory / "archive.json").read_bytes()).get("store")
    return found


async def test_a_new_store_is_written_and_the_one_before_is_read_and_erased_from(tmp_path: Path) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    urls = {"blobs": new.as_uri(), "blobs_also": data.as_uri()}
    before, later = instances(), instances()
    async with a_core(data) as core:
        await core.stored(*before)
    for _ in range(2):
        async with a_core(data, retention_hours=0, **urls) as core:
            if later:
                await core.stored(*later)
                before, later = [*before, *later], []
            assert sorted(data for _, data in await core.retrieve(EVERYTHING)) == sorted(before)
    assert store_id(data) is None
    assert store_id(new) is not None
    found = {check["name"]: check["status"] for check in await checks(settings_for(data, **urls), deep=True)}
    assert (found["archive"], found["agreement"]) == ("ok", "ok")
    async with a_core(data, retention_hours=0, erase_interval_seconds=0.1, **urls) as core:
        assert await core.delete(EVERYTHING) == 4
        with Inspection(settings_for(data).database_url) as index:
            while index.identity(Mark()).stores:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert not [*data.glob("segments/*.seg"), *data.glob("blobs/*/*"), *new.glob("blobs/*/*")]
    settings = settings_for(data, blobs=new.as_uri())
    prepare(settings).storage.close()  # the store before is not needed any more


async def test_a_core_does_not_start_without_a_store_that_the_index_refers_to(tmp_path: Path) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    async with a_core(data) as core:
        await core.stored(part10(StudyInstanceUID=STUDY))
    async with a_core(data, blobs=new.as_uri(), blobs_also=data.as_uri()) as core:
        await core.stored(part10(StudyInstanceUID=STUDY))
    for urls, missing in (({"blobs": new.as_uri()}, "without an id"), ({}, store_id(new))):
        with pytest.raises(StartError, match=f"the store {missing}: add its URL to DICOMSTORE_BLOBS_ALSO"):
            async with a_core(data, **urls):
                pass
    async with a_core(data, blobs_also=new.as_uri()) as core:  # in the other order
        assert len(await core.retrieve(EVERYTHING)) == 2


async def test_stores_of_two_archives_or_copies_of_one_are_refused_together(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    for directory in (data, other):
        async with a_core(directory) as core:
            await core.stored(part10())
    shutil.copytree(data, tmp_path / "copy")
    for also, message in (
        (other, "belong to different archives"),
        (tmp_path / "copy", "hold blobs without a store id"),
        (tmp_path / "data" / ".." / "data", "the same directory"),
    ):
        with pytest.raises((StartError, Unavailable), match=message):
            prepare(settings_for(data, blobs=data.as_uri(), blobs_also=also.as_uri()))
    with pytest.raises(StartError, match="named twice"):
        prepare(settings_for(data, blobs=data.as_uri(), blobs_also=data.as_uri()))


async def test_a_start_that_was_interrupted_while_it_bound_a_new_store_is_repeated(tmp_path: Path) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    async with a_core(data) as core:
        await core.stored(part10(StudyInstanceUID=STUDY))
    storage = storage_of(new.as_uri())
    with storage.identity.lock():
        storage.identity.assign_store_id()
        chosen = store_id(new)
        assert chosen is not None
    storage.close()
    for _ in range(2):
        async with a_core(data, blobs=new.as_uri(), blobs_also=data.as_uri()) as core:
            assert len(await core.retrieve(EVERYTHING)) == 1
        assert store_id(new) == chosen
        unbound = json.loads((data / "archive.json").read_bytes()) | {"bound": False}
        (data / "archive.json").write_text(json.dumps(unbound))
    facts = [json.loads((directory / "archive.json").read_bytes()) for directory in (data, new)]
    assert facts[0]["archive"] == facts[1]["archive"]


def test_directories_of_further_stores_are_those_on_this_machine(tmp_path: Path) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    settings = settings_for(data, blobs=new.as_uri(), blobs_also=f"{data.as_uri()}, s3://bucket/prefix")
    assert settings.further_directories == [data]
    assert settings.shown()["blobs_also"] == f"{data.as_uri()},s3://bucket/prefix"
