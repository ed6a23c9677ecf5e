"""The journal of blobs that no instance refers to any more (server/adapters/blobs/archive_records/journal.py)."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from server.adapters.blobs.archive_records.journal import FileJournal
from server.adapters.blobs.disk.reserve import Reserve
from server.model.errors import Exhausted
from server.model.ids import Version
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.ports.journal import OpenDeletion
from tests.contract.index.samples import identity, study_ref
from tests.small_disk import fill, small_disk


def nothing_referenced(_: Sequence[str]) -> set[str]:
    return set()


def test_only_committed_transactions_count(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.deleted(["a", "b"])
    journal.deleted(["c"])
    journal.prepare()
    journal.committed()
    journal.deleted(["d"])
    journal.rolled_back()
    journal.moved({"e": "f"})
    journal.prepare()
    journal.committed()
    assert list(FileJournal(tmp_path).entries()) == [("a", None), ("b", None), ("c", None), ("e", "f")]
    journal.close()


def test_a_restoration_without_an_end_counts_if_the_index_refers_to_its_blobs(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    for number, locator in enumerate(("committed", "not-committed"), 1):
        journal.deleted([locator])
        journal.committed()
        journal.restored({locator: identity(number)})
        journal.ended()
    assert len(list(journal.restorations())) == 2
    journal.close()
    FileJournal(tmp_path).take_over(lambda locators: {"committed"} & set(locators), set)
    assert list(FileJournal(tmp_path).restorations()) == [("committed", identity(1))]
    assert [old for old, _ in FileJournal(tmp_path).entries()] == ["committed", "not-committed"]


def test_a_version_without_an_end_counts_if_the_index_refers_to_its_blob(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    by = Provenance("someone", origin=VersionOrigin.REPLACED)
    for number, locator in enumerate(("committed", "not-committed"), 1):
        journal.replaced({locator: (Version(number), by)})
        journal.ended()
    assert len(list(journal.versions())) == 2
    journal.close()
    FileJournal(tmp_path).take_over(lambda locators: {"committed"} & set(locators), set)
    assert list(FileJournal(tmp_path).versions()) == [("committed", Version(1), by)]


def test_a_transaction_without_entries_creates_no_file(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.prepare()
    journal.committed()
    journal.rolled_back()
    journal.close()
    assert not (tmp_path / "journal").exists()


def test_a_transaction_without_an_end_counts_unless_the_index_still_refers_to_its_blobs(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    for locator in ("committed", "not-committed", "last"):
        journal.deleted([locator])
        journal.ended()
    assert [old for old, _ in journal.entries()] == ["committed", "not-committed", "last"]
    journal.close()
    FileJournal(tmp_path).take_over(lambda locators: {"not-committed"} & set(locators), set)
    assert [old for old, _ in FileJournal(tmp_path).entries()] == ["committed", "last"]
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["history"]


def test_the_journal_of_a_live_process_is_not_taken_over(tmp_path: Path) -> None:
    live, dead = FileJournal(tmp_path), FileJournal(tmp_path)
    live.deleted(["a"])
    dead.deleted(["b"])
    dead.committed()
    dead.close()
    FileJournal(tmp_path).take_over(nothing_referenced, set)
    live.committed()
    FileJournal(tmp_path).take_over(nothing_referenced, set)
    assert len(list((tmp_path / "journal").iterdir())) == 2
    assert sorted(FileJournal(tmp_path).entries()) == [("a", None), ("b", None)]
    live.close()


def test_history_grows_and_taking_over_twice_is_harmless(tmp_path: Path) -> None:
    for locator in ("a", "b"):
        journal = FileJournal(tmp_path)
        journal.moved({locator: f"copy of {locator}".replace(" ", "-")})
        journal.committed()
        journal.close()
        FileJournal(tmp_path).take_over(nothing_referenced, set)
    assert list(FileJournal(tmp_path).entries()) == [("a", "copy-of-a"), ("b", "copy-of-b")]


def test_an_incomplete_line_is_ignored(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.deleted(["a"])
    journal.committed()
    journal.close()
    [path] = (tmp_path / "journal").iterdir()
    for torn in ("T\nD bbb", "T\nM bbb c", "T\nD b\x00\x00\n"):
        path.write_text("T\nD a\nC\n" + torn)
        assert ("a", None) in list(FileJournal(tmp_path).entries())
        assert all(old in ("a", "b\x00\x00") for old, _ in FileJournal(tmp_path).entries())


@pytest.mark.clients("unshare")
def test_on_a_full_disk_the_reserve_has_room_for_the_journal(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 10 << 20) as disk:
        Reserve(disk.path).fill()
        fill(disk.path)
        journal = FileJournal(disk.path)
        for number in range(50):
            journal.deleted([f"{number}-{other}" for other in range(100)])
            journal.prepare()
            journal.committed()
        journal.close()
        assert len(list(FileJournal(disk.path).entries())) == 5000
        (disk.path / "start-reserve").unlink()
        (disk.path / "filler").write_bytes(b"")
        fill(disk.path)
        with pytest.raises(Exhausted):
            FileJournal(disk.path).deleted(["one more"])


def test_the_index_decides_which_deletions_of_ended_processes_are_open(tmp_path: Path) -> None:
    first, second = FileJournal(tmp_path), FileJournal(tmp_path)
    for number in (1, 2, 3):
        first.deleted_all(number, study_ref(number))
        first.committed()
        first.stored_later(number, [f"new-{number}"])
        first.committed()
    first.deleted_all(4, study_ref(4))  # the outcome is unknown
    for number in (1, 2):
        second.completed(number)
        second.ended()
    assert FileJournal(tmp_path).open_deletions().keys() == {3, 4}  # without an index, they count as committed
    first.close()
    second.close()
    FileJournal(tmp_path).take_over(nothing_referenced, lambda: {2, 3})
    assert FileJournal(tmp_path).open_deletions() == {
        number: OpenDeletion(study_ref(number), {f"new-{number}"}) for number in (2, 3)
    }
