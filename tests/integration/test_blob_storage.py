"""Setting `blobs` selects the blob store (server/adapters/blobs/factory.py)."""

from pathlib import Path

import pytest

from server.bootstrap.checks import checks
from server.opening import StartError
from tests.core import Ref, settings_for
from tests.data import new_uid, part10
from tests.integration.conftest import a_core

STUDY = new_uid()
EVERYTHING = Ref(study_instance_uid=STUDY)


async def test_blobs_and_all_records_beside_them_lie_in_the_directory_of_the_url(tmp_path: Path) -> None:
    data, blobs = tmp_path / "data", tmp_path / "other disk"
    async with a_core(data, blobs=blobs.as_uri()) as core:
        await core.stored(part10(StudyInstanceUID=STUDY), part10(StudyInstanceUID=STUDY))
    keys = {"audit-key", "operator", "share"}
    assert {path.name.partition(".")[0] for path in data.iterdir()} <= {"index", "start-reserve", *keys}
    assert {"archive.json", "audit", "segments", "blobs", "marks", "quarantine"} <= {
        path.name for path in blobs.iterdir()
    }
    async with a_core(data, blobs=blobs.as_uri()) as core:
        assert len(await core.retrieve(EVERYTHING)) == 2
    found = {
        check["name"]: check["status"] for check in await checks(settings_for(data, blobs=blobs.as_uri()), deep=True)
    }
    assert (found["archive"], found["agreement"]) == ("ok", "ok")


async def test_an_index_does_not_serve_with_other_blobs_than_its_own(tmp_path: Path) -> None:
    async with a_core(tmp_path / "data") as core:
        await core.stored(part10(StudyInstanceUID=STUDY))
    with pytest.raises(StartError, match="bytes are not in"):
        async with a_core(tmp_path / "data", blobs=(tmp_path / "other disk").as_uri()):
            pass


async def test_a_core_needs_nothing_of_its_storage_but_the_port(tmp_path: Path) -> None:
    async with a_core(tmp_path, blobs="memory:") as core:
        await core.stored(part10(StudyInstanceUID=STUDY), part10(StudyInstanceUID=STUDY))
        assert len(await core.retrieve(EVERYTHING)) == 2
        assert await core.delete(EVERYTHING) == 2
    assert not (tmp_path / "segments").exists()


async def test_a_core_does_not_start_with_a_url_that_no_adapter_has(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="'ftp', which is not supported"):
        async with a_core(tmp_path, blobs="ftp://bucket"):
            pass
