"""Runs programs of the archive in processes forked from one that has imported them.

Starting Python and importing a program take most of a second of CPU time; a fork takes some milliseconds. The programs
that `dicomstore up` starts are forked as well. `ps` shows the command line that would start the program.
"""

import asyncio
import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

_PROGRAMS = ("server", "facade", "node", "dimse", "cli")

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(  # once: a test process has one server, and another call would replace the list
    [
        "server.import_hygiene",
        *(f"{program}.__main__" for program in _PROGRAMS),
        "server.bootstrap.serving",
        "server.bootstrap.maintenance",
        "server.bootstrap.working",
        "server.adapters.blobs.object_storage",
        "server.adapters.sql.engine",
        "server.adapters.sql.pipeline",
        "server.adapters.webhooks.sender",
        "alembic.command",
        "encodings.idna",
        "httpx",
        "obstore",
        "pytest",
        "rich._emoji_codes",
        "facade.app",
        "dimse.gateway",
        "tests.programs",
        "tests.integration.archive_process",
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
        stdout: Path | Connection,
        stderr: Path | Connection,
        stdin: str | Connection = os.devnull,
        warnings: str = "default",
        namespaces_of: int | None = None,
    ) -> None:
        """Start `python -W warnings -m module arguments`, whose output is appended to files or written to pipes.

        It is started in the user and mount namespaces of a process if `namespaces_of` is given.
        """
        self.args = [module, *arguments]
        self.returncode: int | None = None
        files = (stdin, stdout, stderr)
        arguments_of_become = (self.args, str(folder), dict(environment), files, warnings, namespaces_of)
        # as a daemon it does not outlive the test process
        self._process = forked.Process(target=_become, args=arguments_of_become, daemon=True)
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


class AsyncProgram:
    """A program that runs, with the interface of `asyncio.subprocess.Process` and pipes for its output."""

    def __init__(self, program: Program, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        """Use `start` instead."""
        self.pid = program.pid
        self.stdout, self.stderr = stdout, stderr
        self._program = program
        self.send_signal, self.terminate, self.kill = program.send_signal, program.terminate, program.kill

    @classmethod
    async def start(
        cls,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        folder: Path,
        warnings: str = "default",
        namespaces_of: int | None = None,
    ) -> "AsyncProgram":
        """Start `python -W warnings -m module arguments`, in user and mount namespaces of a process if it is given."""
        (stdout, its_stdout), (stderr, its_stderr) = (multiprocessing.Pipe(duplex=False) for _ in range(2))
        with its_stdout, its_stderr:
            program = Program(
                module, *arguments, environment=environment, folder=folder, stdout=its_stdout, stderr=its_stderr,
                warnings=warnings, namespaces_of=namespaces_of,
            )  # fmt: skip
        return cls(program, await _reader_of(stdout), await _reader_of(stderr))

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while the program runs."""
        return self._program.poll()

    async def wait(self) -> int:
        """Return the exit code when the program has ended."""
        return await asyncio.to_thread(self._program.wait)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return the output when the program has ended."""
        output, errors = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return output, errors


async def _reader_of(pipe: Connection) -> asyncio.StreamReader:
    """Return a reader that owns a pipe."""
    reader, loop = asyncio.StreamReader(), asyncio.get_running_loop()
    with pipe:
        file = os.fdopen(os.dup(pipe.fileno()), "rb", 0)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader


async def run_forked(
    arguments: list[str], *, folder: Path, environment: Mapping[str, str], stdin: str = os.devnull
) -> tuple[int, bytes, bytes]:
    """Run `dicomstore arguments` in `folder`, reading from the file `stdin`; return exit code, stdout and stderr."""
    command = partial(run, "cli", *arguments, environment=environment, folder=folder, stdin=stdin, warnings="error")
    ran = await asyncio.to_thread(command)
    return ran.returncode, ran.stdout, ran.stderr


def _become(
    command: list[str],
    folder: str,
    environment: dict[str, str],
    files: tuple[str | Connection, Path | Connection, Path | Connection],
    filter_: Any,
    namespaces_of: int | None,
) -> None:
    """Turn this forked process into the program."""
    if namespaces_of is not None:
        _enter_namespaces(namespaces_of)
    flags = (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2)
    for number, (file, mode) in enumerate(zip(files, flags, strict=True)):
        if isinstance(file, Connection):
            os.dup2(file.fileno(), number)
            file.close()
            continue
        descriptor = os.open(file, mode | os.O_NOCTTY)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    if filter_ != "default":
        warnings.simplefilter(filter_)
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    subprocess._fork_exec = _fork_or_execute  # type: ignore[attr-defined]
    os.execve = _become_or_execute  # type: ignore[assignment]
    _run([sys.executable, "-m", *command], command, environment)


def _enter_namespaces(process: int) -> None:
    """Join the user and the mount namespace of a process, as nsenter(1) does."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{process}/ns/user") as user, open(f"/proc/{process}/ns/mnt") as mount:
        for namespace in (user, mount):
            if libc.setns(namespace.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")


def _run(command_line: Sequence[str], command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a module with the standard files of this process."""
    _show_command_line(command_line)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        file = open(number, mode, buffering=1 if number == 2 else -1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, file)
    os.environ.clear()
    os.environ.update(environment)
    module, *arguments = command
    sys.argv = [module, *arguments]
    for program in _PROGRAMS:
        sys.modules.pop(f"{program}.__main__", None)  # has only been imported for its imports
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _show_command_line(arguments: Sequence[str]) -> None:
    """Overwrite the command line of the process of which this one is a fork, as far as there is room."""
    begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    shown = b"".join(os.fsencode(argument) + b"\0" for argument in arguments)[: end - begin - 1]
    ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)


_execute = subprocess._fork_exec  # type: ignore[attr-defined]

_execute_in_place = os.execve

_PYTHON = [sys.executable, "-P", "-m"]

_WATCHDOG = "cli.processes.parent_watchdog"
"""The module with which `dicomstore up` starts a program."""


def _fork_or_execute(
    arguments: Sequence[str | bytes],
    executables: Sequence[bytes],
    close_descriptors: bool,
    kept: Sequence[int],
    folder: str | None,
    variables: Sequence[bytes] | None,
    *others: Any,
) -> int:
    """Start a process as `subprocess` does, which calls this; fork if it is a program of `dicomstore up`.

    A fork is a child process as the executed program would be: with its session, descriptors and signal handlers.
    """
    command = [os.fsdecode(argument) for argument in arguments]
    is_program = command[:4] == [*_PYTHON, _WATCHDOG] and command[5] == "-m"
    if not is_program or variables is None:
        pid: int = _execute(arguments, executables, close_descriptors, kept, folder, variables, *others)
        return pid
    files, errors, has_new_session = (others[0], others[3], others[5]), others[7], others[9]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # a handler here would swallow them
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number, handler in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
            (signal.SIGHUP, signal.SIG_DFL),
        ):
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if has_new_session:
            os.setsid()
        if folder is not None:
            os.chdir(folder)
        for number, descriptor in enumerate(files):
            if descriptor >= 0:
                os.dup2(descriptor, number)
        _close_all_but({*kept} - {errors})  # objects that own the closed descriptors live until `_exit`
        code = _exit_code_of(command, dict(os.fsdecode(variable).split("=", 1) for variable in variables))
    finally:
        os._exit(code)


def _become_or_execute(path: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Replace this process by a program, as `os.execve`; run it in this interpreter if it is one of the archive."""
    if arguments[:3] == _PYTHON and arguments[3] in _PROGRAMS:
        os._exit(_exit_code_of(arguments, environment))
    _execute_in_place(path, arguments, environment)


def _close_all_but(kept: set[int]) -> None:
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in kept:
            try:
                os.close(descriptor)
            except OSError:  # that of the directory itself
                continue


def _exit_code_of(command: list[str], environment: dict[str, str]) -> int:
    """Run a program and return its exit code, as the interpreter does."""
    code = 1
    try:
        _run(command, command[3:], environment)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as at the top of an interpreter
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    return code
