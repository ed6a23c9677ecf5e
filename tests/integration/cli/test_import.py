"""`dicomstore import` and `dicomstore adopt`, against a real core."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from server.config import Settings
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.operations import perform


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that may be imported and adopted."""
    path = tmp_path / "incoming"
    path.mkdir()
    monkeypatch.setenv("DICOMSTORE_IMPORT_SOURCES", str(path))
    monkeypatch.setenv("DICOMSTORE_ADOPTED_FOLDERS", json.dumps({"incoming": str(path)}))
    (path / "one").write_bytes(part10())
    (path / "two").write_bytes(part10())
    return path


@pytest.fixture
def settings(archive: CoreClient) -> Settings:
    return settings_for(archive.data)


async def worked(settings: Settings, dicomstore: Any, *arguments: str) -> Any:
    """Run a command, and what a worker does meanwhile."""

    async def work() -> None:
        while not command.done():
            await perform(settings)
            await asyncio.sleep(0.05)

    command = asyncio.create_task(dicomstore(*arguments))
    await work()
    return await command


async def test_a_folder_is_imported_and_failures_are_shown(settings: Settings, dicomstore: Any, source: Path) -> None:
    done = await worked(settings, dicomstore, "import", str(source), "--reason", "old archive")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        0,
        "2 files stored, 0 stored before, 0 imported before, 0 failed",
    )
    (source / "bad").write_text("no DICOM")
    done = await worked(settings, dicomstore, "import", source.as_uri())
    assert done.exit_code == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("bad: ")]
    assert done.stderr.splitlines()[-1] == "0 files stored, 0 stored before, 2 imported before, 1 failed"


async def test_a_folder_is_adopted(settings: Settings, dicomstore: Any, source: Path) -> None:
    done = await worked(settings, dicomstore, "adopt", str(source))
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        0,
        "2 files adopted, 0 stored before, 0 imported before, 0 failed",
    )


async def test_a_continuous_import_runs_until_it_is_cancelled(
    settings: Settings, dicomstore: Any, source: Path
) -> None:
    started = (await dicomstore("import", str(source), "--continuous", "--settle", "1")).stdout.strip()
    await perform(settings)
    [shown] = (await dicomstore("operations", started, "--cancel", "--json")).lines
    assert (shown["state"], shown["request"]["continuous"]) == ("canceled", True)


async def test_what_is_not_permitted_is_explained(archive: CoreClient, dicomstore: Any) -> None:
    done = await dicomstore("import", "/etc")
    assert done.exit_code != 0
    assert "import_sources" in done.stderr
    done = await dicomstore("adopt", "/etc")
    assert "adopted_folders" in done.stderr
