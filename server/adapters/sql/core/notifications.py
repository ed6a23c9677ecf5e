"""Notifications: a process learns within 100 ms that another one has committed.

Those of PostgreSQL need a direct connection to the server: a pooler in transaction mode does not forward them. SQLite
has none; the version of its file is read every 50 ms instead. Without notifications, clients poll.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

_FIRST_PAUSE_SECONDS = 1.0
_MAX_PAUSE_SECONDS = 30.0
_FILE_PERIOD_SECONDS = 0.05
_log = logging.getLogger("dicomstore.index")


async def listen(url: str, channel: str, heard: Callable[[], None]) -> None:
    """Call `heard` for each notification and after each new connection, until cancelled. Reconnects after failures."""
    import psycopg  # local import: an archive with SQLite starts faster without it

    conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
                await connection.execute(f"LISTEN {channel}".encode())
                pause = _FIRST_PAUSE_SECONDS
                heard()
                async for _ in connection.notifies():
                    heard()
        except psycopg.Error as error:
            _log.warning("notifications of the database are interrupted error=%s", type(error).__name__)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_SECONDS)


async def watch_file(path: str, changed: Callable[[], None]) -> None:
    """Call `changed` after commits to an SQLite file by any connection, until cancelled. Reopens it after failures.

    On the event loop: the version lies in shared memory, and reading it takes microseconds and waits for no lock.
    """
    while True:
        try:
            with closing(_open_read_only(path)) as connection:
                version = _data_version(connection)
                changed()
                while True:
                    await asyncio.sleep(_FILE_PERIOD_SECONDS)
                    before, version = version, _data_version(connection)
                    if version != before:
                        changed()
        except sqlite3.Error as error:
            _log.warning("the version of the database file cannot be read error=%s", type(error).__name__)
        await asyncio.sleep(_MAX_PAUSE_SECONDS)


def _open_read_only(path: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=0)


def _data_version(connection: sqlite3.Connection) -> int:
    """Return a number that changes with each commit of another connection."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)
