"""Runs programs of the archive in processes forked from one that has imported them.

Starting Python and importing a program take most of a second of CPU time; a fork takes some milliseconds.
"""

import asyncio
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(
    [
        "server.import_hygiene",
        "server.__main__",
        "server.bootstrap.serving",
        "server.bootstrap.maintenance",
        "server.adapters.sql.engine",
        "facade.__main__",
        "facade.app",
        "node.__main__",
        "dimse.__main__",
        "dimse.gateway",
        "cli.app",
        "tests.programs",
    ]
)


class Program:
    """A program that runs, with the interface of `subprocess.Popen`."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        folder: Path,
        stdout: Path,
        stderr: Path,
        stdin: str = os.devnull,
        warnings: str = "default",
    ) -> None:
        """Start `python -W warnings -m module arguments`, whose output is appended to files."""
        self.args = [module, *arguments]
        self.returncode: int | None = None
        files = (stdin, str(stdout), str(stderr))
        arguments_of_become = (self.args, str(folder), dict(environment), files, warnings)
        # as a daemon it does not outlive the test process
        self._process = _forked.Process(target=_become, args=arguments_of_become, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while the program runs."""
        if self.returncode is None:
            self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when the program has ended. Raises: subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path,
    stdin: str = os.devnull,
    warnings: str = "default",
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `python -W warnings -m module arguments`, reading from the file `stdin`, until its end."""
    with tempfile.TemporaryDirectory() as outputs:
        stdout, stderr = Path(outputs, "stdout"), Path(outputs, "stderr")
        program = Program(
            module,
            *arguments,
            environment=environment,
            folder=folder,
            stdout=stdout,
            stderr=stderr,
            stdin=stdin,
            warnings=warnings,
        )
        try:
            code = program.wait(timeout)
        except BaseException:
            program.kill()
            raise
        return subprocess.CompletedProcess(program.args, code, stdout.read_bytes(), stderr.read_bytes())


async def run_forked(
    arguments: list[str], *, folder: Path, environment: Mapping[str, str], stdin: str = os.devnull
) -> tuple[int, bytes, bytes]:
    """Run `dicomstore arguments` in `folder`, reading from the file `stdin`; return exit code, stdout and stderr."""
    command = partial(run, "cli", *arguments, environment=environment, folder=folder, stdin=stdin, warnings="error")
    ran = await asyncio.to_thread(command)
    return ran.returncode, ran.stdout, ran.stderr


def _become(
    command: list[str], folder: str, environment: dict[str, str], files: tuple[str, str, str], filter_: Any
) -> None:
    """Turn this forked process into the program."""
    flags = (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2)
    for number, (path, mode) in enumerate(zip(files, flags, strict=True)):
        descriptor = os.open(path, mode | os.O_NOCTTY)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0, "r"), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    module, *arguments = command
    sys.argv = [module, *arguments]
    if filter_ != "default":
        warnings.simplefilter(filter_)
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    sys.modules.pop(f"{module}.__main__", None)  # has only been imported for its imports
    runpy.run_module(module, run_name="__main__", alter_sys=True)
