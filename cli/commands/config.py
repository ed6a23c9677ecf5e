"""`dicomstore config`: show the effective settings."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from rich.markup import escape

from cli.config import TABLE, Settings, origin_of
from cli.connection import JsonOption
from cli.errors import NOT_EXECUTED, Failure, run
from cli.output import data, problems, table
from cli.processes.programs import core_settings, facade_settings, gateway_settings
from common.settings import problem_of, settings_file, without_password


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of one program."""

    program: str
    name: str
    value: Any
    origin: str
    """The variable or file that sets it; empty if it has its default."""

    @property
    def variable(self) -> str:
        """Name of the variable that sets it."""
        return f"DICOMSTORE_{self.name.upper()}"


def config(as_json: JsonOption = False) -> None:
    """Show the effective settings of the core, the facade, the DIMSE gateway and this command, and the origin of each.

    A setting is a DICOMSTORE_* variable, or a key in table [server], [facade], [dimse] or [cli] of the settings file:
    dicomstore.toml in the working directory, or the file named by DICOMSTORE_CONFIG. Variables take precedence.
    Passwords are not shown.
    """
    run(_config(as_json))


async def _config(as_json: bool) -> int:
    settings = effective(os.environ)
    if as_json:
        programs: dict[str, dict[str, object]] = {}
        for setting in settings:
            entry = {"value": setting.value, "variable": setting.variable, "origin": setting.origin or "default"}
            programs.setdefault(setting.program, {})[setting.name] = entry
        typer.echo(json.dumps(programs, indent=2))
        return 0
    rows = table("", "Program", "Setting", "Value", "From", "Variable", folds={"Value", "From"})
    for setting in settings:
        cells = (setting.program, setting.name, str(setting.value), setting.origin or "default", setting.variable)
        rows.add_row(*(escape(cell) for cell in cells), style="" if setting.origin else "dim")
    data.print(rows)
    problems.print(f"settings file: {settings_file() or 'none'}", soft_wrap=True)
    return 0


def effective(environment: Mapping[str, str]) -> list[Setting]:
    """Return the settings of all programs.

    Raises:
        Failure: one of them does not accept its settings.
    """
    core, facade = core_settings(environment), facade_settings(environment)
    gateway = gateway_settings(environment)
    try:
        own = Settings().model_dump(mode="json")
        return [
            Setting(program, name, _shown(value), origin_of(program, name, environment))
            for program, values in (("server", core), ("facade", facade), ("dimse", gateway), (TABLE, own))
            for name, value in values.items()
        ]
    except (ValueError, OSError) as error:
        raise Failure(f"settings: {problem_of(error)}", exit_code=NOT_EXECUTED) from error


def _shown(value: Any) -> Any:
    return without_password(value) if isinstance(value, str) else value
