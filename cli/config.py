"""Settings of the command line. Settings of the core and the facade are in `server.config` and `facade.config`."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from common.core_channel import CoreSettings
from common.settings import FILE, SecretText, file_table, settings_file, variable_of

TABLE = "cli"


class Settings(CoreSettings):
    """Each setting is a `DICOMSTORE_<NAME>` variable or a key of table `[cli]` in the settings file.

    Options take precedence over both.
    """

    table: ClassVar[str] = TABLE

    token: SecretText = Field(
        SecretText(""), description="Access token of commands: an archive token, or one of an identity provider."
    )
    partition: str = Field("", description="Data partition that commands use; empty means the default partition.")


def origin_of(table: str, name: str, environment: Mapping[str, str]) -> str:
    """Return the origin of a setting of a program: its variable, the settings file, or "" for the default.

    Raises:
        ValueError: as `file_table`.
    """
    known = {variable.upper() for variable in environment}
    for key in (name, name + FILE):
        if (variable := variable_of(key)) in known:
            return variable
    return str(settings_file()) if {name, name + FILE} & set(file_table(table)) else ""
