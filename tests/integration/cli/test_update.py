"""`dicomstore update`, against a real core."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from server.config import Settings
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.operations import perform


@pytest.fixture
async def settings(archive: CoreClient) -> Settings:
    await archive.stored(part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", PatientName="Old"))
    return settings_for(archive.data)


async def started(settings: Settings, dicomstore: Any, *arguments: str, command: Sequence[str] = ("update",)) -> Any:
    """Run the command, and what a worker does meanwhile."""

    async def work() -> None:
        while not running.done():
            await perform(settings)
            await asyncio.sleep(0.05)

    running = asyncio.create_task(dicomstore(*command, *arguments))
    await work()
    return await running


async def test_values_are_given_by_keyword_or_in_a_file(settings: Settings, dicomstore: Any, tmp_path: Path) -> None:
    (tmp_path / "work" / "changes.json").write_text('{"00101020": {"vr": "DS", "Value": [1.75]}}')
    done = await started(
        settings,
        dicomstore,
        *("1.2", "--set", "PatientName=Doe^Jane", "--set", "OtherPatientIDs=A\\B"),
        *("--changes", "changes.json", "--reason", "wrong patient"),
    )
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, "1 instance of 1 study updated, 0 studies failed")
    shown = await dicomstore("search", "PatientName=Doe*", "--json")
    assert len(shown.stdout.splitlines()) == 1


async def test_the_operation_is_printed_without_waiting(settings: Settings, dicomstore: Any) -> None:
    done = await dicomstore("update", "1.2", "--set", "PatientID=P-7", "--no-wait")
    assert (done.exit_code, len(done.stdout.strip())) == (0, 32)
    await perform(settings)
    [line] = (await dicomstore("operations", done.stdout.strip(), "--json")).stdout.splitlines()
    assert json.loads(line)["result"]["instances_updated"] == "1"


async def test_a_study_is_reverted_to_the_state_before_an_update(settings: Settings, dicomstore: Any) -> None:
    update = (await dicomstore("update", "1.2", "--set", "PatientName=Doe^Jane", "--no-wait")).stdout.strip()
    await perform(settings)
    revert = ("versions", "revert-study")
    done = await started(settings, dicomstore, "1.2", "--before", update, "--reason", "wrong", command=revert)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, "1 instance of 1 study updated, 0 studies failed")
    assert len((await dicomstore("search", "PatientName=Old", "--json")).stdout.splitlines()) == 1
    done = await started(settings, dicomstore, "1.2", "--to", "0s", command=revert)
    assert done.stderr.splitlines()[-1] == "0 instances of 0 studies updated, 0 studies failed"
    assert (await dicomstore(*revert, "1.2")).exit_code == 2


async def test_an_update_can_be_cancelled(settings: Settings, dicomstore: Any) -> None:
    started_id = (await dicomstore("update", "1.2", "--set", "PatientID=P-7", "--no-wait")).stdout.strip()
    cancelled = await dicomstore("operations", started_id, "--cancel", "--json")
    assert (cancelled.exit_code, cancelled.stderr) == (0, "")
    await perform(settings)
    assert (await dicomstore("operations", started_id, "--json")).lines[0]["state"] == "canceled"


async def test_a_study_that_is_named_twice_counts_once(settings: Settings, dicomstore: Any) -> None:
    done = await started(settings, dicomstore, *("1.2", "1.2", "--set", "PatientID=P-7", "--json"))
    [operation] = done.lines
    assert (operation["done"], operation["total"]) == (1, 1)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("1.2",), "--set or --changes"),
        (("1.2", "--set", "PatientName"), "KEYWORD=VALUE"),
        (("1.2", "1.3", "--set", "PatientID=1", "--series", "1.2.1"), "single study"),
        (("1.2", "--set", "PatientID=1", "--instance", "1.2.1"), "needs the series"),
        (("x", "--set", "PatientID=1"), "not a UID"),
        (("1.2", "--set", "SOPInstanceUID=1.2"), "cannot be changed"),
    ],
)
async def test_wrong_arguments_are_refused(dicomstore: Any, arguments: tuple[str, ...], text: str) -> None:
    refused = await dicomstore("update", *arguments)
    assert refused.exit_code != 0
    assert text in " ".join(refused.stderr.replace("│", " ").split())
