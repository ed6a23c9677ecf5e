"""Locks on files (server/adapters/blobs/disk/file_lock.py)."""

import os
from pathlib import Path

import pytest

from server.adapters.blobs.disk.file_lock import lock_if_free, locked


def test_a_lock_is_held_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    held = lock_if_free(tmp_path / "lock")
    assert held is not None
    assert lock_if_free(tmp_path / "lock") is None
    os.close(held)
    again = lock_if_free(tmp_path / "lock", create=False)
    assert again is not None
    os.close(again)


def test_a_lock_is_released_at_the_end_of_its_context_even_after_an_error(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        assert lock_if_free(tmp_path / "lock") is None
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock"):
        pass


def test_a_refused_lock_leaves_no_descriptor_open(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert lock_if_free(tmp_path / "lock") is None
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_missing_file_is_created_only_on_request(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock_if_free(tmp_path / "lock", create=False)
    assert not (tmp_path / "lock").exists()
