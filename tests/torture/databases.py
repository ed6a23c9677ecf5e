"""The index of a tormented archive: what can be done to it from outside, on SQLite and PostgreSQL."""

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
        """Nothing: `dicomstore up` makes the embedded index."""

    def copy(self) -> None:
        """Make a copy, which is going to be old; the archive may run."""
        self._copy.mkdir(exist_ok=True)
        with (
            closing(sqlite3.connect(self._data / "index.db", timeout=30)) as live,
            closing(sqlite3.connect(self._copy / "index.db")) as copy,
        ):
            live.backup(copy)

    def use_copy(self) -> None:
        """Put the copy in the place of the index."""
        self._move(self._data, self._right)
        shutil.copy(self._copy / "index.db", self._data / "index.db")

    def use_right(self) -> None:
        """Put the index back."""
        _remove(self._data)
        self._move(self._right, self._data)

    def keep(self) -> None:
        """Go on with what is in place."""
        shutil.rmtree(self._right, ignore_errors=True)

    def lose(self) -> None:
        """Remove the index."""
        _remove(self._data)

    async def outage(self, seconds: float) -> None:
        """Hold the lock that every writer needs."""
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
    """An index in a PostgreSQL of its own."""

    def __init__(self, installation: Installation, server: Any) -> None:
        self._installation = installation
        self._server = server
        self._databases = PostgresDatabases(server.get_uri())
        self._right = self._databases.create()
        self._copy = ""
        installation.database = self._databases.url(self._right)

    async def prepare(self) -> None:
        """Make the tables."""
        code, output = await self._installation.run("cli", "migrate")
        assert code == 0, output

    def copy(self) -> None:
        """Make a copy, which is going to be old; nobody may use the database."""
        if self._copy:
            self._databases.drop(self._copy)
        self._copy = f"{self._right}_copy_{self._installation.starts}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self._right,)
            )
            connection.execute(f"CREATE DATABASE {self._copy} TEMPLATE {self._right}".encode())

    def use_copy(self) -> None:
        """Put the copy in the place of the index."""
        self._installation.database = self._databases.url(self._copy)

    def use_right(self) -> None:
        """Put the index back."""
        self._installation.database = self._databases.url(self._right)

    def keep(self) -> None:
        """Go on with the copy."""
        self._databases.drop(self._right)
        self._right, self._copy = self._copy, ""

    def lose(self) -> None:
        """Use an empty database."""
        self._databases.drop(self._right)
        self._right = self._databases.create()
        self.use_right()

    async def freeze(self, seconds: float) -> None:
        """Stop all processes of the server for a while."""
        frozen = self._processes()
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            for process in frozen:
                os.kill(process, signal.SIGCONT)

    async def outage(self, seconds: float) -> None:
        """Shut the server down for a while."""
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
    """Give an installation an index of a kind, `sqlite` or `postgres`."""
    if kind == "sqlite":
        yield Sqlite(installation)
        return
    with running_postgres() as server:
        yield Postgres(installation, server)
