"""Secret settings: each can be read from a file, and none is displayed."""

import json
import re
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

import cli.config
import dimse.config
import facade.config
import server.config
from cli.processes.environment import environment_of
from common.settings import SecretText, SecretUrl, TableSettings, problem_of

PROGRAMS: list[type[TableSettings]] = [
    server.config.Settings,
    facade.config.Settings,
    dimse.config.Settings,
    cli.config.Settings,
]
SECRETS = [(program, name) for program in PROGRAMS for name in program.secrets()]
PLANTED = "planted-secret-5f0c-of-more-than-32-characters"

SOUNDS_SECRET = re.compile("secret|password|signing|session|database|_key$|token$")


class Example(TableSettings):
    table: ClassVar[str] = "example"

    password: SecretText = Field(SecretText(""))
    index: SecretUrl = Field(SecretUrl(""))
    limit: int = 1


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for _, name in SECRETS:
        monkeypatch.delenv(f"DICOMSTORE_{name.upper()}", raising=False)
        monkeypatch.delenv(f"DICOMSTORE_{name.upper()}_FILE", raising=False)
    monkeypatch.delenv("DICOMSTORE_CONFIG", raising=False)
    return tmp_path


def value_of(program: type[TableSettings], name: str) -> str:
    kind = program.model_fields[name].annotation
    return f"postgresql+psycopg://user:{PLANTED}@host/name" if kind is SecretUrl else PLANTED


def test_settings_with_the_name_of_a_secret_are_secret() -> None:
    assert "database" in server.config.Settings.secrets()
    for program in PROGRAMS:
        for name, field in program.model_fields.items():
            is_file = (field.description or "").startswith("PEM file")
            if SOUNDS_SECRET.search(name) and not is_file and field.annotation not in (int, float, bool):
                assert name in program.secrets(), name


@pytest.mark.parametrize(("program", "name"), SECRETS)
def test_a_secret_is_read_from_the_file_that_a_variable_names_and_never_displayed(
    program: type[TableSettings], name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = value_of(program, name)
    (folder / "secret").write_text(f"{value}\n")
    monkeypatch.setenv(f"DICOMSTORE_{name.upper()}_FILE", "secret")

    settings = program()

    assert getattr(settings, name).get_secret_value() == value
    shown = getattr(settings, "shown", settings.model_dump)()
    for text in (repr(settings), str(settings), settings.model_dump_json(), json.dumps(shown, default=str)):
        assert PLANTED not in text


def test_a_secret_is_read_from_the_file_that_the_settings_file_names(folder: Path) -> None:
    (folder / "secret").write_text(f"{PLANTED}\r\n")
    (folder / "dicomstore.toml").write_text('[example]\npassword_file = "secret"\n')

    assert Example().password.get_secret_value() == PLANTED
    assert Example(password="other").password.get_secret_value() == "other"


def test_a_variable_in_either_form_takes_precedence_over_the_settings_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secret").write_text("from a file")
    (folder / "dicomstore.toml").write_text('[example]\npassword = "in the table"\nindex_file = "secret"\n')
    monkeypatch.setenv("DICOMSTORE_PASSWORD_FILE", "secret")
    monkeypatch.setenv("DICOMSTORE_INDEX", "sqlite:///x")

    assert Example().password.get_secret_value() == "from a file"
    assert Example().index.get_secret_value() == "sqlite:///x"


def test_a_secret_with_a_value_and_a_file_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "secret").write_text(PLANTED)
    (folder / "dicomstore.toml").write_text('[example]\npassword = "x"\npassword_file = "secret"\n')
    with pytest.raises(ValueError, match=r"dicomstore\.toml: password and dicomstore\.toml: password_file are both"):
        Example()

    (folder / "dicomstore.toml").write_text("")
    monkeypatch.setenv("DICOMSTORE_PASSWORD", PLANTED)
    monkeypatch.setenv("DICOMSTORE_PASSWORD_FILE", "secret")
    with pytest.raises(ValueError, match="DICOMSTORE_PASSWORD and DICOMSTORE_PASSWORD_FILE are both set") as raised:
        Example()
    assert PLANTED not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (PLANTED.encode() + b"\xff", "is not UTF-8"),
        (PLANTED.encode() * 10_000, "is too long"),
    ],
)
def test_an_unusable_file_is_an_error_without_its_content(
    content: bytes | None, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (folder / "secret").write_bytes(content)
    monkeypatch.setenv("DICOMSTORE_PASSWORD_FILE", "secret")

    with pytest.raises(ValueError, match=f"DICOMSTORE_PASSWORD_FILE: secret {message}") as raised:
        Example()
    assert PLANTED not in str(raised.value)


def test_an_invalid_value_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMSTORE_LIMIT", PLANTED)

    with pytest.raises(ValidationError, match="limit") as raised:
        Example()
    assert PLANTED not in str(raised.value)


def test_only_secrets_have_a_file(folder: Path) -> None:
    (folder / "dicomstore.toml").write_text('[example]\nlimit_file = "secret"\n')

    with pytest.raises(ValueError, match="unknown settings in \\[example\\]: limit_file"):
        Example()


def test_an_option_replaces_the_variable_with_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMSTORE_DATABASE_FILE", "secret")

    environment = environment_of(database="sqlite:///x")

    assert environment["DICOMSTORE_DATABASE"] == "sqlite:///x"
    assert "DICOMSTORE_DATABASE_FILE" not in environment


def test_the_problems_of_settings_are_named_one_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMSTORE_AUTH_ISSUER", "http://login.example")
    monkeypatch.setenv("DICOMSTORE_AUTH_CLOCK_SKEW_SECONDS", PLANTED)
    with pytest.raises(ValidationError) as wrong:
        server.config.Settings()
    lines = problem_of(wrong.value).splitlines()
    assert "auth_issuer: a URL of an identity provider must be https, or http on a loopback address" in lines
    assert [line.partition(":")[0] for line in lines] == ["auth_issuer", "auth_clock_skew_seconds"]
    assert PLANTED not in "".join(lines)
