"""`dicomstore export`, against a real core and an S3 server."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from server.config import Settings
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.object_store import ObjectStore
from tests.operations import perform


@pytest.fixture
async def settings(archive: CoreClient) -> Settings:
    for number in (1, 2):
        uids = {"StudyInstanceUID": f"1.{number}", "SeriesInstanceUID": f"1.{number}.1"}
        await archive.stored(part10(SOPInstanceUID=f"1.{number}.1.1", PatientID=f"P{number}", **uids))
    return settings_for(archive.data)


async def started(settings: Settings, dicomstore: Any, *arguments: str, env: Mapping[str, str]) -> Any:
    """Run the command, and what a worker does meanwhile."""
    command = asyncio.create_task(dicomstore("export", *arguments, env=env))
    while not command.done():
        await perform(settings)
        await asyncio.sleep(0.05)
    return await command


async def test_instances_are_exported_with_progress(
    settings: Settings, dicomstore: Any, object_store: ObjectStore
) -> None:
    to, env = object_store.bucket(), object_store.environment
    done = await started(settings, dicomstore, "1.1", "1.2/1.2.1", "--to", to, "--dicomdir", env=env)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, "2 instances exported, 0 skipped")
    skipped = await started(settings, dicomstore, "1.9", "--to", to, env=env)
    assert skipped.exit_code == 1
    assert "0 instances exported, 1 skipped" in skipped.stderr
    assert f"see {to}/" in skipped.stderr
    found = await started(settings, dicomstore, "--where", "PatientID=P1", "--to", to, "--json", env=env)
    [line] = found.stdout.splitlines()
    operation = json.loads(line)
    assert operation["result"]["exported"] == "1"
    assert env["AWS_SECRET_ACCESS_KEY"] not in line


async def test_errors_of_the_destination_are_shown(settings: Settings, dicomstore: Any) -> None:
    refused = await dicomstore("export", "--all", "--to", "/etc")
    assert refused.exit_code == 2
    assert "The folder is not one of those to which exports are permitted." in refused.stderr
    for arguments in (["1.1"], ["--to", "/etc"], ["1.1", "--all", "--to", "/etc"], ["--where", "x", "--to", "/etc"]):
        assert (await dicomstore("export", *arguments)).exit_code == 2
