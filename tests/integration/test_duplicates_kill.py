"""Concurrent writers of different instances with the same UIDs, with SIGKILL between any two steps of the disk."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.bootstrap.archive_components import ArchiveComponents
from server.config import Settings
from server.domain.limits import MAX_MESSAGE_BYTES
from server.domain.store.receive import Stored
from server.domain.store.upload import Upload, UploadHeader, UploadMessage, UploadPiece
from server.model.call import EVERYBODY, Call
from server.model.ids import DEFAULT_PARTITION, NO_PARTITION, Address, InstanceId, Uid
from server.model.instance import ValidationMode
from server.model.partition import DuplicatePolicy
from server.opening import prepare
from tests.core import settings_for
from tests.data import part10
from tests.integration.archive_process import Event, in_a_process
from tests.integration.test_audit_kill import STEPS

WRITERS = 6
STUDIES = {DuplicatePolicy.REJECT: "1.2.1", DuplicatePolicy.NEW_VERSION: "1.2.2"}


def instance_of(policy: DuplicatePolicy) -> InstanceId:
    study = STUDIES[policy]
    return InstanceId(DEFAULT_PARTITION, Uid(study), Uid(f"{study}.1"), Uid(f"{study}.1.1"))


def body_of(policy: DuplicatePolicy, name: str) -> bytes:
    """Return a content; half of them are blobs in segments, the others files."""
    instance = instance_of(policy)
    pixels = bytes(1_200_000 if name.endswith("1") else 100)
    return part10(
        StudyInstanceUID=instance.study,
        SeriesInstanceUID=instance.series,
        SOPInstanceUID=instance.instance,
        PatientName=name,
        frames=[pixels],
        Rows=len(pixels) // 100,
        Columns=100,
    )


def work(events: Connection, data: Path, database: str, run: int, kill_at: int) -> None:
    """Store with several writers at the same time; be killed before a step of the disk, unless `kill_at` is 0."""
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
    asyncio.run(_store(events, settings_for(data, database=database, audit=False), run))
    events.send(("steps", count))


async def _store(events: Connection, settings: Settings, run: int) -> None:
    prepared = prepare(settings)
    async with AsyncExitStack() as stack:
        storage = prepared.storage
        stack.callback(storage.close)
        progress = Progress(prepared.mark, storage.marks.record, prepared.read_only.restrict, storage.journal)
        database = engine.open_database(settings.database_url, progress=progress)
        stack.push_async_callback(database.close)
        blobs = await stack.enter_async_context(storage.blobs())
        components = ArchiveComponents(settings=settings, database=database, storage=storage, blobs=blobs)
        await components.clock.start()
        await components.housekeeping.recover()
        events.send(("kept", await _contents(components)))
        writers = [
            _upload(events, components, policy, f"{run}.{writer}") for policy in STUDIES for writer in range(WRITERS)
        ]
        await asyncio.gather(*writers)


async def _contents(components: ArchiveComponents) -> dict[str, dict[int, bytes]]:
    """Return the contents of the versions of each instance, ascending."""
    found: dict[str, dict[int, bytes]] = {}
    for policy in STUDIES:
        history = await components.database.instances.history(instance_of(policy).address)
        assert [one.replaced is None for one in history] == [False] * (len(history) - 1) + [True] * bool(history)
        found[policy.name] = {
            one.version: b"".join(
                [bytes(piece) async for piece in components.blobs.read(one.locator, crc32c=one.crc32c)]
            )
            for one in history
        }
    return found


async def _upload(events: Connection, components: ArchiveComponents, policy: DuplicatePolicy, name: str) -> None:
    async def messages() -> AsyncIterator[UploadMessage]:
        yield UploadMessage(UploadHeader(Address(NO_PARTITION), False, ValidationMode.LENIENT, policy, ""), ())
        yield UploadMessage(None, [UploadPiece(1, body_of(policy, name), True, False, None, None)])

    upload = Upload(Call("r1", EVERYBODY), components.store, components.ingest_budget, MAX_MESSAGE_BYTES)
    async for results in upload.run(messages()):
        for one in results:
            if isinstance(one.result, Stored):
                events.send(("stored", policy.name, one.result.version, name))


@pytest.mark.parametrize(
    ("database", "kills"), [("sqlite", 5), pytest.param("postgres", 3, marks=pytest.mark.postgres)]
)
def test_acknowledged_versions_survive_a_kill_and_exactly_one_is_current(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, kills: int
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else ""
    events: list[Event] = in_a_process(work, tmp_path, url, 0, 0)
    steps = dict(event for event in events if event[0] == "steps")["steps"]
    for run in range(1, kills + 1):
        events += in_a_process(work, tmp_path, url, run, run * steps // (kills + 1))
    events += in_a_process(work, tmp_path, url, kills + 1, 0)
    kept = in_a_process(work, tmp_path, url, kills + 2, 1 << 30)[0][1]
    acknowledged = [event[1:] for event in events if event[0] == "stored"]
    versions = [one for one in acknowledged if one[0] == DuplicatePolicy.NEW_VERSION.name]
    assert len({version for _, version, _ in versions}) == len(versions) >= 2 * WRITERS
    for name, version, content in acknowledged:
        assert kept[name][version] == body_of(DuplicatePolicy[name], content)
    [(rejecting, only, content)] = [one for one in acknowledged if one[0] == DuplicatePolicy.REJECT.name]
    assert list(kept[rejecting]) == [only]
