"""The audit trail after SIGKILL between any two steps of a store and a delete: nothing acknowledged is missing."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.bootstrap.archive_components import ArchiveComponents
from server.bootstrap.auditing import emptied, recording
from server.config import Settings
from server.domain.audit.recorder import AuditRecorder, Source
from server.domain.limits import MAX_MESSAGE_BYTES
from server.domain.store.receive import Stored
from server.domain.store.upload import Upload, UploadHeader, UploadMessage, UploadPiece
from server.model.call import EVERYBODY, Call
from server.model.ids import NO_PARTITION, Address, parse_address
from server.model.instance import ValidationMode
from server.opening import prepare
from tests.audit import audit_records, recorded_instances
from tests.core import settings_for
from tests.data import part10
from tests.integration.archive_process import Event, in_a_process

STEPS = ("pwrite", "pwritev", "write", "fsync", "fdatasync", "ftruncate", "rename", "replace", "link", "unlink")
INSTANCES = 2


def work(events: Connection, data: Path, database: str, run: int, kill_at: int) -> None:
    """Store instances and delete the first one; be killed before a step of the disk, unless `kill_at` is 0."""
    count = 0

    def counted(step: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    asyncio.run(_store_and_delete(events, settings_for(data, database=database), run))
    events.send(("steps", count))


async def _store_and_delete(events: Connection, settings: Settings, run: int) -> None:
    prepared = prepare(settings)
    async with AsyncExitStack() as stack:
        storage = prepared.storage
        stack.callback(storage.close)
        recorder = await stack.enter_async_context(recording(settings, storage, uses_outbox=True))
        assert recorder is not None
        assert recorder.outbox is not None
        database = engine.open_database(
            settings.database_url,
            progress=Progress(prepared.mark, storage.marks.record, prepared.read_only.restrict, storage.journal),
        )
        stack.push_async_callback(database.close)
        await stack.enter_async_context(emptied(recorder.outbox, database.outbox))
        blobs = await stack.enter_async_context(storage.blobs())
        components = ArchiveComponents(
            settings=settings, database=database, storage=storage, blobs=blobs, recorder=recorder
        )
        await components.clock.start()
        await components.housekeeping.recover()
        events.send(("visible", [one.id.instance for one in await database.instances.locators(0, 1000)]))
        call, record = _call(recorder, "StoreService/StoreInstances", "write")
        upload = Upload(call, components.store, components.ingest_budget, MAX_MESSAGE_BYTES)
        async for results in upload.run(_messages(run)):
            for one in results:
                assert isinstance(one.result, Stored), one.result
                events.send(("stored", one.result.id.instance))
        await record.complete(call, "OK", "")
        call, record = _call(recorder, "DeleteService/DeleteInstances", "delete")
        first = parse_address("", "1.2", "1.2.1", f"1.2.1.{run}.0")
        assert await components.delete.delete(call, first) == 1
        await record.complete(call, "OK", "")
        events.send(("deleted", first.instance))


def _call(recorder: AuditRecorder, rpc: str, action: str) -> tuple[Call, Any]:
    record = recorder.call(rpc, action, Source("inproc"))
    return Call("r1", EVERYBODY, None, record), record


async def _messages(run: int) -> AsyncIterator[UploadMessage]:
    yield UploadMessage(UploadHeader(Address(NO_PARTITION), False, ValidationMode.LENIENT, None, ""), ())
    for item in range(INSTANCES):
        # The first one becomes a blob in a segment, the second one in a file.
        pixels = bytes(1_200_000 if item else 100)
        body = part10(
            StudyInstanceUID="1.2",
            SeriesInstanceUID="1.2.1",
            SOPInstanceUID=f"1.2.1.{run}.{item}",
            frames=[pixels],
            Rows=len(pixels) // 100,
            Columns=100,
        )
        yield UploadMessage(None, [UploadPiece(item + 1, body, True, False, None, None)])


@pytest.mark.parametrize(
    ("database", "stride"), [("sqlite", 3), pytest.param("postgres", 7, marks=pytest.mark.postgres)]
)
def test_after_a_kill_between_any_two_steps_nothing_acknowledged_is_missing(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, stride: int
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else ""
    complete = dict(in_a_process(work, tmp_path, url, 0, 0))
    assert complete["steps"] > 20
    events: list[Event] = []
    # Each of the last steps, because the trail is written there after the transactions.
    kills = sorted({*range(1, complete["steps"] + stride, stride), *range(complete["steps"] - 8, complete["steps"])})
    for run, kill_at in enumerate(kills, 1):
        events += in_a_process(work, tmp_path, url, run, kill_at)
        assert FileAuditTrail(tmp_path).verify().is_intact
    events += in_a_process(work, tmp_path, url, len(kills) + 1, 0)
    recorded = [one[2] for one in recorded_instances(tmp_path)]
    outcomes = set(recorded)
    assert len(outcomes) == len(recorded)  # each once
    deletions = audit_records(tmp_path, subtype="delete")
    assert {(record["kind"], record["code"], record["items"]) for record in deletions} == {("executed", "OK", 1)}
    deleted = {record["instance"] for record in deletions}
    assert len(deleted) == len(deletions)  # each once
    assert any("written" in record for record in deletions)  # a kill after the transaction
    acknowledged = {kind: {uid for name, uid in events if name == kind} for kind in ("stored", "deleted")}
    assert acknowledged["stored"] <= outcomes
    assert acknowledged["deleted"] <= deleted
    assert len(acknowledged["stored"]) > len(acknowledged["deleted"]) > 0
    seen = [set(uids) for name, uids in events if name == "visible"]
    assert {uid for uids in seen for uid in uids} <= outcomes  # also those that were not acknowledged
    for before, after in pairwise(seen):
        assert before - after <= deleted  # also those that were not acknowledged
    assert not deleted & seen[-1]
    verified = FileAuditTrail(tmp_path).verify()
    assert verified.is_intact
