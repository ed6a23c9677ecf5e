"""Runs `dicomstore` in a process forked from one that has imported it, in a tenth of the time of starting Python."""

import asyncio
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["cli.app", "tests.command_line"])


async def run_forked(
    arguments: list[str], *, folder: Path, environment: Mapping[str, str], stdin: str = os.devnull
) -> tuple[int, bytes, bytes]:
    """Run a command in `folder`, reading from the file `stdin`; return exit code, stdout and stderr."""
    return await asyncio.to_thread(_run_forked, arguments, folder, dict(environment), stdin)


def _run_forked(
    arguments: list[str], folder: Path, environment: dict[str, str], stdin: str
) -> tuple[int, bytes, bytes]:
    with tempfile.TemporaryDirectory() as outputs:
        stdout, stderr = Path(outputs, "stdout"), Path(outputs, "stderr")
        files = (stdin, str(stdout), str(stderr))
        process = _forked.Process(target=_become, args=(arguments, str(folder), environment, files))
        process.start()
        process.join()
        exit_code = process.exitcode
        process.close()
        assert exit_code is not None
        return exit_code, stdout.read_bytes(), stderr.read_bytes()


def _become(arguments: list[str], folder: str, environment: dict[str, str], files: tuple[str, str, str]) -> None:
    """Turn this forked process into the command."""
    for number, (path, flags) in enumerate(zip(files, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)):
        descriptor = os.open(path, flags | os.O_NOCTTY)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0, "r"), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["dicomstore", *arguments]
    warnings.simplefilter("error")
    from cli.__main__ import main

    main()
