"""`dicomstore blobs`, against a real core."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap.serving import running
from server.config import Settings
from tests.core import settings_for
from tests.data import part10
from tests.integration.cli.conftest import CommandLine
from tests.integration.conftest import a_core
from tests.operations import perform


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """An archive with two stores: the one before has two instances."""
    data, new = tmp_path / "data", tmp_path / "new"
    async with a_core(data) as core:
        await core.stored(part10(), part10())
    return settings_for(data, blobs=new.as_uri(), blobs_also=data.as_uri())


@pytest.fixture
async def dicomstore(settings: Settings, tmp_path: Path) -> AsyncIterator[CommandLine]:
    """The command line, with a core that has these settings."""
    (tmp_path / "work").mkdir()
    async with running(settings) as core:
        yield CommandLine(core.address, tmp_path / "work")


async def shown(dicomstore: CommandLine, settings: Settings) -> list[Any]:
    environment = {
        "DICOMSTORE_DATA": str(settings.data),
        "DICOMSTORE_BLOBS": settings.blobs,
        "DICOMSTORE_BLOBS_ALSO": settings.blobs_also,
    }
    done = await dicomstore("blobs", "status", "--json", env=environment)
    assert (done.exit_code, done.stderr) == (0, "")
    table = await dicomstore("blobs", "status", env=environment)
    assert "primary" in table.stdout
    stores: list[Any] = json.loads(done.stdout)["stores"]
    has_removable = any(one["role"] == "further" and not one["versions"] + one["old_copies"] for one in stores)
    assert ("remove it from `blobs_also`" in table.stderr) == has_removable
    return [(one["role"], one["place"], one["versions"], one["old_copies"]) for one in stores]


async def test_blobs_are_moved_and_the_stores_are_shown(dicomstore: CommandLine, settings: Settings) -> None:
    data, new = str(settings.data), str(settings.data.parent / "new")
    assert await shown(dicomstore, settings) == [("primary", new, 0, 0), ("further", data, 2, 0)]
    command = asyncio.create_task(dicomstore("blobs", "move", "--to", settings.blobs, "--megabytes-per-second", "100"))
    while not command.done():
        await perform(settings)
        await asyncio.sleep(0.05)
    done = await command
    assert done.exit_code == 0
    assert done.stderr.splitlines()[-1].startswith("2 versions moved, ")
    assert "the old copies are kept until 20" in done.stderr
    assert await shown(dicomstore, settings) == [("primary", new, 2, 0), ("further", data, 0, 2)]


async def test_a_move_to_another_store_than_the_primary_one_is_refused_with_what_to_do(
    dicomstore: CommandLine, settings: Settings
) -> None:
    done = await dicomstore("blobs", "move", "--to", settings.blobs_also)
    assert done.exit_code != 0
    assert "Set DICOMSTORE_BLOBS to it, and DICOMSTORE_BLOBS_ALSO" in " ".join(done.stderr.split())


async def test_the_operation_is_printed_without_waiting_and_can_be_cancelled(
    dicomstore: CommandLine, settings: Settings
) -> None:
    done = await dicomstore("blobs", "move", "--to", settings.blobs, "--no-wait")
    assert (done.exit_code, len(done.stdout.strip())) == (0, 32)
    cancelled = await dicomstore("operations", done.stdout.strip(), "--cancel", "--json")
    assert cancelled.lines[0]["state"] in ("canceled", "cancelled")
    await perform(settings)
    assert [row[2] for row in await shown(dicomstore, settings)] == [0, 2]


async def test_a_store_that_is_missing_from_the_settings_is_shown(dicomstore: CommandLine, settings: Settings) -> None:
    alone = settings.model_copy(update={"blobs_also": ""})
    rows = await shown(dicomstore, alone)
    assert [(role, versions) for role, _, versions, _ in rows] == [("primary", 0), ("missing", 2)]
