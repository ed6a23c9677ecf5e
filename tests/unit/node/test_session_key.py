"""The key of browser sessions that all nodes of an archive share."""

from pathlib import Path

import pytest

from facade.config import Settings
from node.session_key import SESSION_KEY_FILE, with_session_key


def test_nodes_share_the_key_of_the_data_directory(tmp_path: Path) -> None:
    first, second = (with_session_key(Settings(), tmp_path).session_keys for _ in range(2))
    assert first == second == [(tmp_path / SESSION_KEY_FILE).read_text().strip()]
    assert (tmp_path / SESSION_KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_the_key_of_the_settings_takes_precedence(tmp_path: Path) -> None:
    keys = [32 * "a", 32 * "b"]
    assert with_session_key(Settings(session_key=",".join(keys)), tmp_path).session_keys == keys
    assert not (tmp_path / SESSION_KEY_FILE).exists()


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / SESSION_KEY_FILE).write_text(32 * "a")
    (tmp_path / SESSION_KEY_FILE).chmod(0o644)
    assert with_session_key(Settings(), tmp_path).session_keys == []
    assert "end with this process" in caplog.text
    assert 32 * "a" not in caplog.text


@pytest.mark.parametrize("key", ["short", f"{32 * 'a'},short"])
def test_a_short_key_is_refused_and_not_displayed(key: str) -> None:
    with pytest.raises(ValueError, match="at least 32") as caught:
        Settings(session_key=key)
    assert "short" not in str(caught.value)


def test_the_keys_of_all_nodes_come_before_that_of_the_data_directory(tmp_path: Path) -> None:
    keys = [32 * "a", 32 * "b"]
    assert with_session_key(Settings(), tmp_path, keys).session_keys == keys
    assert not (tmp_path / SESSION_KEY_FILE).exists()
