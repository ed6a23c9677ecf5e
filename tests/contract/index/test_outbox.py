"""The outbox of the audit trail: rows change in the transaction that stores or deletes instances."""

from server.adapters.sql.engine import Database
from server.ports.outbox import MAX_PROCESS, ROWS_PER_PROCESS, KeyRange, OutboxChanges, OutboxRow
from tests.contract.index.samples import NOON, sample, study_ref


def key(process: int, number: int) -> int:
    return process * ROWS_PER_PROCESS + number


async def test_rows_are_added_and_removed_with_instances(database: Database) -> None:
    rows = [OutboxRow(key(process, number), number, b"{}") for process in (7, MAX_PROCESS) for number in (1, 2, 3)]
    await database.instances.add([sample()], NOON, lambda _: OutboxChanges(rows, ()))
    assert await database.outbox.page(0, 4) == rows[:4]
    assert await database.outbox.page(rows[3].key, 4) == rows[4:]
    removed = [KeyRange(key(7, 2), key(7, 3)), KeyRange(key(MAX_PROCESS, 1), key(MAX_PROCESS, 1))]
    await database.instances.add([sample(2)], NOON, lambda _: OutboxChanges((), removed))
    left = [rows[0], rows[4], rows[5]]
    assert await database.outbox.page(0, 9) == left
    await database.instances.add([sample()], NOON, lambda _: OutboxChanges(rows, ()))  # it was stored before
    assert await database.outbox.page(0, 9) == left
    await database.outbox.remove([KeyRange(key(MAX_PROCESS, 1), key(MAX_PROCESS, 9))])
    assert await database.outbox.page(0, 9) == rows[:1]


async def test_rows_are_added_and_removed_with_a_deletion(database: Database) -> None:
    rows = [OutboxRow(key(7, number), number, b"{}") for number in (1, 2, 3)]
    await database.instances.add([sample()], NOON, lambda _: OutboxChanges(rows[:1], ()))
    counts: list[int] = []

    def record_of(count: int) -> OutboxChanges:
        counts.append(count)
        return OutboxChanges(rows[1:], [KeyRange(rows[0].key, rows[0].key)])

    assert await database.instances.delete(study_ref(1), NOON, NOON, record_of=record_of) == 1
    assert await database.instances.delete(study_ref(1), NOON, NOON, record_of=record_of) == 0  # it was deleted before
    assert await database.outbox.page(0, 9) == rows[1:]
    assert counts == [1]
