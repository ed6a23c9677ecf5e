"""Concurrent writers, in one process and in two."""

import asyncio
import subprocess
import sys
import threading
from collections import Counter

from sqlalchemy import create_engine, insert, text

from server.adapters.sql.engine import WRITERS_LOCK, Database, open_database
from server.adapters.sql.tables.deletions import erasures
from server.model.change import ChangeState, ChangeWindow
from server.model.ids import PartitionName
from server.model.instance import Added, AlreadyStored, NewInstance, ResourceState
from server.model.search.query import Condition, Equals, Level, Query
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref
from tests.contract.index.sequenced import SequencedChanges


async def test_exactly_one_of_many_concurrent_adds_of_an_instance_succeeds(
    database: Database, other_database: Database
) -> None:
    new = [sample() for _ in range(20)]
    indexes = [database.instances, other_database.instances] * 10
    results = await asyncio.gather(*(index.add([one], NOON) for index, one in zip(indexes, new, strict=True)))
    outcomes = [outcome for (outcome,) in results]
    (winner,) = [one for one, outcome in zip(new, outcomes, strict=True) if isinstance(outcome, Added)]
    (stored,) = await database.instances.find(identity().address)
    assert stored.locator == winner.locator
    assert [outcome.existing for outcome in outcomes if isinstance(outcome, AlreadyStored)] == [stored] * 19


async def test_instances_may_be_chosen_when_the_transaction_begins(database: Database) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> list[NewInstance]:
        entered.set()
        leave.wait(20)
        return [sample(1, 1, 1)]

    waiting = [sample(1, 1, 2)]
    other = asyncio.ensure_future(database.instances.add(hold, NOON))
    await asyncio.to_thread(entered.wait, 20)
    ours = asyncio.ensure_future(database.instances.add(lambda: waiting, NOON))
    assert await asyncio.wait([ours], timeout=0.1) == (set(), {ours})
    waiting.append(sample(1, 1, 3))
    leave.set()
    assert len(await other) == 1
    assert [isinstance(outcome, Added) for outcome in await ours] == [True, True]
    assert len(await database.instances.find(study_ref())) == 3


async def test_counts_are_correct_after_concurrent_adds_to_one_study(
    database: Database, other_database: Database
) -> None:
    indexes = (database.instances, other_database.instances)
    await asyncio.gather(*(indexes[n % 2].add([sample(1, n % 3, n), sample(1, n % 3, 99)], NOON) for n in range(30)))
    newest = max(stored.version for stored in await database.instances.find(study_ref()))
    assert await database.instances.state(study_ref()) == ResourceState(max_version=newest, instance_count=33)
    assert await database.instances.state(series_ref(1, 1)) is not None
    (match,) = await database.instances.search(Query(Level.STUDY, EVERYTHING, (), limit=9, counts=True))
    assert (match.series_count, match.instance_count) == (3, 33)


async def test_concurrent_adds_and_deletes_leave_a_consistent_index(
    database: Database, other_database: Database
) -> None:
    async def add() -> None:
        for n in range(25):
            await database.instances.add([sample(1, n % 2, n)], NOON)

    async def delete() -> None:
        for n in range(25):
            await other_database.instances.delete(identity(1, n % 2, n).address if n % 5 else study_ref(), NOON, NOON)

    await asyncio.gather(add(), delete())
    found = await database.instances.find(study_ref())
    state = await database.instances.state(study_ref())
    assert (state.instance_count if state else 0) == len(found)
    assert (state.max_version if state else None) == (found[-1].version if found else None)
    entries = await SequencedChanges(database.changes).list(ChangeWindow(limit=100))
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    balance = Counter[object]()
    for entry in entries:
        balance[entry.instance] += 1 if entry.action == 1 else -1
    assert {instance for instance, count in balance.items() if count} == {stored.id for stored in found}


async def test_no_change_entry_appears_below_one_already_visible(database: Database, other_database: Database) -> None:
    indexes = (database.instances, other_database.instances)
    done = asyncio.Event()

    async def write() -> None:
        await asyncio.gather(
            *(indexes[n % 2].add([sample(n, 1, m) for m in range(n % 4 + 1)], NOON) for n in range(40))
        )
        done.set()

    async def follow(changes: SequencedChanges) -> list[int]:
        seen: list[int] = []
        while True:
            ended = done.is_set()
            page = await changes.list(ChangeWindow(limit=7, after_sequence=seen[-1] if seen else 0))
            seen += [entry.sequence for entry in page]
            if ended and not page:
                return seen

    seen, others, _ = await asyncio.gather(
        follow(SequencedChanges(database.changes)), follow(SequencedChanges(other_database.changes)), write()
    )
    assert seen == others == list(range(1, 101))
    times = [entry.time for entry in await SequencedChanges(database.changes).list(ChangeWindow(limit=1000))]
    assert times == sorted(times)


