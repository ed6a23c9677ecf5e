"""The outbox: audit records that are durable with the transaction that stores or deletes instances, each once in the
trail."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.adapters.sql.engine import Database, migrate, open_database
from server.domain.access import Access
from server.domain.audit.outbox import Outbox
from server.domain.audit.recorder import AuditRecorder, RecordedCall, Source
from server.domain.lifecycle.delete import Delete
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.model.access import Action
from server.model.audit.call_audit import CallAudit, StoredItem
from server.model.audit.trail import AuditTrailSettings
from server.model.call import EVERYBODY, Call
from server.model.errors import Exhausted, Reason, WrongState
from server.model.ids import DEFAULT_PARTITION, Address
from server.model.lifecycle.hold import Hold
from server.ports.outbox import ROWS_PER_PROCESS, OutboxChanges, OutboxRow
from tests.audit import audit_records, until
from tests.contract.index.samples import NOON, sample, study_ref

ROW = OutboxRow(1, 1_700_000_000_000_000, b'{"kind":"outcome","outbox":"1"}')


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path}/index.db"
    await asyncio.to_thread(migrate, url)
    database = open_database(url)
    yield database
    await database.close()


@asynccontextmanager
async def outbox_of(root: Path) -> AsyncIterator[tuple[Outbox, AuditRecorder]]:
    trail = FileAuditTrail(root)
    async with trail.open(AuditTrailSettings(root / "key.pem")) as log:
        with trail.process() as process:
            outbox = Outbox(log, trail, process)
            yield outbox, AuditRecorder(log, outbox=outbox)


def upload(recorder: AuditRecorder) -> RecordedCall:
    audit = recorder.call("StoreService/StoreInstances", "write", Source("inproc"))
    call = Call("r1", EVERYBODY, None, audit)
    audit.accesses(call, Address(DEFAULT_PARTITION))
    audit.begin(call, Action.WRITE, uses_outbox=True)
    return audit


async def store(database: Database, outbox: Outbox, audit: CallAudit, number: int) -> OutboxChanges:
    made: list[OutboxChanges] = []

    def records_of(_: object) -> OutboxChanges:
        made[:] = [outbox.changes([(audit, item(number))])]
        return made[0]

    await database.instances.add([sample(1, 1, number)], NOON, records_of)
    return made[0]


def deletion(recorder: AuditRecorder) -> tuple[Call, RecordedCall]:
    audit = recorder.call("DeleteService/DeleteInstances", "delete", Source("inproc"))
    return Call("r1", EVERYBODY, None, audit), audit


def delete_with(database: Database, outbox: Outbox, on_transaction: Callable[[], None] = lambda: None) -> Delete:
    def now() -> datetime:
        on_transaction()
        return NOON

    names = PartitionNames(database.partitions, enabled=True, now=lambda: NOON)
    return Delete(
        index=database.instances,
        access=Access(names, ReadOnlyState()),
        now=now,
        deadline_now=lambda: NOON,
        retention=timedelta(0),
        on_change=lambda: None,
        on_erasable=lambda: None,
        outbox=outbox,
    )


def item(number: int) -> StoredItem:
    return StoredItem("1", "1.1", f"1.1.{number}", "1.2", "stored", 100)


def recorded(root: Path) -> list[str]:
    return [one[2] for record in audit_records(root, kind="outcome") for one in record.get("instances", [])]


async def numbers(database: Database) -> list[int]:
    return [row.key % ROWS_PER_PROCESS for row in await database.outbox.page(0, 100)]


async def test_a_record_is_in_the_index_until_the_trail_has_it(tmp_path: Path, database: Database) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        audit = upload(recorder)
        outbox.committed(await store(database, outbox, audit, 1))
        assert await numbers(database) == [1]
        async with recorder.work("test", "another-record"):  # later than the one of the upload
            assert recorded(tmp_path) == ["1.1.1"]
        outbox.committed(await store(database, outbox, audit, 2))  # its transaction removes the first one
        assert await numbers(database) == [2]
        assert await outbox.recover(database.outbox) == 0  # this process runs
        await outbox.close(database.outbox)
        assert await numbers(database) == []
    assert recorded(tmp_path) == ["1.1.1", "1.1.2"]


async def test_the_records_of_an_ended_process_are_recovered_once(tmp_path: Path, database: Database) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        audit = upload(recorder)
        for number in (1, 2):
            changes = await store(database, outbox, audit, number)
            if number == 1:
                outbox.committed(changes)  # of the second one only the transaction has happened
    for expected in (1, 0):
        rows = await database.outbox.page(0, 100)
        async with outbox_of(tmp_path) as (outbox, _):
            assert await outbox.recover(database.outbox) == expected
        assert await numbers(database) == []
        # as if the process had been killed before it removed them, or a backup of the index were restored
        await database.instances.add([sample(2, 1, expected)], NOON, partial(_again, rows))
    assert recorded(tmp_path) == ["1.1.1", "1.1.2"]
    assert [("written" in record) for record in audit_records(tmp_path, kind="outcome")] == [False, True]
    assert FileAuditTrail(tmp_path).verify().is_intact


async def test_the_records_of_one_transaction_are_one_row_and_each_is_recovered_once(
    tmp_path: Path, database: Database
) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        changes = outbox.changes([(upload(recorder), item(number)) for number in (1, 2, 3)])
        await database.instances.add([sample(1, 1, 1)], NOON, lambda _: changes)
        assert await numbers(database) == [1]
        _, record = changes.records[1]
        await recorder.log.append_durably(record.encode())  # the process is killed before it appends the others
    async with outbox_of(tmp_path) as (outbox, _):
        assert await outbox.recover(database.outbox) == 2
    assert await numbers(database) == []
    assert recorded(tmp_path) == ["1.1.2", "1.1.1", "1.1.3"]
    assert len({record["outbox"] for record in audit_records(tmp_path, kind="outcome")}) == 3


async def test_a_row_stays_in_the_index_until_all_of_its_records_are_in_the_trail(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        changes = outbox.changes([(upload(recorder), item(number)) for number in (1, 2)])
        await database.instances.add([sample(1, 1, 1)], NOON, lambda _: changes)
        (first, _), _ = changes.records
        outbox.committed(changes)
        await first.stored(Call("r1", EVERYBODY), [item(1)])
        await first.complete(Call("r1", EVERYBODY), "CANCELLED", "")  # is encoded before the other one
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", _no_space)
            await outbox.close(database.outbox)
            assert await numbers(database) == [1]
        assert await outbox.recover(database.outbox) == 2
        await outbox.close(database.outbox)
        assert await numbers(database) == []
    assert sorted(recorded(tmp_path)) == ["1.1.1", "1.1.2"]


async def test_a_row_of_an_earlier_version_is_recovered(tmp_path: Path, database: Database) -> None:
    row = OutboxRow(ROWS_PER_PROCESS + 7, 1_700_000_000_000_000, b'{"kind":"outcome","outbox":"4294967303"}')
    await database.instances.add([sample(1, 1, 1)], NOON, partial(_again, [row]))
    async with outbox_of(tmp_path) as (outbox, _):
        assert await outbox.recover(database.outbox) == 1
        assert await outbox.recover(database.outbox) == 0
    [found] = audit_records(tmp_path, kind="outcome")
    assert (found["outbox"], found["written"]) == ("4294967303", "2023-11-14T22:13:20.000000Z")


def _again(rows: Sequence[OutboxRow], _: object) -> OutboxChanges:
    return OutboxChanges(rows, ())


async def test_an_upload_with_one_transaction_has_one_record(tmp_path: Path, database: Database) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        audit = upload(recorder)
        call = Call("r1", EVERYBODY, None, audit)
        outbox.committed(await store(database, outbox, audit, 1))
        await audit.stored(call, [item(1)])
        await audit.complete(call, "OK", "")
        await outbox.close(database.outbox)
        assert await numbers(database) == []
    [found] = audit_records(tmp_path, subtype="store")
    assert (found["kind"], found["code"], found["items"], found["failed"]) == ("executed", "OK", 1, 0)
    assert found["instances"] == [["1", "1.1", "1.1.1", "1.2", "stored", 100]]
    assert found["outbox"]


@pytest.mark.parametrize("end", ["failed", "another instance", "another transaction", "written"])
async def test_an_outcome_is_a_record_of_its_own_unless_it_says_all_of_its_upload(
    tmp_path: Path, database: Database, end: str
) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        audit = upload(recorder)
        call = Call("r1", EVERYBODY, None, audit)
        outbox.committed(await store(database, outbox, audit, 1))
        if end == "written":
            await recorder.log.append_durably(b'{"kind":"event"}')
        if end == "another transaction":
            outbox.committed(await store(database, outbox, audit, 2))
        refused = [item(3)._replace(outcome="INVALID_INSTANCE")] if end == "another instance" else []
        await audit.stored(call, [item(1), *refused])
        await audit.complete(call, "CANCELLED" if end == "failed" else "OK", "")
        await outbox.close(database.outbox)
        assert await numbers(database) == []
    found = audit_records(tmp_path, subtype="store")
    outcomes = 2 if end.startswith("another") else 1
    assert [record["kind"] for record in found] == ["outcome"] * outcomes + ["executed"]
    assert "instances" not in found[-1]


async def test_on_a_full_disk_the_end_of_an_upload_is_counted_and_its_outcome_stays_in_the_index(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        audit = upload(recorder)
        call = Call("r1", EVERYBODY, None, audit)
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", _no_space)
            outbox.committed(await store(database, outbox, audit, 1))
            await audit.stored(call, [item(1)])
            await audit.complete(call, "OK", "")
            await outbox.close(database.outbox)
            with pytest.raises(Exhausted):
                await recorder.begin_work("test", "another-record")
            assert await numbers(database) == [1]
        assert await outbox.recover(database.outbox) == 1
    [lost] = audit_records(tmp_path, kind="lost")
    assert lost["records"] == 1
    [found] = audit_records(tmp_path, subtype="store")
    assert (found["kind"], found["instances"][0][2]) == ("outcome", "1.1.1")


async def test_the_records_of_another_running_process_are_not_recovered(tmp_path: Path, database: Database) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder), outbox_of(tmp_path) as (other, _):
        await store(database, outbox, upload(recorder), 1)
        assert await other.recover(database.outbox) == 0
        assert await numbers(database) == [1]
    async with outbox_of(tmp_path) as (other, _):
        assert await other.recover(database.outbox) == 1


async def test_a_deletion_has_one_record_which_is_durable_with_its_transaction(
    tmp_path: Path, database: Database
) -> None:
    await database.instances.add([sample(1, 1, 1), sample(1, 1, 2)], NOON)
    async with outbox_of(tmp_path) as (outbox, recorder):
        delete = delete_with(database, outbox)
        call, audit = deletion(recorder)
        assert await delete.delete(call, study_ref(1), reason="duplicate") == 2
        assert await numbers(database) == [1]
        assert not audit_records(tmp_path, subtype="delete")
        await audit.complete(call, "OK", "")
        call, audit = deletion(recorder)
        assert await delete.delete(call, study_ref(1)) == 0  # nothing is left, so its record is that of a read
        assert await numbers(database) == [1]
        await audit.complete(call, "OK", "")
        await outbox.close(database.outbox)
        assert await numbers(database) == []
    found = audit_records(tmp_path, subtype="delete")
    assert [(one["kind"], one["code"], one["items"], one.get("reason")) for one in found] == [
        ("executed", "OK", 2, "duplicate"),
        ("executed", "OK", 0, None),
    ]
    assert ["outbox" in one for one in found] == [True, False]


async def test_a_refused_deletion_has_no_record_in_the_index(tmp_path: Path, database: Database) -> None:
    await database.instances.add([sample(1, 1, 1)], NOON)
    await database.holds.set(Hold(study_ref(1), "", "complaint", "someone", NOON))
    async with outbox_of(tmp_path) as (outbox, recorder):
        call, audit = deletion(recorder)
        with pytest.raises(WrongState):
            await delete_with(database, outbox).delete(call, study_ref(1))
        assert await numbers(database) == []
        await audit.complete(call, "FAILED_PRECONDITION", "ON_HOLD")
    [found] = audit_records(tmp_path, subtype="delete")
    assert (found["kind"], found["code"], found["items"]) == ("executed", "FAILED_PRECONDITION", 0)


async def test_a_deletion_that_its_client_cancels_is_recorded_if_it_happens(tmp_path: Path, database: Database) -> None:
    await database.instances.add([sample(1, 1, 1)], NOON)
    async with outbox_of(tmp_path) as (outbox, recorder):
        call, audit = deletion(recorder)
        begun = asyncio.Event()
        running = asyncio.create_task(delete_with(database, outbox, begun.set).delete(call, study_ref(1)))
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await audit.complete(call, "CANCELLED", "", is_cancelled=True)
        await until(lambda: len(audit_records(tmp_path, subtype="delete", code="OK")) == 1)
        assert await database.instances.state(study_ref(1)) is None
        await outbox.close(database.outbox)
        assert await numbers(database) == []


async def test_while_the_trail_cannot_be_written_a_deletion_is_recorded_before_its_effect(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.instances.add([sample(1, 1, 1)], NOON)
    async with outbox_of(tmp_path) as (outbox, recorder):
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", _no_space)
            with pytest.raises(Exhausted):
                await recorder.begin_work("test", "another-record")
            delete = delete_with(database, outbox)
            call, _ = deletion(recorder)
            with pytest.raises(Exhausted):
                await delete.delete(call, study_ref(1))
        assert await database.instances.state(study_ref(1)) is not None
        call, audit = deletion(recorder)
        assert await delete.delete(call, study_ref(1)) == 1
        assert await numbers(database) == []
        await audit.complete(call, "OK", "")
        found = audit_records(tmp_path, subtype="delete")
        assert [one["kind"] for one in found] == ["executing", "executed"]


async def test_on_a_full_disk_a_record_stays_in_the_index_and_no_further_instance_becomes_visible(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        audit = upload(recorder)
        long = upload(recorder)
        long.note_long()
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", _no_space)
            outbox.committed(await store(database, outbox, audit, 1))
            await outbox.close(database.outbox)
            assert await numbers(database) == [1]
            for one in (upload(recorder), long):
                with pytest.raises(Exhausted) as refused:
                    await one.begun()
                assert refused.value.reason is Reason.STORAGE_FULL
        assert await outbox.recover(database.outbox) == 1
        for one in (upload(recorder), long):
            await one.begun()
        assert await numbers(database) == []
    assert recorded(tmp_path) == ["1.1.1"]


def _no_space(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "full")


async def test_a_transaction_that_fails_leaves_no_record(tmp_path: Path, database: Database) -> None:
    def records_of(_: object) -> OutboxChanges:
        return OutboxChanges([ROW, ROW], ())  # twice the same key

    with pytest.raises(Exception, match="UNIQUE"):
        await database.instances.add([sample()], NOON, records_of)
    assert await numbers(database) == []


async def test_a_transaction_with_an_unknown_outcome_is_decided_by_the_index(
    tmp_path: Path, database: Database
) -> None:
    async with outbox_of(tmp_path) as (outbox, recorder):
        audit = upload(recorder)
        changes = await store(database, outbox, audit, 1)
        outbox.failed(changes, may_have_happened=True)  # the answer was lost
        never = outbox.changes([(audit, item(2))])
        outbox.failed(never, may_have_happened=True)
        outbox.committed(await store(database, outbox, audit, 3))
        await until(lambda: recorded(tmp_path) == ["1.1.3"])
        assert await outbox.recover(database.outbox) == 1
        await outbox.close(database.outbox)
        assert await numbers(database) == []
    assert sorted(recorded(tmp_path)) == ["1.1.1", "1.1.3"]
