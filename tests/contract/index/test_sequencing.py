"""The change feed of PostgreSQL with many writers: entries are numbered once, in order, despite kills and delays."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from common.telemetry.tracing import Span, recorded, sampler_of
from server.adapters.sql.core.engines import engine_of
from server.adapters.sql.core.prepared import flush
from server.adapters.sql.core.sessions import begin, commit
from server.adapters.sql.engine import _NUMBERS as NUMBERS
from server.adapters.sql.engine import WRITERS_LOCK, Database, migrate, open_database
from server.adapters.sql.writing import sequencing
from server.domain.sequencer import Sequencer
from server.model.change import Change, ChangeAction, ChangeWindow
from server.model.ids import InstanceId
from server.model.instance import Added
from tests.contract.index.samples import NOON, identity, sample, study_ref
from tests.contract.index.sequenced import sequence

pytestmark = pytest.mark.postgres

WRITERS = 8
ROUNDS = 15

WRITER = """
import asyncio, os, sys
from server.adapters.sql.engine import open_database
from server.domain.sequencer import Sequencer
from tests.contract.index.samples import NOON, identity, sample
from dataclasses import replace

async def write(url, study):
    database = open_database(url)
    sequencer = Sequencer(database.changes)
    numbering = asyncio.create_task(sequencer.run())
    for n in range(int(sys.argv[2])):
        new = [replace(sample(study, 1, 10 * n + m), locator=f"{study}-{n}-{m}") for m in range(2)]
        await database.instances.add(new, NOON)
        sequencer.stored()
        os.write(1, b"%d %d\\n" % (study, n))
        if n % 5 == 4:
            await database.instances.delete(identity(study, 1, 10 * n).address, NOON, NOON)
            sequencer.deleted()
    numbering.cancel()
    await database.close()

# One process imports; each line on its input names a study, for which it forks a writer and prints its id.
for line in sys.stdin:
    if (pid := os.fork()) == 0:
        asyncio.run(write(sys.argv[1], int(line)))
        os._exit(0)
    os.write(1, b"started %d\\n" % pid)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""


