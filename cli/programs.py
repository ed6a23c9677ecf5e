"""The programs of dicomstore as commands: the core (`python -m server`), the facade (`python -m facade`), and a node,
which is both in one process (`python -m node`)."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from cli.errors import NOT_ASKED, Failure

ANSWER_S = 60.0
"""Time a program has to say what its settings are."""

STDERR_LINES = 20


class Module(StrEnum):
    """What `python -m` starts."""

    CORE = "server"
    FACADE = "facade"
    NODE = "node"


def command(module: Module, *arguments: str) -> list[str]:
    """Return the command line of a program.

    `-P` keeps the working directory out of the search for modules: people have folders called `server`.
    """
    return [sys.executable, "-P", "-m", module.value, *arguments]


def tethered(program: list[str]) -> list[str]:
    """Return the command line of a program that does not outlive this process (see `cli.tether`)."""
    return [sys.executable, "-P", "-m", "cli.tether", str(os.getpid()), *program]


async def answer(
    module: Module, *arguments: str, environment: Mapping[str, str], timeout_s: float | None = ANSWER_S
) -> tuple[int, str, str]:
    """Run a program to its end; returns exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *tethered(command(module, *arguments)), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=dict(environment)
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate()
    except TimeoutError:
        raise Failure(f"`python -m {module}` did not answer in {timeout_s:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")


async def settings_of(module: Module, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the effective settings of a program.

    Raises:
        Failure: it does not accept them; says why in its own words.
    """
    exit_code, output, errors = await answer(module, "config", environment=environment)
    try:
        settings = json.loads(output)
    except ValueError:
        settings = None
    if exit_code or not isinstance(settings, dict):
        raise Failure(f"`python -m {module} config` failed: {last_lines(errors)}", exit_code=NOT_ASKED)
    return settings


def last_lines(text: str) -> str:
    """Return the end of a program's log."""
    return "\n".join(text.strip().splitlines()[-STDERR_LINES:]) or "it says nothing"
