"""A hot standby of the PostgreSQL server of the tests."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

_USER = "pgserver" if os.geteuid() == 0 else None
"""The user that runs the primary, see `tests.conftest.running_postgres`."""


class Standby:
    """Replays the log of the primary."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def url(self, primary: str) -> str:
        """Return the URL of a database of the primary on the standby."""
        return make_url(primary).update_query_dict({"host": str(self._directory)}).render_as_string(False)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement in database `postgres` of the standby."""
        with psycopg.connect(f"postgresql://postgres@/postgres?host={self._directory}", autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()


@contextmanager
def running_standby(primary: str) -> Iterator[Standby]:
    """Run a standby of the server with a database at a libpq URI."""
    directory = Path(tempfile.mkdtemp(prefix="dicomstore-standby-"))
    if _USER:
        shutil.chown(directory, _USER)
    host = make_url(primary).query["host"]
    with psycopg.connect(primary) as connection:
        [(programs,)] = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchall()
    try:
        backup = ["pg_basebackup", "-h", str(host), "-U", "postgres", "-D", f"{directory}/data", "-R", "-c", "fast"]
        copied = subprocess.run([f"{programs}/{backup[0]}", *backup[1:]], capture_output=True, check=False, user=_USER)
        assert copied.returncode == 0, copied.stderr
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen(
                [f"{programs}/postgres", "-D", f"{directory}/data", "-h", "", "-k", str(directory)],
                stdout=log,
                stderr=log,
                user=_USER,
            )
        try:
            standby = Standby(directory)
            _wait(standby, directory / "log")
            yield standby
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait(standby: Standby, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            standby.execute("SELECT 1")
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            return
