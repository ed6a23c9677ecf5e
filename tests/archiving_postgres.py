"""A PostgreSQL server that archives its write-ahead log, as docs/operations.md configures it."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

USER = "pgserver" if os.geteuid() == 0 else None
"""The user that runs PostgreSQL, see `tests.conftest.running_postgres`."""


class ArchivingServer:
    """A server with its data in `main`, beside a directory `backup`."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self.programs = programs
        self.main = directory / "main"
        self.backup = directory / "backup"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of its database."""
        return f"postgresql+psycopg://postgres@/postgres?host={self.directory}"

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement that returns rows."""
        with psycopg.connect(f"postgresql://postgres@/postgres?host={self.directory}", autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def start(self) -> None:
        """Start the server, and wait until it accepts changes."""
        with open(self.directory / "log", "ab") as log:
            command = [str(self.programs / "postgres"), "-D", str(self.main), "-h", "", "-k", str(self.directory)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=USER)
        deadline = time.monotonic() + 60
        while not self._accepts_changes():
            log_text = (self.directory / "log").read_text()
            assert self._process.poll() is None, log_text
            assert time.monotonic() < deadline, log_text
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server; it archives the end of its log before."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(2)  # SIGINT: the connections are closed
            assert self._process.wait(60) == 0

    def _accepts_changes(self) -> bool:
        try:
            return self.execute("SELECT pg_is_in_recovery()") == [(False,)]
        except psycopg.OperationalError:
            return False


@contextmanager
def archiving_server(postgres: str, configuration: str) -> Iterator[ArchivingServer]:
    """Run a server of the version of another one, with lines of `postgresql.conf` in which it is in /backup."""
    with psycopg.connect(postgres) as connection:
        [(programs,)] = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchall()
    directory = Path(tempfile.mkdtemp(prefix="dicomstore-backup-"))
    server = ArchivingServer(directory, Path(programs))
    try:
        for path in (server.backup, server.backup / "wal", server.backup / "base"):
            path.mkdir()
        if USER:
            for path in (directory, *directory.rglob("*")):
                shutil.chown(path, USER)
        create = [server.programs / "initdb", "-D", server.main, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run([*create, "--locale=C"], capture_output=True, check=True, user=USER)
        with open(server.main / "postgresql.conf", "a") as file:
            file.write(configuration.replace("/backup", str(server.backup)) + "fsync = off\n")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
