"""Command lines and settings of the programs: the core (`python -m server`), the facade (`python -m facade`), and a
node (`python -m node`), which is both in one process, and the DIMSE gateway (`python -m dimse`).

Their settings are read in this process, because starting an interpreter for it takes a second.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import dimse.config
import facade.config
import server.config
from cli.errors import NOT_EXECUTED, Failure
from common.settings import problem_of

STDERR_LINES = 20


class Module(StrEnum):
    """Module name of a program for `python -m`."""

    CORE = "server"
    FACADE = "facade"
    NODE = "node"
    DIMSE = "dimse"


_PYTHON = (sys.executable, "-P")


def command(module: Module, *arguments: str) -> list[str]:
    """Return the command line of a program.

    `-P` removes the working directory from the module search path, because it may contain a folder `server`.
    """
    return [*_PYTHON, "-m", module.value, *arguments]


def with_parent_watchdog(program: list[str]) -> list[str]:
    """Return the command line of a program that ends with this process (see `cli.processes.parent_watchdog`)."""
    is_module = (*program[:2],) == _PYTHON and program[2] == "-m"
    return [*_PYTHON, "-m", "cli.processes.parent_watchdog", str(os.getpid()), *(program[2:] if is_module else program)]


async def run_program(module: Module, *arguments: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a program to its end without a time limit; returns exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *with_parent_watchdog(command(module, *arguments)),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=dict(environment),
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")


def core_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a core started with `environment`, without passwords.

    Raises:
        Failure: a setting is invalid.
    """
    with _reading("the core", environment):
        return server.config.Settings().shown()


def facade_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a facade started with `environment`. Raises: as `core_settings`."""
    with _reading("the facade", environment):
        return facade.config.Settings().shown()


def gateway_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a DIMSE gateway started with `environment`. Raises: as `core_settings`."""
    with _reading("the DIMSE gateway", environment):
        return dimse.config.Settings().shown()


@contextmanager
def _reading(program: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Replace `os.environ` while settings are read; no other code of this process may run meanwhile."""
    own, given = dict(os.environ), dict(environment)
    os.environ.clear()
    os.environ.update(given)
    try:
        yield
    except (ValueError, OSError) as error:  # a ValidationError is a ValueError
        raise Failure(f"settings of {program}: {problem_of(error)}", exit_code=NOT_EXECUTED) from error
    finally:
        os.environ.clear()
        os.environ.update(own)


def last_lines(text: str) -> str:
    """Return the end of a program's log."""
    return "\n".join(text.strip().splitlines()[-STDERR_LINES:]) or "(no output)"
