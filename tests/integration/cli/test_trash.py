"""`dicomstore trash` and `dicomstore undelete`, against a real core."""

import json
from typing import Any

import pytest

from tests.core import CoreClient
from tests.data import part10


@pytest.fixture
async def stored(archive: CoreClient) -> None:
    await archive.stored(part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1"))


@pytest.mark.usefixtures("stored")
async def test_a_deletion_is_listed_and_undone(dicomstore: Any) -> None:
    await dicomstore("delete", "1.2", "--yes", "--reason", "wrong patient")
    shown = await dicomstore("trash")
    assert "study 1.2" in shown.stdout
    assert "wrong patient" in shown.stdout
    [line] = (await dicomstore("trash", "1.2", "1.2.1", "--json")).stdout.splitlines()
    assert json.loads(line)["reason"] == "wrong patient"
    restored = await dicomstore("undelete", "1.2")
    assert (restored.exit_code, restored.stderr.strip()) == (0, "restored 1 instance")
    again = await dicomstore("undelete", "1.2")
    assert (again.exit_code, again.stderr.strip()) == (1, "nothing to restore")
    assert "no deleted instances" in (await dicomstore("trash")).stderr


@pytest.mark.usefixtures("stored")
async def test_erased_instances_cannot_be_restored(dicomstore: Any) -> None:
    erased = await dicomstore("delete", "1.2", "--yes", "--erase-now")
    assert erased.exit_code == 0
    assert "the bytes of 1 instance are being erased" in erased.stderr
    assert (await dicomstore("undelete", "1.2")).exit_code == 1
