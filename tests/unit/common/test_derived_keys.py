"""Keys that follow from setting `secret_key` (common/derived_keys.py)."""

from pathlib import Path

import pytest

from facade.config import Settings as FacadeSettings
from server.adapters.blobs.audit_trail.keys import signing_key
from server.config import Settings

SECRET, OTHER = 32 * "s", 32 * "o"


def test_programs_with_the_same_secret_have_the_same_keys(tmp_path: Path) -> None:
    one, other = (Settings(data=tmp_path / name, secret_key=SECRET) for name in ("one", "other"))
    assert one.share_keys == other.share_keys
    assert one.operation_keys == other.operation_keys
    assert one.session_keys == other.session_keys == FacadeSettings(secret_key=SECRET).session_keys
    assert signing_key(one.audit_trail).public == signing_key(other.audit_trail).public
    assert list(tmp_path.iterdir()) == []


def test_the_keys_of_different_purposes_and_secrets_differ() -> None:
    settings = [Settings(secret_key=secret) for secret in (SECRET, OTHER)]
    keys = {
        key
        for one in settings
        for key in (*one.share_keys, *one.session_keys, *one.operation_keys, one.audit_trail.key_seed.hex())
    }
    assert len(keys) == 8


def test_the_first_of_several_secrets_counts_and_the_others_are_still_accepted() -> None:
    both = Settings(secret_key=f"{OTHER},{SECRET}")
    assert both.share_keys == Settings(secret_key=OTHER).share_keys + Settings(secret_key=SECRET).share_keys
    assert both.audit_trail.key_seed == Settings(secret_key=OTHER).audit_trail.key_seed


def test_a_key_of_its_own_comes_before_the_secret(tmp_path: Path) -> None:
    settings = Settings(secret_key=SECRET, share_key=OTHER, audit_key=tmp_path / "key.pem")
    assert settings.share_keys == [OTHER]
    assert settings.audit_trail.key_seed == b""
    assert FacadeSettings(secret_key=SECRET, session_key=OTHER).session_keys == [OTHER]


@pytest.mark.parametrize("program", [Settings, FacadeSettings])
def test_a_short_secret_is_refused_and_no_secret_is_displayed(program: type[Settings] | type[FacadeSettings]) -> None:
    with pytest.raises(ValueError, match="at least 32") as caught:
        program(secret_key="short")
    assert "short" not in str(caught.value)
    settings = program(secret_key=SECRET)
    assert SECRET not in f"{settings.shown()} {settings!r}"