class Writers:
    """Processes that store, each into its own study."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-c", WRITER, url, str(ROUNDS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pids: list[int] = []
        self.acknowledged: list[tuple[int, int]] = []
        self.is_half_done = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def start(self, study: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{study}\n")
        self.process.stdin.flush()

    def join(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self._thread.join()
        self.process.stdout.close()
        self.process.wait()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            first, second = line.split()
            if first == "started":
                self.pids.append(int(second))
            else:
                self.acknowledged.append((int(first), int(second)))
            if len(self.acknowledged) >= WRITERS * ROUNDS // 4:
                self.is_half_done.set()


@contextmanager
def slow_sequencer(url: str) -> Iterator[None]:
    """Number entries repeatedly, with a delay before the commit; every other transaction is rolled back."""
    engine = engine_of(url)
    stopped = threading.Event()

    def number() -> None:
        is_lost = False
        while not stopped.is_set():
            with engine.connect() as connection:
                begin(connection, NUMBERS.begin)
                sequencing.number(connection, sequencing.to_do(connection))
                flush(connection)
                stopped.wait(0.1)
                if not is_lost:
                    commit(connection)
            is_lost = not is_lost
            stopped.wait(0.05)

    thread = threading.Thread(target=number)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        engine.dispose()


async def consume(database: Database, limit: int, ended: asyncio.Event) -> list[Change]:
    """Follow the change feed as a client does, until no entry follows after the end."""
    seen: list[Change] = []
    while True:
        has_ended = ended.is_set()
        page = await database.changes.list(ChangeWindow(limit=limit, after_sequence=seen[-1].sequence if seen else 0))
        seen += page
        if has_ended and not page:
            return seen
        await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = open_database(url)
    yield database
    await database.close()


async def test_three_consumers_see_every_entry_once_and_in_order(migrated_postgres_url: str) -> None:
    writers = Writers(migrated_postgres_url)
    ended = asyncio.Event()
    async with (
        opened(migrated_postgres_url) as first,
        opened(migrated_postgres_url) as second,
        opened(migrated_postgres_url) as third,
    ):
        consuming = [
            asyncio.create_task(consume(database, limit, ended))
            for database, limit in ((first, 1), (second, 7), (third, 1000))
        ]
        with slow_sequencer(migrated_postgres_url):
            for study in range(1, WRITERS + 1):
                writers.start(study)
            assert await asyncio.to_thread(writers.is_half_done.wait, 60)
            for pid in writers.pids[:3]:
                os.kill(pid, signal.SIGKILL)
            for study in range(WRITERS + 1, WRITERS + 4):
                writers.start(study)
            await asyncio.to_thread(writers.join)
        await sequence(first.changes)
        ended.set()
        seen, *others = await asyncio.gather(*consuming)
        every = await first.changes.list(ChangeWindow(limit=100_000))
        found = {stored.id for n in range(1, WRITERS + 4) for stored in await first.instances.find(study_ref(n))}

    def numbered(changes: list[Change]) -> list[tuple[int, InstanceId, ChangeAction]]:
        return [(change.sequence, change.instance, change.action) for change in changes]

    assert all(numbered(other) == numbered(seen) == numbered(every) for other in others)
    sequences = [change.sequence for change in seen]
    assert sequences == sorted(set(sequences))
    assert [change.time for change in seen] == sorted(change.time for change in seen)
    created = {identity(study, 1, 10 * n + m) for study, n in writers.acknowledged for m in range(2)}
    balance = Counter[InstanceId]()
    for change in seen:
        balance[change.instance] += 1 if change.action is ChangeAction.CREATE else -1
        assert balance[change.instance] in (0, 1), "an instance is stored, then deleted"
    assert created <= balance.keys()
    assert {instance for instance, count in balance.items() if count} == found


async def test_a_process_knows_its_part_of_the_entries_of_all(migrated_postgres_url: str) -> None:
    async with opened(migrated_postgres_url) as database:
        await database.changes.sequence()
        await database.instances.add([sample(1)], NOON)
        await sequence(database.changes)
        assert database.changes.share == 1
        writers = Writers(migrated_postgres_url)
        writers.start(2)
        await asyncio.to_thread(writers.join)
        await database.instances.add([sample(3)], NOON)
        await sequence(database.changes)
        assert database.changes.share == 1 / (1 + ROUNDS * 2 + ROUNDS // 5)


async def test_a_transaction_on_one_study_does_not_wait_for_one_on_another(migrated_postgres_url: str) -> None:
    engine = create_engine(migrated_postgres_url)
    async with opened(migrated_postgres_url) as one, opened(migrated_postgres_url) as other:
        await one.instances.add([sample(1)], NOON)
        with engine.connect() as open_transaction:  # an open transaction that adds to study 1
            open_transaction.execute(text(f"SELECT pg_advisory_xact_lock_shared({WRITERS_LOCK})"))
            open_transaction.execute(text("UPDATE counters SET version = version + 1 WHERE version > 0"))
            open_transaction.execute(text("UPDATE studies SET instance_count = instance_count + 1"))
            open_transaction.execute(text("INSERT INTO study_block_changes VALUES (0, 1, 0, 1)"))
            waiting = asyncio.ensure_future(one.instances.add([sample(1, 1, 2)], NOON))
            for n in range(2, 10):
                [added] = await other.instances.add([sample(n)], NOON)
                assert isinstance(added, Added)
            assert await other.instances.delete(study_ref(2), NOON, NOON) == 1
            await sequence(other.changes)
            assert not waiting.done()
        assert await waiting
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_watchers_in_other_processes_are_notified_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'index.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    migrate(url)
    async with opened(url) as one, opened(url) as other:
        told = asyncio.Event()
        listening = asyncio.create_task(other.changes.listen(told.set))
        async with asyncio.timeout(20):
            await told.wait()  # until it listens
        sequencer = Sequencer(one.changes)
        numbering = asyncio.create_task(sequencer.run())
        loop = asyncio.get_running_loop()
        delays = []
        for n in range(5):
            told.clear()
            await one.instances.add([sample(1, 1, n)], NOON)
            start = loop.time()
            sequencer.stored()
            async with asyncio.timeout(20):
                await told.wait()
            delays.append(loop.time() - start)
            assert len(await other.changes.list(ChangeWindow(limit=9))) == n + 1
        for task in (listening, numbering):
            task.cancel()
        await asyncio.gather(listening, numbering, return_exceptions=True)
    assert min(delays) < 0.1


async def test_a_reader_sees_earlier_commits_of_another_process(migrated_postgres_url: str) -> None:
    async with opened(migrated_postgres_url) as one, opened(migrated_postgres_url) as other:
        sequencer = Sequencer(other.changes)
        numbering = asyncio.create_task(sequencer.run())
        for n in range(20):
            await one.instances.add([sample(1, 1, n)], NOON)  # in a process without a sequencer
            await sequencer.catch_up()
            assert len(await other.changes.list(ChangeWindow(limit=99))) == n + 1
        numbering.cancel()
        await asyncio.gather(numbering, return_exceptions=True)


async def test_a_round_that_numbers_entries_is_a_trace_and_one_without_entries_is_not(
    migrated_postgres_url: str,
) -> None:
    spans: list[Span] = []
    async with opened(migrated_postgres_url) as database:
        with recorded(spans.append, sampler_of({"OTEL_TRACES_SAMPLER": "always_on"})):
            sequencer = Sequencer(database.changes)
            numbering = asyncio.create_task(sequencer.run())
            await sequencer.catch_up()
            assert spans == []
            await database.instances.add([sample(1, 1, 1)], NOON)
            await sequencer.catch_up()
            await sequencer.catch_up()
            numbering.cancel()
            await asyncio.gather(numbering, return_exceptions=True)
    assert [(span.name, span.parent_id, span.fault) for span in spans] == [("number changes", "", "")]
    assert spans[0].started_ns < spans[0].ended_ns
