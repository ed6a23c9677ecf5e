"""Faults in the index database of an archive, on SQLite and PostgreSQL."""

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.conftest import PostgresDatabases, running_postgres
from tests.e2e.test_up import descendants
from tests.torture.installation import Installation


class Sqlite:
    """The embedded index."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._data = installation.data
        self._copy = installation.data.parent / "older"
        self._right = installation.data.parent / "right"

    async def prepare(self) -> None:
        """Do nothing: `dicomstore up` creates the embedded index."""

    def copy(self) -> None:
        """Copy the index; the archive may be running."""
        self._copy.mkdir(exist_ok=True)
        with (
            closing(sqlite3.connect(self._data / "index.db", timeout=30)) as live,
            closing(sqlite3.connect(self._copy / "index.db")) as copy,
        ):
            live.backup(copy)

    def use_copy(self) -> None:
        """Replace the index by the copy."""
        self._move(self._data, self._right)
        shutil.copy(self._copy / "index.db", self._data / "index.db")

    def use_right(self) -> None:
        """Restore the index."""
        _remove(self._data)
        self._move(self._right, self._data)

    def keep(self) -> None:
        """Keep the current index and discard the other."""
        shutil.rmtree(self._right, ignore_errors=True)

    def lose(self) -> None:
        """Remove the index."""
        _remove(self._data)

    async def outage(self, seconds: float) -> None:
        """Hold the write lock of the database for some seconds."""
        with closing(sqlite3.connect(self._data / "index.db", timeout=30, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(seconds)
            other.execute("ROLLBACK")

    @staticmethod
    def _move(source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for path in source.glob("index.db*"):
            shutil.move(path, target / path.name)


def _remove(folder: Path) -> None:
    for path in folder.glob("index.db*"):
        path.unlink()


class Postgres:
    """An index in a separate PostgreSQL server."""

    def __init__(self, installation: Installation, server: Any) -> None:
        self._installation = installation
        self._server = server
        self._databases = PostgresDatabases(server.get_uri())
        self._right = self._databases.create()
        self._copy = ""
        installation.database = self._databases.url(self._right)

    async def prepare(self) -> None:
        """Create the tables."""
        code, output = await self._installation.run("cli", "migrate")
        assert code == 0, output

    def copy(self) -> None:
        """Copy the database, which must have no other connections."""
        if self._copy:
            self._databases.drop(self._copy)
        self._copy = f"{self._right}_copy_{self._installation.starts}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self._right,)
            )
            connection.execute(f"CREATE DATABASE {self._copy} TEMPLATE {self._right}".encode())

    def use_copy(self) -> None:
        """Replace the index by the copy."""
        self._installation.database = self._databases.url(self._copy)

    def use_right(self) -> None:
        """Restore the index."""
        self._installation.database = self._databases.url(self._right)

    def keep(self) -> None:
        """Keep the copy and drop the original."""
        self._databases.drop(self._right)
        self._right, self._copy = self._copy, ""

    def lose(self) -> None:
        """Switch to an empty database."""
        self._databases.drop(self._right)
        self._right = self._databases.create()
        self.use_right()

    async def freeze(self, seconds: float) -> None:
        """Suspend all processes of the server for some seconds."""
        frozen = self._processes()
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            for process in frozen:
                os.kill(process, signal.SIGCONT)

    async def outage(self, seconds: float) -> None:
        """Shut the server down for some seconds."""
        await asyncio.to_thread(self._server.stop)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(self._server.start)

    def _processes(self) -> list[int]:
        postmaster = int((self._server.pgdata / "postmaster.pid").read_text().splitlines()[0])
        return [postmaster, *descendants(postmaster)]


@contextmanager
def database(kind: str, installation: Installation) -> Iterator[Sqlite | Postgres]:
    """Yield the index of an installation; `kind` is `sqlite` or `postgres`."""
    if kind == "sqlite":
        yield Sqlite(installation)
        return
    with running_postgres() as server:
        yield Postgres(installation, server)
