"""The programs of dicomstore: the core (`python -m server`), the facade (`python -m facade`), and a node, which is both
in one process (`python -m node`).

How they are started, and their settings. These are read in this process: to start an interpreter only to ask a program
for its settings takes a second.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import facade.config
import server.config
from cli.errors import NOT_ASKED, Failure

STDERR_LINES = 20


class Module(StrEnum):
    """What `python -m` starts."""

    CORE = "server"
    FACADE = "facade"
    NODE = "node"


_PYTHON = (sys.executable, "-P")


def command(module: Module, *arguments: str) -> list[str]:
    """Return the command line of a program.

    `-P` keeps the working directory out of the search for modules: people have folders called `server`.
    """
    return [*_PYTHON, "-m", module.value, *arguments]


def tethered(program: list[str]) -> list[str]:
    """Return the command line of a program that does not outlive this process (see `cli.processes.parent_watchdog`)."""
    is_module = (*program[:2],) == _PYTHON and program[2] == "-m"
    return [*_PYTHON, "-m", "cli.processes.parent_watchdog", str(os.getpid()), *(program[2:] if is_module else program)]


async def answer(module: Module, *arguments: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a program to its end, however long it takes; returns exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *tethered(command(module, *arguments)), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=dict(environment)
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")


def core_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a core that would be started with `environment`, without passwords.

    Raises:
        Failure: it would not accept them.
    """
    with _reading("the core", environment):
        return server.config.Settings().shown()


def facade_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a facade that would be started with `environment`. Raises: as `core_settings`."""
    with _reading("the facade", environment):
        return facade.config.Settings().shown()


@contextmanager
def _reading(whose: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Let settings be read from `environment`; nothing else of this process may run meanwhile."""
    own, given = dict(os.environ), dict(environment)
    os.environ.clear()
    os.environ.update(given)
    try:
        yield
    except (ValueError, OSError) as error:  # a ValidationError is a ValueError
        raise Failure(f"settings of {whose}: {error}", exit_code=NOT_ASKED) from error
    finally:
        os.environ.clear()
        os.environ.update(own)


def last_lines(text: str) -> str:
    """Return the end of a program's log."""
    return "\n".join(text.strip().splitlines()[-STDERR_LINES:]) or "it says nothing"
