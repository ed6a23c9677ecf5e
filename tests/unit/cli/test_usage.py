"""Wrong usage is refused with exit code 2 before any work: the command tree of cli/app.py."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.app import app


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_version_is_printed() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("dicomstore ")


def test_help_names_every_command() -> None:
    result = invoke("--help")
    for command in (
        "up",
        "server",
        "facade",
        "migrate",
        "store",
        "search",
        "get",
        "delete",
        "changes",
        "doctor",
        "config",
    ):
        assert f" {command} " in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["store"],
        ["store", "/no/such/folder"],
        ["store", "--streams", "0", "."],
        ["search", "PatientID"],
        ["search", "--series", "1.2"],
        ["search", "--limit", "0"],
        ["get", "1.2.3"],
        ["get", "1.2.3", "--output", "x", "--metadata"],
        ["get", "../etc", "--metadata"],
        ["get", "1.2.3.", "--metadata"],
        ["delete", "x", "--yes"],
        ["delete", "1.2.3"],
        ["delete", ""],
        ["changes", "--after", "-1"],
        ["--core", "nonsense", "changes"],
        ["changes", "--core", "host:port"],
        ["up", "--workers", "0"],
    ],
)
def test_wrong_usage_is_refused(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_delete_refuses_without_a_terminal_for_confirmation() -> None:
    assert "--yes" in invoke("delete", "1.2.3").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["search"],
        ["changes"],
        ["changes", "--follow"],
        ["get", "1.2", "--metadata"],
        ["delete", "1.2", "--yes"],
        ["store", "."],
    ],
)
def test_an_unreachable_core_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    result = invoke("--core", "127.0.0.1:1", *arguments)
    assert result.exit_code == 2
    assert "no core answers at 127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_key_in_the_settings_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dicomstore.toml").write_text("[cli]\ncor = 'x:1'\n")
    monkeypatch.chdir(tmp_path)
    result = invoke("changes")
    assert result.exit_code == 2
    assert "cor" in result.stderr
