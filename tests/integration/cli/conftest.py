"""A real core in this process, the command line as a separate process, and a breakable connection between them."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from server.bootstrap.serving import running
from tests.core import CoreClient, file_of, settings_for
from tests.programs import AsyncProgram, run_forked

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[Any]:
        """JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class Archive(CoreClient):
    """A core, and where it listens."""

    def __init__(self, channel: grpc.aio.Channel, data: Path, address: str) -> None:
        super().__init__(channel, data)
        self.address = address

    def blob_of(self, body: bytes) -> Path:
        """Return the file that holds an instance, which must be large: small ones share files."""
        return file_of(self.data, body)


class CommandLine:
    """`dicomstore`, with a core to talk to."""

    def __init__(self, core: str, folder: Path) -> None:
        self.core = core
        self.folder = folder

    async def start(self, *arguments: object) -> AsyncProgram:
        """Start a command with pipes for its output."""
        return await AsyncProgram.start(
            "cli",
            *(str(argument) for argument in arguments),
            environment=self._environment({}),
            folder=self.folder,
            warnings="error",
        )

    async def start_with(
        self, stdout: int, *arguments: object, env: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        """Start a command whose output goes to a descriptor, such as that of a terminal."""
        return await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-m", "cli", *(str(argument) for argument in arguments),
            stdout=stdout, stderr=asyncio.subprocess.PIPE, cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL, env=self._environment(env or {}),
        )  # fmt: skip

    async def __call__(self, *arguments: object, env: Mapping[str, str] | None = None, stdin: str = os.devnull) -> Ran:
        """Run a command to its end."""
        exit_code, output, errors = await run_forked(
            [str(argument) for argument in arguments],
            folder=self.folder,
            environment=self._environment(env or {}),
            stdin=stdin,
        )
        assert b"Traceback" not in errors, errors.decode()
        return Ran(exit_code, output.decode(), errors.decode())

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("DICOMSTORE_")}
        return {
            **own,
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos' / 'gen'}",
            "DICOMSTORE_CORE": self.core,
            "COLUMNS": "400",
            **variables,
        }


class Relay:
    """Passes bytes on between clients and the core, until told to break."""

    def __init__(self, core: str) -> None:
        self._core_port = int(core.rpartition(":")[2])
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.address = ""
        self.connections = 0
        self.break_after_bytes: int | None = None
        """Break the connection that carries so many bytes to the core; once."""
        self.break_after_answer_bytes: int | None = None
        """The same, for bytes from the core."""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Relay"]:
        """Listen on a free port."""
        await self.open()
        try:
            yield self
        finally:
            await self.close()

    async def open(self) -> None:
        """Take connections, on the same port as before."""
        port = int(self.address.rpartition(":")[2] or 0)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Accept no more connections, and close the existing ones."""
        if self._server is not None:
            self._server.close()
        self.break_now()

    def break_now(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        from_core, to_core = await asyncio.open_connection("127.0.0.1", self._core_port)
        self._writers |= {to_client, to_core}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(from_client, to_core, "break_after_bytes"))
                both.create_task(self._pass_on(from_core, to_client, "break_after_answer_bytes"))
        finally:
            for writer in (to_client, to_core):
                writer.transport.abort()
                self._writers.discard(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit_name: str) -> None:
        passed_bytes = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(16384):
                passed_bytes += len(data)
                limit = getattr(self, limit_name)
                if limit is not None and passed_bytes > limit:
                    setattr(self, limit_name, None)
                    self.break_now()
                    return
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """A core without partitions; its data are in a folder of their own."""
    async with (
        running(settings_for(tmp_path / "data")) as core,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        yield Archive(channel, tmp_path / "data", core.address)


@pytest.fixture
def dicomstore(archive: Archive, tmp_path: Path) -> CommandLine:
    """The command line in an empty folder, with the core of `archive`."""
    (tmp_path / "work").mkdir()
    return CommandLine(archive.address, tmp_path / "work")


@pytest.fixture
async def relay(archive: Archive, dicomstore: CommandLine) -> AsyncIterator[Relay]:
    """A breakable connection that `dicomstore` uses from now on."""
    async with Relay(archive.address).listening() as relay:
        dicomstore.core = relay.address
        yield relay


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes bodies as files of the folder that `dicomstore` works in."""

    def write(*bodies: bytes, folder: str = "files") -> list[Path]:
        directory = tmp_path / "work" / folder
        directory.mkdir(parents=True, exist_ok=True)
        paths = [directory / f"{number:04}.dcm" for number in range(len(bodies))]
        for path, body in zip(paths, bodies, strict=True):
            path.write_bytes(body)
        return paths

    return write
