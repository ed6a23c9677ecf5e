"""Marks record the progress of the index (server/adapters/blobs/archive_records/marks.py)."""

import os
from pathlib import Path

from server.adapters.blobs.archive_records.marks import Marks
from server.model.archive import Mark
from tests.contract.test_file_blobs import no_file_larger_than


def files(root: Path) -> int:
    return len(list((root / "marks").iterdir()))


def test_a_mark_survives_its_process_and_the_next_one_takes_it_over(tmp_path: Path) -> None:
    first = Marks(tmp_path)
    assert first.enter() == Mark()
    first.record(Mark(3, 4))
    first.record(Mark(5, 6))
    assert Marks(tmp_path).highest() == Mark(5, 6)  # as after kill -9: not closed
    first.leave()
    second = Marks(tmp_path)
    assert second.enter() == Mark(5, 6)
    assert files(tmp_path) == 1
    second.leave()


def test_the_mark_of_a_live_process_is_not_taken_over_and_the_highest_mark_counts(tmp_path: Path) -> None:
    one, other = Marks(tmp_path), Marks(tmp_path)
    one.enter()
    one.record(Mark(10, 10))
    assert other.enter() == Mark(10, 10)
    assert files(tmp_path) == 2
    one.record(Mark(12, 11))
    other.record(Mark(11, 12))
    assert Marks(tmp_path).highest() == Mark(12, 12)
    one.leave()
    other.leave()


def test_a_damaged_mark_is_ignored(tmp_path: Path) -> None:
    one, other = Marks(tmp_path), Marks(tmp_path)
    one.enter()
    other.enter()
    one.record(Mark(2, 2))
    other.record(Mark(9, 9))
    for path in (tmp_path / "marks").iterdir():
        if path.read_bytes()[0] == 9:
            os.truncate(path, 10)
    assert Marks(tmp_path).highest() == Mark(2, 2)
    one.leave()
    other.leave()


def test_a_directory_without_marks_has_the_lowest_mark(tmp_path: Path) -> None:
    assert Marks(tmp_path).highest() == Mark()
    assert not (tmp_path / "marks").exists()


def test_a_full_disk_leaves_the_existing_marks_intact(tmp_path: Path) -> None:
    first = Marks(tmp_path)
    first.enter()
    first.record(Mark(7, 8))
    first.leave()
    second = Marks(tmp_path)
    with no_file_larger_than(0):
        assert second.enter() == Mark(7, 8)
        second.record(Mark(9, 9))
    second.leave()
    assert Marks(tmp_path).highest() == Mark(7, 8)
