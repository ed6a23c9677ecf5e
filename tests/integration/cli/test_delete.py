"""`dicomstore delete`, against a real core."""

import os
from typing import Any

import pytest

from tests.core import CoreClient
from tests.data import part10


@pytest.fixture
async def stored(archive: CoreClient) -> None:
    """Two series of one study."""
    await archive.stored(
        part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1"),
        part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.2"),
    )


@pytest.mark.usefixtures("stored")
async def test_a_series_is_deleted_and_the_rest_stays(archive: CoreClient, dicomstore: Any) -> None:
    ran = await dicomstore("delete", "1.2", "1.2.1", "--yes")
    assert ran.exit_code == 0
    assert "deleted 1 instance" in ran.stderr
    left = await dicomstore("search", "series", "--json")
    assert [match["0020000E"]["Value"] for match in left.lines] == [["1.2.2"]]


@pytest.mark.usefixtures("stored")
async def test_deleting_what_is_not_there_succeeds_and_says_so(dicomstore: Any) -> None:
    ran = await dicomstore("delete", "1.3", "-y")
    assert ran.exit_code == 0
    assert "nothing was there" in ran.stderr


@pytest.mark.usefixtures("stored")
async def test_nothing_is_deleted_when_nobody_can_be_asked(archive: CoreClient, dicomstore: Any) -> None:
    ran = await dicomstore("delete", "1.2")
    assert ran.exit_code == 2
    assert [change.action for change in await archive.changes()] == [1, 1]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("answer", "exit_code", "left"), [(b"n\n", 1, 1), (b"\n", 1, 1), (b"y\n", 0, 0)])
async def test_a_person_is_asked_first(dicomstore: Any, answer: bytes, exit_code: int, left: int) -> None:
    person, terminal = os.openpty()
    os.write(person, answer)
    try:
        ran = await dicomstore("delete", "1.2", stdin=os.ttyname(terminal))
    finally:
        os.close(terminal)
        os.close(person)
    assert ran.exit_code == exit_code
    assert "study 1.2" in ran.stderr
    assert len((await dicomstore("search", "--json")).lines) == left
