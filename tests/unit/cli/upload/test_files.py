"""Search for files and their batches in `dicomstore store`: cli/upload/files.py."""

import os
from pathlib import Path

import pytest

from cli.upload.files import (
    BATCH_FILES,
    PIECE_BYTES,
    LocalFile,
    Unreadable,
    batches,
    is_index_file,
    looks_like_dicom,
    walk,
)


def written(path: Path, size_bytes: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size_bytes)
    return path


def of_size(size_bytes: int) -> LocalFile:
    return LocalFile(Path("f"), size_bytes)


def test_walk_finds_files_at_every_depth_with_their_sizes(tmp_path: Path) -> None:
    written(tmp_path / "a", 1)
    written(tmp_path / "b/c/d", 3)
    assert set(walk([tmp_path])) == {LocalFile(tmp_path / "a", 1), LocalFile(tmp_path / "b/c/d", 3)}


def test_walk_marks_only_named_files_as_named(tmp_path: Path) -> None:
    named = written(tmp_path / "named")
    written(tmp_path / "folder/found")
    assert [
        (file.path.name, file.named) for file in walk([named, tmp_path / "folder"]) if isinstance(file, LocalFile)
    ] == [
        ("named", True),
        ("found", False),
    ]


def test_walk_follows_links_to_files_but_not_to_folders_below(tmp_path: Path) -> None:
    written(tmp_path / "elsewhere/file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link").symlink_to(tmp_path / "elsewhere/file")
    (tmp_path / "folder/loop").symlink_to(tmp_path / "folder")
    assert list(walk([tmp_path / "folder"])) == [LocalFile(tmp_path / "folder/link", 1)]


def test_walk_follows_a_named_link_to_a_folder(tmp_path: Path) -> None:
    written(tmp_path / "folder/file")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert list(walk([tmp_path / "link"])) == [LocalFile(tmp_path / "link/file", 1)]


def test_walk_ignores_a_pipe_in_a_folder_and_reports_a_named_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert list(walk([tmp_path])) == []
    assert list(walk([tmp_path / "pipe"])) == [Unreadable(tmp_path / "pipe", "is neither a file nor a folder")]


def test_walk_reports_a_missing_path_and_continues(tmp_path: Path) -> None:
    there = written(tmp_path / "there")
    assert list(walk([tmp_path / "gone", there])) == [
        Unreadable(tmp_path / "gone", "does not exist"),
        LocalFile(there, 1, named=True),
    ]


def test_walk_ignores_a_broken_link_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    written(tmp_path / "file")
    assert list(walk([tmp_path])) == [LocalFile(tmp_path / "file", 1)]


def test_small_files_share_a_batch_up_to_the_size_of_a_message() -> None:
    half = of_size(PIECE_BYTES // 2)
    assert list(batches([half] * 5)) == [(half, half), (half, half), (half,)]


def test_a_file_larger_than_a_message_is_a_batch_of_its_own() -> None:
    small, large = of_size(1), of_size(PIECE_BYTES + 1)
    assert list(batches([small, large, small])) == [(small,), (large,), (small,)]


def test_a_file_of_exactly_one_message_is_a_batch_of_its_own() -> None:
    small, full = of_size(1), of_size(PIECE_BYTES)
    assert list(batches([full, small])) == [(full,), (small,)]


def test_a_batch_has_a_bounded_number_of_files() -> None:
    assert [
        len(batch) for batch in batches([of_size(0)] * (2 * BATCH_FILES + 1)) if not isinstance(batch, Unreadable)
    ] == [
        BATCH_FILES,
        BATCH_FILES,
        1,
    ]


def test_unreadable_paths_are_passed_through() -> None:
    gone = Unreadable(Path("gone"), "does not exist")
    assert list(batches([of_size(1), gone, of_size(2)])) == [gone, (of_size(1), of_size(2))]


def test_batches_read_no_more_files_than_needed() -> None:
    endless = (of_size(PIECE_BYTES) for _ in iter(int, 1))
    assert next(batches(endless)) == (of_size(PIECE_BYTES),)


@pytest.mark.parametrize(
    ("prefix", "is_dicom"),
    [
        (b"\0" * 128 + b"DICM", True),
        (b"\xff" * 128 + b"DICM", True),
        (b"\0" * 128 + b"DICM" + b"more", True),
        (b"\0" * 127 + b"DICM", False),
        (b"DICM", False),
        (b"", False),
    ],
)
def test_dicom_is_recognised_by_the_bytes_after_the_preamble(prefix: bytes, is_dicom: bool) -> None:
    assert looks_like_dicom(prefix) is is_dicom


def test_a_dicomdir_is_recognised_by_its_name() -> None:
    assert is_index_file(Path("/cd/DICOMDIR"))
    assert is_index_file(Path("/cd/dicomdir"))
    assert not is_index_file(Path("/cd/DICOMDIR/IM0001"))
