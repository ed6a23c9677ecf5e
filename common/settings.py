"""Settings of a program: constructor, environment, settings file, default, in this order; secrets also from files.

A program has a table in the settings file, which is `dicomstore.toml` in the working directory, or the file that
`DICOMSTORE_CONFIG` names. A setting of type `SecretText` or `SecretUrl` can be in a file of its own: variable
`DICOMSTORE_<NAME>_FILE` or key `<name>_file` has the path. Its value is never displayed.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Secret, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "DICOMSTORE_"

FILE = "_file"
"""Suffix of the name of a secret setting: the path of a file with its value."""

_MAX_SECRET_BYTES = 64 * 1024


class SecretText(Secret[str]):
    """A secret; `get_secret_value` returns it, everything else displays `***`."""

    def _display(self) -> str:
        return "***" if self.get_secret_value() else ""


MIN_KEY_LENGTH = 32
"""Characters of a key in the settings."""


def keys_of(secret: SecretText) -> list[str]:
    """Return the keys of a setting that has one or several, with commas between them.

    Raises:
        ValueError: one is too short.
    """
    keys = [key for key in map(str.strip, secret.get_secret_value().split(",")) if key]
    if any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise ValueError(f"a key must have at least {MIN_KEY_LENGTH} characters")
    return keys


class SecretUrl(Secret[str]):
    """A URL with a password; `get_secret_value` returns it, everything else displays it without the password."""

    def _display(self) -> str:
        return without_password(self.get_secret_value())


class TableSettings(BaseSettings):
    """Each setting is a variable `DICOMSTORE_<NAME>`, or a key of the table `table` in the settings file."""

    # Errors do not repeat values, which may be secret.
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    table: ClassVar[str]
    """Name of the program's table in the settings file."""

    @classmethod
    def secrets(cls) -> list[str]:
        """Return the names of the settings whose values are secret."""
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return [name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Secret)]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence."""
        variables = InitSettingsSource(settings_cls, _from_files(cls.secrets(), _variables(), variable_of))
        known = {*cls.model_fields, *(name + FILE for name in cls.secrets())}
        table = file_table(cls.table, known)
        from_files = _from_files(cls.secrets(), table, lambda name: f"{settings_file()}: {name}")
        in_table = {name: value for name, value in {**table, **from_files}.items() if name in cls.model_fields}
        return init_settings, variables, env_settings, InitSettingsSource(settings_cls, in_table)


def variable_of(name: str) -> str:
    """Return the variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def problem_of(error: Exception) -> str:
    """Return what is wrong with settings, one line for each problem, from the exception of their program."""
    if not isinstance(error, ValidationError):
        return str(error)
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        names = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{names}: {message}" if names else message)
    return "\n".join(lines)


def without_password(text: str) -> str:
    """Return a URL, or any text, with its passwords replaced by stars, also passwords with an unescaped @ or /."""
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", re.sub(r"(://[^:/@\s]*:)\S*@", r"\1***@", text))


def settings_file() -> Path | None:
    """Return the settings file, or None if there is none.

    Raises:
        ValueError: `DICOMSTORE_CONFIG` names a file that does not exist.
    """
    named = os.environ.get("DICOMSTORE_CONFIG")
    path = Path(named or "dicomstore.toml")
    if path.is_file():
        return path
    if named:
        raise ValueError(f"DICOMSTORE_CONFIG names {named}, which is not a file")
    return None


def file_table(table: str, known: set[str] | None = None) -> dict[str, Any]:
    """Return one table of the settings file, empty if there is no file or no such table.

    Raises:
        ValueError: the file is not TOML, or the table has a key that is not in `known`: a misspelt limit must not
            silently become the default.
    """
    path = settings_file()
    if path is None:
        return {}
    values: dict[str, Any] = tomllib.loads(path.read_text()).get(table, {})
    if known is not None and (unknown := sorted(set(values) - known)):
        raise ValueError(f"{path}: unknown settings in [{table}]: {', '.join(unknown)}")
    return values


def read_secret(path: str, named_by: str) -> str:
    """Return the content of a file with one secret, without line breaks at its end.

    Args:
        named_by: the variable or key that names the file, for error messages, which never have the content.

    Raises:
        ValueError: it cannot be read, is empty or too long, or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{named_by}: {path} cannot be read: {error.strerror}") from None
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{named_by}: {path} is not UTF-8 text") from None
    if not secret or len(content) > _MAX_SECRET_BYTES:
        raise ValueError(f"{named_by}: {path} is {'too long' if secret else 'empty'}")
    return secret


def _variables() -> dict[str, str]:
    """Return the variables that are not empty by the name of their setting."""
    named = {name.upper(): value for name, value in os.environ.items() if value}
    return {name[len(PREFIX) :].lower(): value for name, value in named.items() if name.startswith(PREFIX)}


def _from_files(secrets: list[str], given: Mapping[str, Any], shown: Callable[[str], str]) -> dict[str, str]:
    """Return the secrets for which `given` has a path; `shown` returns the name of a setting for error messages.

    Raises:
        ValueError: `given` has the secret as well; or as `read_secret`.
    """
    found = {}
    for name in secrets:
        if path := given.get(name + FILE):
            if given.get(name):
                raise ValueError(f"{shown(name)} and {shown(name + FILE)} are both set; set only one")
            found[name] = read_secret(str(path), shown(name + FILE))
    return found
