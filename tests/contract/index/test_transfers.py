"""The record of transfers (server/ports/lifecycle/transfers.py)."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from server.adapters.sql.engine import Database
from server.model.ids import DEFAULT_PARTITION, PartitionName
from server.model.lifecycle.transfer import (
    Notification,
    Pull,
    RetrieveMethod,
    Send,
    Transfer,
    TransferOutcome,
    TransferProgress,
    TransferState,
    TransferWork,
)
from tests.contract.index.samples import NOON, identity, study_ref

MINUTE = timedelta(minutes=1)
SEND = Send((study_ref(1), identity(2, 1, 1).address))


def transfer(number: int = 1, work: TransferWork = SEND, remote: str = "PACS", **fields: object) -> Transfer:
    made = Transfer(f"{number:032x}", DEFAULT_PARTITION, remote, work, "alice", NOON, NOON, NOON, rule="ct")
    return replace(made, **fields)  # type: ignore[arg-type]


async def add(database: Database, *transfers: Transfer) -> None:
    for one in transfers:
        assert await database.transfers.add(one, "", 100, NOON) == one


@pytest.mark.parametrize(
    "work",
    [
        SEND,
        Pull((), {"PatientID": "1*", "StudyDate": ""}, RetrieveMethod.GET),
        Pull((study_ref(1),), {}),
        Notification(study_ref(1)),
    ],
)
async def test_a_transfer_is_read_as_it_was_recorded(database: Database, work: TransferWork) -> None:
    await add(database, transfer(work=work))
    assert await database.transfers.find(transfer().id) == transfer(work=work)
    changed = transfer(
        work=work,
        state=TransferState.RUNNING,
        attempts=2,
        lease="lease",
        cursor="1/5",
        progress=TransferProgress(4, 3, 2, 1),
        problem="STATUS_A700",
        due=NOON + MINUTE,
    )
    assert await database.transfers.change(changed.id, lambda _: changed) == changed
    assert await database.transfers.find(changed.id) == changed
    assert await database.transfers.change(changed.id, lambda _: None) == changed
    assert await database.transfers.change("f" * 32, lambda _: changed) is None
    assert await database.transfers.find("f" * 32) is None


async def test_a_repeated_request_returns_the_transfer_of_the_first(
    database: Database, other_database: Database
) -> None:
    added = await asyncio.gather(
        *(
            each.transfers.add(transfer(number), "request", 1, NOON)
            for number, each in enumerate((database, other_database) * 3)
        )
    )
    assert len({one.id for one in added if one}) == 1
    assert None not in added


async def test_the_number_of_unfinished_transfers_is_limited_and_old_finished_ones_are_removed(
    database: Database,
) -> None:
    await add(database, transfer(1), transfer(2))
    assert await database.transfers.add(transfer(3), "", 2, NOON) is None
    await database.transfers.change(transfer(1).id, lambda one: one.canceled(NOON))
    assert await database.transfers.add(transfer(3), "", 2, NOON) == transfer(3)
    assert await database.transfers.find(transfer(1).id) is not None
    await database.transfers.add(transfer(4), "", 9, NOON + MINUTE)
    assert await database.transfers.find(transfer(1).id) is None
    assert await database.transfers.find(transfer(2).id) is not None


async def test_lists_are_newest_first_and_can_be_filtered(database: Database) -> None:
    ward = PartitionName("ward")
    await add(database, transfer(1), transfer(2, partition=ward), transfer(3, remote="OTHER"))

    async def listed(**fields: object) -> list[int]:
        options = {"partitions": None, "states": (), "remote": "", "before": None, "limit": 9} | fields
        found = await database.transfers.list(**options)  # type: ignore[arg-type]
        return [int(one.id, 16) for _, one in found]

    assert await listed() == [3, 2, 1]
    assert await listed(limit=2) == [3, 2]
    assert await listed(partitions=[ward]) == [2]
    assert await listed(partitions=[]) == []
    assert await listed(remote="OTHER") == [3]
    assert await listed(states=[TransferState.FAILED]) == []
    [*_, (key, _)] = await database.transfers.list(partitions=None, states=(), remote="", before=None, limit=2)
    assert await listed(before=key) == [1]


async def test_one_of_two_gateways_gets_a_transfer(database: Database, other_database: Database) -> None:
    due = [transfer(number) for number in range(6)]
    await add(database, *due, transfer(9, due=NOON + MINUTE))

    async def claim(each: Database, gateway: str) -> list[Transfer]:
        claimed: list[Transfer] = []
        while more := await each.transfers.claim(NOON, 2, lambda one: one.claimed(gateway, NOON, MINUTE, 3)):
            claimed += more
        return claimed

    first, second = await asyncio.gather(claim(database, "a"), claim(other_database, "b"))
    assert sorted(one.id for one in (*first, *second)) == [one.id for one in due]
    assert {one.lease for one in first} <= {"a"}
    assert {one.lease for one in second} <= {"b"}
    later = NOON + 2 * MINUTE
    again = await database.transfers.claim(later, 9, lambda one: one.claimed("c", later, MINUTE, 3))
    assert {(one.attempts, one.lease) for one in again} == {(2, "c"), (1, "c")}


def test_the_pauses_between_attempts_double_and_the_last_failure_is_final() -> None:
    now, failed = NOON, transfer()
    pauses = []
    for _ in range(9):
        failed = failed.claimed("lease", now, MINUTE, 9).attempted(TransferOutcome("REFUSED"), now, 9)
        if failed.due:
            pauses.append((failed.due - now).total_seconds())
    assert pauses == [30, 60, 120, 240, 480, 960, 1920, 3600]
    assert (failed.state, failed.problem, failed.lease) == (TransferState.FAILED, "REFUSED", "")
    assert failed.retried(now).attempts == 0


def test_progress_starts_the_attempts_anew() -> None:
    running = transfer(attempts=5, state=TransferState.RUNNING, lease="lease")
    assert running.renewed(NOON, MINUTE, TransferProgress(9, 1), None).attempts == 5
    assert running.renewed(NOON, MINUTE, None, "1").attempts == 1


def test_a_transfer_whose_gateways_are_lost_again_and_again_fails() -> None:
    lost = transfer().claimed("a", NOON, MINUTE, 2).claimed("b", NOON, MINUTE, 2).claimed("c", NOON, MINUTE, 2)
    assert (lost.state, lost.problem, lost.due) == (TransferState.FAILED, "GATEWAY_LOST", None)
