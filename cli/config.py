"""Settings of the command line. Settings of the core and the facade are in `server.config` and `facade.config`."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

TABLE = "cli"


class Settings(BaseSettings):
    """Each setting is a `DICOMSTORE_<NAME>` variable or a key of table `[cli]` in the settings file.

    Flag beats environment beats file beats default. The file is `dicomstore.toml` in the working directory,
    or what `DICOMSTORE_CONFIG` names.
    """

    model_config = SettingsConfigDict(env_prefix="DICOMSTORE_", frozen=True, extra="ignore")

    core: str = Field("127.0.0.1:50051", description="Address of the core that commands call.")
    partition: str = Field("", description="Data partition that commands use; empty means the default partition.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Constructor (the flags), environment, then the table of the settings file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, file_table(TABLE, set(cls.model_fields)))


def settings_file() -> Path | None:
    """Return the settings file that applies here, or None when there is none.

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
    """Return one table of the settings file, empty when there is no file or no such table.

    Raises:
        ValueError: the file is not TOML, or the table has a key that is not in `known`.
    """
    path = settings_file()
    if path is None:
        return {}
    values: dict[str, Any] = tomllib.loads(path.read_text()).get(table, {})
    if known is not None and (unknown := sorted(set(values) - known)):
        raise ValueError(f"{path}: unknown settings in [{table}]: {', '.join(unknown)}")
    return values


def origin_of(table: str, name: str, environment: Mapping[str, str]) -> str:
    """Return the origin of a setting of a program: its variable, the settings file, or "" for the default.

    Raises:
        ValueError: as `file_table`.
    """
    variable = f"DICOMSTORE_{name.upper()}"
    if any(known.upper() == variable for known in environment):
        return variable
    return str(settings_file()) if name in file_table(table) else ""
