"""`dicomstore delete`, against a real core."""

import os
from pathlib import Path
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
async def test_deleting_an_unknown_resource_succeeds_with_a_note(dicomstore: Any) -> None:
    ran = await dicomstore("delete", "1.3", "-y")
    assert ran.exit_code == 0
    assert "nothing to delete" in ran.stderr


@pytest.mark.usefixtures("stored")
async def test_nothing_is_deleted_without_a_terminal_for_confirmation(archive: CoreClient, dicomstore: Any) -> None:
    ran = await dicomstore("delete", "1.2")
    assert ran.exit_code == 2
    assert [change.action for change in await archive.changes()] == [1, 1]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("answer", "exit_code", "left"), [(b"n\n", 1, 1), (b"\n", 1, 1), (b"y\n", 0, 0)])
async def test_the_user_is_asked_for_confirmation(dicomstore: Any, answer: bytes, exit_code: int, left: int) -> None:
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


async def studies(dicomstore: Any) -> list[str]:
    return sorted(match["0020000D"]["Value"][0] for match in (await dicomstore("search", "--json")).lines)


async def test_only_the_listed_matches_of_a_search_are_deleted(
    archive: CoreClient, dicomstore: Any, tmp_path: Path
) -> None:
    await archive.stored(*(part10(StudyInstanceUID=f"1.{number}", PatientID=f"P{number % 2}") for number in range(6)))
    listed = tmp_path / "list"
    listed.write_text((await dicomstore("search", "PatientID=P1", "--uids")).stdout)
    ran = await dicomstore("delete", "--from", "-", "--yes", stdin=str(listed))
    assert (ran.exit_code, ran.stderr) == (0, "deleted 3 instances\n")
    assert await studies(dicomstore) == ["1.0", "1.2", "1.4"]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("words", [["Modality=CT"], ["PatientNmae=Doe"], ["StudyDate=x"]])
async def test_a_failed_search_deletes_nothing(dicomstore: Any, tmp_path: Path, words: list[str]) -> None:
    listed = tmp_path / "list"
    listed.write_text((await dicomstore("search", *words, "--uids")).stdout)
    ran = await dicomstore("delete", "--from", "-", "--yes", stdin=str(listed))
    assert ran.exit_code == 2
    assert "is empty; nothing was deleted" in ran.stderr
    assert await studies(dicomstore) == ["1.2"]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# dicomstore list\n1.2\n", "is not complete"),
        ("# dicomstore list\n1.2\n# end 2\n", "is not complete"),
        ("# dicomstore list\n1.2\n# end 1", "is not complete"),
        ("1.2\n1.2 1.2.1\n1.2", "ends in the middle of a line"),
        ("1.2\nStudyInstanceUID\n", "line 2 of"),
        ("1.2 1.3 1.4 1.5\n", "line 1 of"),
        ('{"0020000D": {"vr": "UI", "Value": ["1.2"]}}\n', "line 1 of"),
        ("1" * 2000 + "\n", "line 1 of"),
        ("1.2\n\0\n", "line 2 of"),
        ("", "is empty"),
    ],
)
async def test_an_incomplete_list_deletes_nothing(dicomstore: Any, tmp_path: Path, text: str, fault: str) -> None:
    listed = tmp_path / "list"
    listed.write_text(text)
    ran = await dicomstore("delete", "--from", listed, "--yes")
    assert ran.exit_code == 2
    assert fault in ran.stderr
    assert await studies(dicomstore) == ["1.2"]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("text", ["# dicomstore list\n# end 0\n", "# none today\n"])
async def test_an_empty_list_is_not_a_failure(dicomstore: Any, tmp_path: Path, text: str) -> None:
    listed = tmp_path / "list"
    listed.write_text(text)
    ran = await dicomstore("delete", "--from", listed)
    assert (ran.exit_code, "nothing was deleted" in ran.stderr) == (0, True)
    assert await studies(dicomstore) == ["1.2"]


@pytest.mark.usefixtures("stored")
async def test_a_list_written_by_hand_may_name_series_and_have_comments(dicomstore: Any, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_text("# by hand\n\n1.2 1.2.1\n")
    assert (await dicomstore("delete", "--from", listed)).exit_code == 2
    ran = await dicomstore("delete", "--from", listed, "--yes")
    assert (ran.exit_code, ran.stderr) == (0, "deleted 1 instance\n")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("uids", [["1.2", ""], ["1.2", "1.2.1", ""], [""], [], ["1.2", "--from", "x"]])
async def test_an_empty_argument_never_widens_what_is_deleted(dicomstore: Any, uids: list[str]) -> None:
    assert (await dicomstore("delete", *uids, "--yes")).exit_code == 2
    assert await studies(dicomstore) == ["1.2"]
