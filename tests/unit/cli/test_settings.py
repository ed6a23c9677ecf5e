"""Origin of the core's address (cli/config.py, cli/connection.py), and options as variables (environment.py)."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.config import origin_of
from cli.processes.environment import environment_of
from common.settings import without_password


def asked(*arguments: str) -> str:
    """Return the core that is named as unreachable."""
    return CliRunner().invoke(app, list(arguments)).stderr.partition("answers at ")[2].split()[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DICOMSTORE_CORE", raising=False)
    monkeypatch.delenv("DICOMSTORE_CONFIG", raising=False)
    return tmp_path


def test_the_file_beats_the_default(folder: Path) -> None:
    (folder / "dicomstore.toml").write_text('[cli]\ncore = "127.0.0.1:2"\n')
    assert asked("changes") == "127.0.0.1:2"


def test_the_variable_beats_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dicomstore.toml").write_text('[cli]\ncore = "127.0.0.1:2"\n')
    monkeypatch.setenv("DICOMSTORE_CORE", "127.0.0.1:3")
    assert asked("changes") == "127.0.0.1:3"


def test_an_option_beats_the_variable_before_and_after_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOMSTORE_CORE", "127.0.0.1:3")
    assert asked("--core", "127.0.0.1:4", "changes") == "127.0.0.1:4"
    assert asked("changes", "--core", "127.0.0.1:5") == "127.0.0.1:5"


def test_the_origin_of_a_setting_is_its_variable_or_the_file_or_nothing(folder: Path) -> None:
    (folder / "dicomstore.toml").write_text('[server]\ndata = "elsewhere"\n')
    assert origin_of("server", "data", {}) == "dicomstore.toml"
    assert origin_of("server", "data", {"dicomstore_data": "x"}) == "DICOMSTORE_DATA"
    assert origin_of("server", "grpc", {}) == ""
    assert origin_of("facade", "data", {}) == ""


def test_given_options_are_passed_as_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMSTORE_WORKERS", "3")
    environment = environment_of(data=Path("there"), partitions=True, workers=None)
    assert environment["DICOMSTORE_DATA"] == "there"
    assert environment["DICOMSTORE_PARTITIONS"] == "true"
    assert environment["DICOMSTORE_WORKERS"] == "3"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://user:secret@host/name", "postgresql+psycopg://user:***@host/name"),
        ("postgresql+psycopg://user:se@cret@host/name", "postgresql+psycopg://user:***@host/name"),
        ("postgresql+psycopg://user:se/cret@host/name", "postgresql+psycopg://user:***@host/name"),
        ("postgresql://host/name?user=u&password=secret&x=1", "postgresql://host/name?user=u&password=***&x=1"),
        ("postgresql+psycopg://user@host/name", "postgresql+psycopg://user@host/name"),
        ("sqlite:////data/index.db", "sqlite:////data/index.db"),
    ],
)
def test_passwords_are_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
