"""Transactions in threads.

The event loop never waits for the database: one thread writes, a few read, and with PostgreSQL one assigns sequence
numbers to entries of the change feed. SQLite has a single writer; with PostgreSQL each process has one.

In PostgreSQL every writing transaction shares a lock. One that must run alone, such as a change of the extended query
tags, takes it exclusively.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

from sqlalchemy import Engine

from common.telemetry.catalogue import INDEX_FAILURES, INDEX_SECONDS, INDEX_WAITING
from common.telemetry.metrics import Sample
from common.telemetry.tracing import CLIENT, current_span, part
from server.adapters.sql.core.replica import NotCurrent, Position, Replica, position
from server.adapters.sql.core.sessions import READERS, Kind, Result, Session, Work
from server.adapters.sql.core.threads import Figures, Threads
from server.model.errors import DicomStoreError, Unavailable

_FIGURES = {
    kind: Figures(INDEX_SECONDS.of(kind), INDEX_FAILURES.of(kind)) for kind in ("read", "search", "write", "number")
}


class Transactions:
    """Runs functions in transactions of one database.

    A function gets a connection with an open transaction; when it returns, the transaction is committed and durable;
    when it raises, the transaction is rolled back. It may be called again if the database aborted its transaction.
    After a cancellation it is unknown whether the transaction was committed; after an error of `write` it is known, see
    `DicomStoreError.may_have_happened`.

    has_sequencer: entries of the change feed are numbered by separate transactions.
    """

    def __init__(
        self,
        reading: Engine,
        reads: Kind,
        writing: Engine,
        writes: Kind,
        numbers: Kind,
        replica: Replica | None = None,
    ) -> None:
        self._readers = Threads(READERS, "index-reader", lambda: Session(reading, reads))
        self._writer = Threads(1, "index-writer", lambda: Session(writing, writes))
        self._sequencer = Threads(1, "index-sequencer", lambda: Session(writing, numbers))
        self._engines = (writing, reading)
        self._system = reading.dialect.name
        self.has_sequencer = self._system == "postgresql"
        self._write_order = writes.write_order
        self._replica = replica

    def read(self, work: Work[Result]) -> Coroutine[Any, Any, Result]:
        """Run `work` on one consistent snapshot of the database, which includes every acknowledged transaction.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
            Exhausted: SEARCH_TOO_LONG.
        """
        return self._traced("read", work, self._readers.run(lambda session: session.run(work), _FIGURES["read"]))

    def search(self, work: Work[Result]) -> Coroutine[Any, Any, Result]:
        """As `read`; on the replica if there is one and it has everything that was acknowledged before this call."""
        if self._replica is None or self._replica.is_avoided:
            return self._search_primary(work)
        return self._search_replica(work, self._replica)

    def _search_primary(self, work: Work[Result]) -> Coroutine[Any, Any, Result]:
        return self._traced("search", work, self._readers.run(lambda session: session.run(work), _FIGURES["search"]))

    async def _search_replica(self, work: Work[Result], replica: Replica) -> Result:
        try:
            return await self._traced("search", work, replica.run(work, self._position, _FIGURES["search"]))
        except (NotCurrent, Unavailable):
            replica.avoid()
        return await self._search_primary(work)

    async def _position(self) -> Position:
        return await self._readers.run(lambda session: session.run(position, is_single=True))

    def write(self, work: Work[Result], *, alone: bool = False) -> Coroutine[Any, Any, Result]:
        """Run `work`, which may write; with `alone`, excluding all other writing transactions.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, ARCHIVE_READ_ONLY.
            Exhausted: STORAGE_FULL.
        """
        running = self._writer.run(lambda session: session.run(work, alone=alone), _FIGURES["write"])
        return self._traced("write", work, running)

    def number(self, work: Work[Result]) -> Coroutine[Any, Any, Result]:
        """Run `work`, which numbers entries of the change feed, concurrently with `write`. Raises: as `write`."""
        running = self._sequencer.run(lambda session: session.run(work), _FIGURES["number"])
        return self._traced("number", work, running)

    def _traced(
        self, kind: str, work: Work[Result], running: Coroutine[Any, Any, Result]
    ) -> Coroutine[Any, Any, Result]:
        """Return a running transaction as a span in the trace of its caller, if that is recorded."""
        if current_span() is None:
            return running
        function = getattr(work, "__qualname__", "")
        attributes = {"db.system.name": self._system, "code.function.name": function}
        return _within(part(f"index {kind}", attributes, CLIENT), running)

    def samples(self) -> Iterator[Sample]:
        """Yield the numbers of transactions that wait for a thread."""
        for kind, threads in (("read", self._readers), ("write", self._writer), ("number", self._sequencer)):
            yield Sample(INDEX_WAITING, threads.waiting, (kind,))

    async def look(self, work: Work[Result]) -> Result:
        """Run `work`, a single query, without a transaction, in the thread of `number`. Raises: as `write`."""
        return await self._sequencer.run(lambda session: session.run(work, is_single=True))

    async def connect(self) -> None:
        """Connect the thread that writes, the one that numbers and one that reads; failures have no consequence."""
        for start in (self.write, self.number, self.read) if self.has_sequencer else ():
            with suppress(DicomStoreError):
                await start(lambda _: None)

    async def close(self) -> None:
        """Wait for running work, then close all connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for threads in (self._writer, self._sequencer, self._readers):
            threads.close()
        if self._replica is not None:
            self._replica.close()
        for engine in self._engines:
            engine.dispose()
        self._write_order.close()


async def _within(span: AbstractContextManager[object], running: Coroutine[Any, Any, Result]) -> Result:
    with span:
        return await running
