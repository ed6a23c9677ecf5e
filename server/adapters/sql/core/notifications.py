"""Notifications of PostgreSQL: a process learns at once what another one has committed.

They need a direct connection to the server: a pooler in transaction mode does not forward them. Without notifications,
clients poll.
"""

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import make_url

_FIRST_PAUSE_SECONDS = 1.0
_MAX_PAUSE_SECONDS = 30.0
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
