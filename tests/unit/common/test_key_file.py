"""A random key in a file."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.key_file import key_in


def test_the_key_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    with ThreadPoolExecutor(8) as executor:
        keys = set(executor.map(lambda _: key_in(path), range(8)))
    assert keys == {path.read_text().strip()}
    assert len(keys.pop()) == 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a.key"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key_in(tmp_path / "a.key")
    (tmp_path / "a.key").chmod(0o640)
    with pytest.raises(ValueError, match="0600"):
        key_in(tmp_path / "a.key")


def test_an_empty_file_is_not_a_key(tmp_path: Path) -> None:
    (tmp_path / "a.key").touch(0o600)
    with pytest.raises(ValueError, match="empty"):
        key_in(tmp_path / "a.key")
