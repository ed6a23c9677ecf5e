"""A worker process as seen from the core: start, jobs, end; see `server.adapters.workers.process`."""

import asyncio
import json
import logging
import os
import pickle
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from io import BytesIO
from typing import Any

from server.adapters.workers import process
from server.adapters.workers.process import ANSWER_HEAD, NUMBER
from server.model import errors
from server.model.errors import DicomStoreError, Exhausted, Reason, WrongState

START_SECONDS = 60.0
"""Time limit for the imports of a process, which a busy machine slows down."""

_LAST_SECONDS = 5.0
"""Time limit for the exit of a process after its last message."""

_APART_BYTES = 1 << 14
"""Values of at least this size are sent from their buffer instead of being copied into a pickle."""

_USUAL_BYTES = 1 << 20
"""Buffer size for a response of usual size, and for socket data."""

Part = bytes | memoryview

_log = logging.getLogger("dicomstore")


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A serialised job and its result."""

    kind: str
    parts: list[Part]
    result: asyncio.Future[bytes]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.parts))

    def succeed(self, result: bytes) -> None:
        if not self.result.done():
            self.result.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class Worker:
    """At most one process, replaced when it dies or is stopped."""

    def __init__(self, perform: str, job_seconds: float, memory_bytes: int) -> None:
        self._arguments = (perform, str(memory_bytes))
        self._job_seconds = job_seconds
        self._memory_bytes = memory_bytes
        self._process: Process | None = None
        self._connection: socket.socket | None = None
        self._usual = bytearray(_USUAL_BYTES)

    async def do(self, task: Task) -> None:
        """Run one job; skipped if its caller was cancelled before it starts.

        Nothing is known about the job of a killed process: the system may have needed memory, or an operator killed it
            by
        mistake. The job is therefore repeated once, in another process. If that is killed, too, the client may retry
        later: a lack of memory must not mark the pixel data as unreadable, which would be recorded.
        """
        if not await self._is_done(task):
            _log.warning("a worker process was killed; its job is retried once job=%s", task.kind)
            if not await self._is_done(task):
                _log.warning("two worker processes were killed while running the same job job=%s", task.kind)
                task.fail(_killed())

    async def _is_done(self, task: Task) -> bool:
        """Run one job. False if the worker was killed before it replied; the caller retries once."""
        if task.result.done():
            return True
        connection = await self._ready(task)
        if connection is None:
            return True
        try:
            async with asyncio.timeout(self._job_seconds):
                await _send(connection, task.parts)
                kind, answer = await _receive(connection, self._usual, most_bytes=self._memory_bytes)
            _settle(task, kind, answer)
        except TimeoutError:
            await self.end()
            task.fail(_unreadable("takes too long to process"))
        except (OSError, ValueError, LookupError, TypeError):  # ended, or in an invalid state
            exit_code = await self._exit_code()
            if exit_code == -signal.SIGKILL:
                return False
            _log.warning("a worker process crashed while running a job exit_code=%s", exit_code)
            task.fail(_unreadable("crashed the worker process"))
        return True

    async def _ready(self, task: Task) -> socket.socket | None:
        """Return the connection to a ready process, with a second attempt to start one; None if both failed."""
        try:
            return await self._started()
        except (TimeoutError, OSError) as error:
            _log.warning("a worker process did not start; starting another one error=%r", error)
            await self.end()
        try:
            return await self._started()
        except (TimeoutError, OSError) as error:
            was_killed = self._process is not None and await self._exit_code() == -signal.SIGKILL
            await self.end()
            if was_killed:
                _log.warning("a worker process was killed during its start job=%s", task.kind)
                task.fail(_killed())
            else:
                task.fail(RuntimeError(f"A worker process could not be started: {error!r}"))
            return None

    async def _exit_code(self) -> int | None:
        """Return the exit code of a process that does not respond; None if it had to be killed."""
        assert self._process is not None
        try:
            # killing a process that is already dead would lose its exit code
            async with asyncio.timeout(_LAST_SECONDS):
                await self._process.wait()
            return self._process.returncode
        except TimeoutError:
            return None
        finally:
            await self.end()

    async def end(self) -> None:
        """End the process immediately."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()

    async def _started(self) -> socket.socket:
        """Start a process and return the connection to it when it is ready."""
        if self._connection is not None and self._process is not None and self._process.returncode is None:
            return self._connection
        await self.end()
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _USUAL_BYTES)
        ours.setblocking(False)
        self._connection = ours
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", process.__name__, str(theirs.fileno()), *self._arguments),
                pass_fds=(theirs.fileno(),),
                stdin=DEVNULL,
                stdout=DEVNULL,
                env=_environment(),
            )
        async with asyncio.timeout(START_SECONDS):
            kind, _ = await _receive(ours, self._usual, most_bytes=0)
        assert kind == process.READY, "the first message of a worker is READY"
        return ours


