"""`dicomstore hold`, against a real core."""

import json
from typing import Any

import pytest

from tests.core import CoreClient
from tests.data import part10


@pytest.fixture
async def stored(archive: CoreClient) -> None:
    await archive.stored(part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1"))


@pytest.mark.usefixtures("stored")
async def test_a_hold_is_set_listed_and_released(dicomstore: Any) -> None:
    assert "there are no holds" in (await dicomstore("hold", "list")).stderr
    held = await dicomstore("hold", "set", "1.2", "1.2.1", "--reason", "complaint", "--name", "audit")
    assert (held.exit_code, held.stderr.strip()) == (0, "series 1.2.1 is on hold")
    refused = await dicomstore("delete", "1.2", "--yes")
    assert refused.exit_code == 1
    assert "Series 1.2.1 is on hold (audit): complaint" in refused.stderr
    shown = (await dicomstore("hold", "list", "1.2")).stdout
    assert "series 1.2.1" in shown
    assert "complaint" in shown
    [line] = (await dicomstore("hold", "list", "--json")).stdout.splitlines()
    assert json.loads(line)["reason"] == "complaint"
    assert (await dicomstore("hold", "release", "1.2", "--name", "audit")).exit_code != 0
    assert (await dicomstore("hold", "release", "1.2", "1.2.1", "--name", "audit")).exit_code == 0
    assert (await dicomstore("delete", "1.2", "--yes")).exit_code == 0


@pytest.mark.usefixtures("stored")
async def test_a_hold_needs_a_reason_and_an_existing_resource(dicomstore: Any) -> None:
    assert (await dicomstore("hold", "set", "1.2")).exit_code == 2
    assert (await dicomstore("hold", "set", "1.3", "--reason", "complaint")).exit_code != 0
