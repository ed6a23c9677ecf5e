"""Searches on a hot standby of PostgreSQL that has everything that was acknowledged before they began.

Each search asks the primary for the position of its write-ahead log (searches that wait at the same time share one
query), and then runs on the replica if that has replayed the log up to there. So a client finds what it, or anybody
else, has stored, whatever node answers. The replica may be behind, unreachable or promoted at any time: then the search
runs on the primary.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, text

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.sessions import Kind, Session
from server.adapters.sql.core.threads import Figures, Threads

THREADS = 4
"""Number of connections of a process to the replica."""

_PAUSE_SECONDS = 0.002
_AVOID_SECONDS = 1.0
"""Time for which searches avoid a replica that was behind or unreachable: each would wait for it."""

_POSITION = Prepared(
    text("SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint, (SELECT id FROM archive WHERE key = 1)")
)
_REPLAYED = Prepared(
    text(
        "SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint END, "
        "(SELECT id FROM archive WHERE key = 1)"
    )
)

Result = TypeVar("Result")


class Position(NamedTuple):
    """How far the log of an archive's database is."""

    log: int | None
    archive: str | None


def position(connection: Connection) -> Position:
    """Return the position up to which the log of the primary is durable: every acknowledged transaction is below it."""
    return Position(*_POSITION.tuples(connection, {})[0])


class NotCurrent(Exception):
    """The replica lacks transactions, or is not one of this archive."""


class Replica:
    """Runs reading transactions on the replica.

    Args:
        wait_seconds: longest time to wait for it to catch up.
    """

    def __init__(
        self, engine: Engine, kind: Kind, wait_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._avoid_until = float("-inf")
        self._threads = Threads(THREADS, "replica-reader", lambda: Session(engine, kind))
        self._asked: asyncio.Task[Position] | None = None
        self._asking: asyncio.Task[Position] | None = None

    @property
    def is_avoided(self) -> bool:
        """Whether it was not current a moment ago."""
        return self._clock() < self._avoid_until

    def avoid(self) -> None:
        """Let searches avoid it for a moment."""
        self._avoid_until = self._clock() + _AVOID_SECONDS

    async def run(
        self, work: Callable[[Connection], Result], ask: Callable[[], Awaitable[Position]], figures: Figures
    ) -> Result:
        """Run `work` on a snapshot that includes every transaction that was acknowledged before this call.

        Args:
            ask: returns the position of the primary.
            figures: metrics of transactions on the replica.

        Raises:
            NotCurrent
            and as `Transactions.read`, and as `ask`.
        """
        needed = await self._position(ask)
        end = self._clock() + self._wait_seconds

        def once(session: Session) -> Result:
            session.run(lambda connection: self._wait(connection, needed, end), is_single=True)
            return session.run(work)

        return await self._threads.run(once, figures)

    async def _position(self, ask: Callable[[], Awaitable[Position]]) -> Position:
        """Return the answer to a query that is sent after this call; the calls that wait for one share it."""
        if self._asked is None:
            self._asked = asyncio.create_task(self._ask_after(self._asking, ask))
        return await asyncio.shield(self._asked)

    async def _ask_after(
        self, before: "asyncio.Task[Position] | None", ask: Callable[[], Awaitable[Position]]
    ) -> Position:
        if before is not None:
            await asyncio.wait([before])
        self._asking, self._asked = self._asked, None
        return await ask()

    def _wait(self, connection: Connection, needed: Position, end: float) -> None:
        while True:
            replayed = Position(*_REPLAYED.tuples(connection, {})[0])
            if replayed.log is None or needed.log is None or replayed.archive != needed.archive:
                raise NotCurrent
            if replayed.log >= needed.log:
                return
            if self._clock() >= end:
                raise NotCurrent
            time.sleep(_PAUSE_SECONDS)  # in a thread of its own

    def close(self) -> None:
        """Wait for running work, then close all connections; blocking."""
        self._threads.close()
        self._engine.dispose()