async def test_the_entries_of_a_transaction_become_visible_together(
    database: Database, other_database: Database
) -> None:
    adding = asyncio.ensure_future(database.instances.add([sample(1, 1, n) for n in range(200)], NOON))
    seen = set()
    while not adding.done():
        seen.add(len(await SequencedChanges(other_database.changes).list(ChangeWindow(limit=1000))))
    await adding
    assert seen <= {0, 200}


async def test_acknowledged_changes_are_visible_to_every_later_call(
    database: Database, other_database: Database
) -> None:
    for n in range(1, 11):
        await database.instances.add([sample(1, 1, n)], NOON)
        state = await other_database.instances.state(study_ref())
        assert state == ResourceState(max_version=n, instance_count=n)


async def test_each_read_uses_one_snapshot(database: Database, other_database: Database) -> None:
    """A search runs several statements, which must see the same snapshot."""

    async def change() -> None:
        for _ in range(15):
            await other_database.instances.add([sample(n, dicom_json=b"{}") for n in range(10)], NOON)
            for n in range(10):
                await other_database.instances.delete(study_ref(n), NOON, NOON)

    changing = asyncio.ensure_future(change())
    reads = 0
    while not changing.done():
        query = Query(Level.INSTANCE, EVERYTHING, (), limit=20, metadata=True)
        for match in await database.instances.search(query):
            assert match.metadata == b"{}"
        for entry in await SequencedChanges(database.changes).list(ChangeWindow(limit=1000, metadata=True)):
            assert (entry.dicom_json is None) == (entry.state is ChangeState.DELETED)
        reads += 1
    await changing
    assert reads > 1


async def test_known_waits_for_a_transaction_with_unknown_outcome(database: Database, url: str) -> None:
    """Otherwise a blob could be erased as unused just before the instance that refers to it becomes visible."""
    engine = create_engine(url)
    with engine.connect() as lost:
        if engine.dialect.name == "postgresql":
            lost.execute(text(f"SELECT pg_advisory_xact_lock_shared({WRITERS_LOCK})"))
        lost.execute(insert(erasures), {"locator": "in doubt", "version": 1, "erase_after": 0})
        asking = asyncio.ensure_future(database.instances.known(["in doubt"]))
        for _ in range(20):
            await database.partitions.list()
        assert not asking.done()
        lost.commit()
    engine.dispose()
    assert await asking == {"in doubt"}


async def test_exactly_one_of_many_concurrent_creations_of_a_partition_succeeds(
    database: Database, other_database: Database
) -> None:
    name = PartitionName("ward")
    both = (database.partitions, other_database.partitions)
    created = await asyncio.gather(*(both[n % 2].create(name, NOON) for n in range(10)))
    assert [partition for partition in created if partition] == [await database.partitions.get(name)]


async def test_readers_do_not_wait_for_a_writer(database: Database, other_database: Database) -> None:
    await database.instances.add([sample()], NOON)
    condition = Condition("StudyInstanceUID", (Equals((identity().study,)),))
    adding = asyncio.ensure_future(other_database.instances.add([sample(2, 1, n) for n in range(3000)], NOON))
    reads = 0
    while not adding.done():
        assert await database.instances.search(Query(Level.STUDY, EVERYTHING, (condition,), limit=1))
        reads += 1
    await adding
    assert reads > 1


async def test_a_cancelled_caller_leaves_the_index_usable(index: InstanceIndex) -> None:
    adding = [asyncio.ensure_future(index.add([sample(n)], NOON)) for n in range(10)]
    await asyncio.sleep(0)
    for task in adding[3:]:
        task.cancel()
    results = await asyncio.gather(*adding, return_exceptions=True)
    assert all(isinstance(result, list) for result in results[:3])
    assert await index.add([sample(99)], NOON)
    assert len(await index.find(study_ref(99))) == 1


async def test_close_waits_for_running_calls(url: str) -> None:
    database = open_database(url)
    adding = asyncio.ensure_future(database.instances.add([sample(1, 1, n) for n in range(100)], NOON))
    await asyncio.sleep(0)
    await database.close()
    assert len(await adding) == 100


DIES = """
import asyncio, os, sys
from server.adapters.sql.engine import open_database
from tests.contract.index.samples import NOON, sample

async def main():
    database = open_database(sys.argv[1])
    for n in range(1, 1000):
        await database.instances.add([sample(1, 1, 10 * n + m) for m in range(3)], NOON)
        os.write(1, b"%d\\n" % n)

asyncio.run(main())
"""


def test_acknowledged_changes_survive_the_death_of_the_process(url: str) -> None:
    with subprocess.Popen([sys.executable, "-c", DIES, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(20)]
        process.kill()
        lines += process.stdout.readlines()
    acknowledged = int(lines[-1])

    async def presentation() -> None:
        database = open_database(url)
        state = await database.instances.state(study_ref())
        entries = await SequencedChanges(database.changes).list(ChangeWindow(limit=10_000))
        await database.instances.add([sample(2)], NOON)
        await database.close()
        assert state is not None
        assert state.instance_count in (3 * acknowledged, 3 * (acknowledged + 1))  # the last output line may be lost
        assert len(entries) == state.instance_count

    asyncio.run(presentation())