async def _send(connection: socket.socket, parts: list[Part]) -> None:
    head = b"".join(NUMBER.pack(number) for number in (len(parts), *map(len, parts)))
    loop = asyncio.get_running_loop()
    for part in (head + parts[0], *parts[1:]):
        await loop.sock_sendall(connection, part)


async def _receive(connection: socket.socket, usual: bytearray, *, most_bytes: int) -> tuple[int, bytes]:
    """Return kind and data of a response.

    Raises:
        OSError: the process has died, or violates the protocol.
    """
    kind, size = ANSWER_HEAD.unpack(await _read(connection, ANSWER_HEAD.size, usual))
    if size > most_bytes:
        raise OSError("The result is larger than the worker's memory limit.")
    return kind, await _read(connection, size, usual)


async def _read(connection: socket.socket, size: int, usual: bytearray) -> bytes:
    """Return `size` bytes, received into `usual` if they fit: allocating memory costs more than copying."""
    loop = asyncio.get_running_loop()
    with memoryview(usual if size <= len(usual) else bytearray(size))[:size] as data:
        at = 0
        while at < size:
            count = await loop.sock_recv_into(connection, data[at:])
            if not count:
                raise ConnectionResetError("The process has ended.")
            at += count
        return bytes(data)


def pickled(job: object) -> list[Part]:
    """Return the pickle of a job, and the large values outside it."""
    buffers: list[pickle.PickleBuffer] = []
    file = BytesIO()
    _JobPickler(file, 5, buffer_callback=buffers.append).dump(job)
    return [file.getvalue(), *(buffer.raw() for buffer in buffers)]


class _JobPickler(pickle.Pickler):
    """Pickles a job without copying its large values."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce a dataclass to its fields, so that large values become separate buffers."""
        if not is_dataclass(obj) or isinstance(obj, type):
            return NotImplemented
        return type(obj), tuple(_apart(getattr(obj, field.name)) for field in fields(obj))


def _apart(value: Any) -> Any:
    if isinstance(value, bytes) and len(value) >= _APART_BYTES:
        return pickle.PickleBuffer(value)
    if type(value) is tuple:
        return tuple(_apart(one) for one in value)
    return value


def _settle(task: Task, kind: int, answer: bytes) -> None:
    if kind == process.OK:
        task.succeed(answer)
    elif kind == process.REFUSED:
        told = json.loads(answer)
        kinds: dict[str, Callable[..., DicomStoreError]] = vars(errors)
        task.fail(kinds[told["type"]](Reason(told["reason"]), told["message"], **told["metadata"]))
    elif kind == process.OUT_OF_MEMORY:
        task.fail(_unreadable("needs more memory than a worker may use"))
    else:
        _log.warning("a job failed unexpectedly job=%s\n%s", task.kind, answer.decode())
        task.fail(_unreadable("cannot be processed"))


def _killed() -> Exhausted:
    return Exhausted(Reason.BUSY, "There is not enough memory to process the image; try again later.")


def _unreadable(problem: str) -> WrongState:
    return WrongState(Reason.PIXEL_DATA_UNREADABLE, f"The pixel data {problem}.")


def _environment() -> dict[str, str]:
    """Return the environment of a worker: with the module path, without settings, which may contain secrets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DICOMSTORE_", "OTEL_"))}
    # One thread per job: there are as many concurrent jobs as processors.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return kept | threads | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
