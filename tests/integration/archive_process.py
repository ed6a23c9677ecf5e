"""Processes for the model test of an archive: each stores, deletes and cleans up at random, and may be killed.

A fork server that has imported the core forks them, which takes a twentieth of the time of starting Python.
"""

import asyncio
import os
import random
import signal
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from crc32c import crc32c as crc32c_of

from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.bootstrap import components, maintenance
from server.dicom.updating.changes import Changes
from server.dicom.updating.layouts import Layouts
from server.domain.access import Access
from server.domain.damage import DamageRecord
from server.domain.lifecycle.versions import Versions
from server.domain.operations import lifecycle
from server.domain.operations.rewriting import Rewriting
from server.domain.operations.types import OperationTypes
from server.domain.operations.update import Update
from server.domain.operations.work import Work
from server.domain.partition_names import PartitionNames
from server.domain.partitions import DuplicatePolicies
from server.domain.store.commit import Committer
from server.domain.store.quota import Quotas
from server.domain.store.receive import Store, Stored
from server.domain.store.writability import Writing
from server.domain.upkeep.garbage import Housekeeping
from server.domain.upkeep.relocation import IndexRelocation
from server.domain.upkeep.steady_clock import SteadyClock
from server.model.call import EVERYBODY, Call
from server.model.errors import DicomStoreError
from server.model.ids import DEFAULT_PARTITION, NO_PARTITION, Address, InstanceId, PartitionName, parse_address
from server.model.instance import ValidationMode
from server.model.lifecycle.update import ChangedFile, Content
from server.model.operation import OperationState
from server.model.partition import DuplicatePolicy
from server.model.receipt import Receipt
from server.opening import StartError, prepare
from server.ports.blobs import BlobStore
from tests.core import settings_for
from tests.data import part10
from tests.programs import forked

Event = tuple[str, Any]

TASKS = 4
SIZES = (100, 100, 5_000, 200_000, 1_200_000)

_starting_or_joining = threading.Lock()
"""To start a process also collects the exit codes of others, and would take the one that a thread is about to get."""


def in_a_process(target: Callable[..., None], *arguments: Any) -> list[Event]:
    """Run a function in a separate process until it ends or is killed; return the events that it reported."""
    receiving, sending = forked.Pipe(duplex=False)
    process = forked.Process(target=target, args=(sending, *arguments))
    with _starting_or_joining:
        process.start()
    sending.close()
    events: list[Event] = []
    try:
        while True:
            events.append(receiving.recv())
    except EOFError:
        pass
    with _starting_or_joining:
        process.join()
    assert process.exitcode in (0, -signal.SIGKILL), (process.exitcode, events[-1:])
    process.close()
    return events


def work(
    events: Connection,
    data: Path,
    seed: float,
    clock_offset: timedelta,
    kill_after_s: float | None,
    unanswered: Sequence[str] = (),
    database: str = "",
) -> None:
    """Start on a data directory, report its contents, store, change, delete, restore and clean up; exit, or be killed.

    Instances whose store has an unknown outcome may be stored again.
    """
    die_after(kill_after_s)
    try:
        asyncio.run(_Worker(events, data, random.Random(seed), clock_offset, unanswered, database).run())
    except StartError as error:
        events.send(("refused", str(error)))


def recover(events: Connection, data: Path, kill_after_s: float | None) -> None:
    """Recover the index."""
    die_after(kill_after_s)
    try:
        done = asyncio.run(maintenance.recover(settings_for(data, retention_hours=0)))
    except StartError as error:
        events.send(("refused", str(error)))
    else:
        events.send(("recovered", done))


def die_after(seconds: float | None) -> None:
    """Kill this process with SIGKILL after some time; None for never."""
    if seconds is not None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()


class _ReportingRewriting(Rewriting):
    """Reports each new content before it can become visible."""

    def __init__(self, blobs: BlobStore, receipt: Callable[[PartitionName], Receipt], tell: Callable[[Event], None]):
        super().__init__(blobs, receipt)
        self._tell = tell

    async def rewrite(self, content: Content, changes: Changes, layouts: Layouts | None = None) -> ChangedFile:
        file = await super().rewrite(content, changes, layouts)
        self._tell(("changing", (content.stored.id.instance, file.crc32c)))
        return file


async def _nothing() -> None:
    """Nothing waits for the change."""


class _Worker:
    def __init__(
        self,
        events: Connection,
        data: Path,
        chance: random.Random,
        clock_offset: timedelta,
        unanswered: Sequence[str],
        database: str,
    ) -> None:
        self._tell = events.send
        self._chance = chance
        self._clock_offset = clock_offset
        self._settings = settings_for(data, retention_hours=0, database=database)
        self._ids: list[InstanceId] = []
        self._unanswered = list(unanswered)
        self._deleted: list[InstanceId] = []  # retained
        self._updating = asyncio.Lock()  # one operation at a time, as the engine does it

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._clock_offset

    async def run(self) -> None:
        prepared = prepare(self._settings)
        async with AsyncExitStack() as stack:
            storage = prepared.storage
            stack.callback(storage.close)
            database = engine.open_database(
                self._settings.database_url,
                permit=prepared.read_only.require_writable,
                progress=Progress(prepared.mark, storage.marks.record, prepared.read_only.restrict, storage.journal),
            )
            stack.push_async_callback(database.close)
            blobs = await stack.enter_async_context(storage.blobs())
            clock = SteadyClock(database.clock, self._now, components.elapsed, timedelta(days=10_000))
            await clock.start()
            index = database.instances
            committer = Committer(blobs, index, self._now, lambda: None, clock.now)
            retention = timedelta(hours=self._settings.retention_hours)
            self._housekeeping = Housekeeping(
                blobs=blobs,
                index=index,
                moves=database.blob_moves,
                committer=committer,
                clock=clock,
                retention=retention,
                quarantine=timedelta(hours=self._settings.quarantine_hours),
                read_only=prepared.read_only,
            )
            self._blobs, self._index, self._clock, self._committer = blobs, index, clock, committer
            self._relocation = IndexRelocation(
                blobs=blobs, moves=database.blob_moves, committer=committer, now=clock.now, retention=retention
            )
            names = PartitionNames(database.partitions, enabled=False, now=self._now)
            self._store = Store(
                blobs=blobs,
                committer=committer,
                writing=Writing(blobs, index, 0),
                access=Access(names, prepared.read_only),
                partitions=names,
                receipt=self._receipt(clock, storage),
                max_instance_bytes=self._settings.max_instance_bytes,
                max_header_bytes=self._settings.max_header_bytes,
                damage=DamageRecord(index),
                quotas=Quotas(database.partitions, {}),
                policies=DuplicatePolicies(database.partitions, DuplicatePolicy.REJECT),
                labels=database.labels,
                now=clock.now,
            )
            self._updates = Update(
                updates=database.updates,
                index=index,
                blobs=blobs,
                new_blobs=committer,
                rewriting=_ReportingRewriting(blobs, self._receipt(clock, storage), self._tell),
                operations=database.operations,
                now=self._now,
                on_change=_nothing,
                max_targets=10,
            ).type
            self._operations = database.operations
            self._work = Work(
                record=database.operations,
                types=OperationTypes.of([self._updates]),
                now=self._now,
                retention=timedelta(days=1),
            )
            self._versions = Versions(
                index=index,
                blobs=blobs,
                committer=committer,
                bulk_data=None,  # type: ignore[arg-type] - only for comparisons
                access=Access(names, prepared.read_only),
                quotas=Quotas(database.partitions, {}),
                receipt=self._receipt(clock, storage),
                max_header_bytes=self._settings.max_header_bytes,
            )
            await self._housekeeping.recover()
            if prepared.read_only.cause:
                self._tell(("read-only", prepared.read_only.cause))
            contents = await self._contents()
            self._tell(("contents", contents))
            self._labels = database.labels
            found = await self._labels.of(DEFAULT_PARTITION, {instance.address for instance in self._ids})
            self._tell(("labels", {resource.instance: labels.get("name") for resource, labels in found.items()}))
            self._unanswered = [uid for uid in self._unanswered if uid not in contents]
            if not prepared.read_only.cause:
                for operation in await self._work.unfinished():
                    await self._perform(operation.id)
                await asyncio.gather(*(self._act_often() for _ in range(TASKS)))
                await self._tidy()
            self._tell(("ended", None))

    @staticmethod
    def _receipt(clock: SteadyClock, storage: Any) -> Callable[[PartitionName], Receipt]:
        return lambda partition: Receipt(partition, clock.now(), storage.marks.latest.version)

    async def _contents(self) -> dict[str, int | None]:
        """Return the checksum of each instance by UID; None for an unreadable one."""
        contents: dict[str, int | None] = {}
        after = 0
        while page := await self._index.locators(after, 100):
            for stored in page:
                self._ids.append(stored.id)
                contents[stored.id.instance] = await self._checksum(stored.locator)
            after = page[-1].version
        return contents

    async def _checksum(self, locator: str) -> int | None:
        crc = 0
        try:
            async for piece in self._blobs.read(locator):
                crc = crc32c_of(piece, crc)
        except DicomStoreError:
            return None
        return crc

    async def _act_often(self) -> None:
        for _ in range(self._chance.randrange(8)):
            action = self._chance.choice(
                (
                    *(self._store_one, self._store_one, self._delete_one, self._label_one, self._tidy, self._compact),
                    *(self._update_one, self._update_one, self._revert_one),
                    *(self._delete_for_a_while, self._restore_one),
                )
            )
            await action()

    async def _store_one(self) -> None:
        uid = f"1.2.{self._chance.getrandbits(60)}"
        if self._unanswered and self._chance.random() < 0.7:
            uid = self._unanswered.pop()
        pixels = self._chance.randbytes(self._chance.choice(SIZES))
        image = {"frames": [pixels], "Rows": len(pixels) // 100, "Columns": 100}
        body = part10(SOPInstanceUID=uid, StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", **image)
        checksum = crc32c_of(body)
        self._tell(("storing", (uid, checksum)))
        target = await self._store.target(
            Call("r1", EVERYBODY), Address(NO_PARTITION), create_partition=False, mode=ValidationMode.LENIENT
        )
        receiver = self._store.receive(target)
        await receiver.write(body)
        result = await receiver.finish()
        assert isinstance(result, Stored), result
        self._tell(("stored", uid))
        self._ids.append(result.id)

    async def _delete_one(self) -> None:
        if not self._ids:
            return
        instance = self._ids.pop(self._chance.randrange(len(self._ids)))
        self._tell(("deleting", instance.instance))
        resource = Address(DEFAULT_PARTITION, instance.study, instance.series, instance.instance)
        deadline = self._clock.now() + timedelta(hours=self._settings.retention_hours)
        assert await self._index.delete(resource, self._now(), deadline) == 1
        self._tell(("deleted", instance.instance))

    async def _delete_for_a_while(self) -> None:
        if not self._ids:
            return
        instance = self._ids.pop(self._chance.randrange(len(self._ids)))
        self._tell(("deleting", instance.instance))
        deadline = self._clock.now() + timedelta(hours=6)
        assert await self._index.delete(instance.address, self._now(), deadline) == 1
        self._tell(("deleted", instance.instance))
        self._deleted.append(instance)

    async def _restore_one(self) -> None:
        if not self._deleted:
            return
        instance = self._deleted.pop(self._chance.randrange(len(self._deleted)))
        self._tell(("restoring", instance.instance))
        assert await self._index.undelete(instance.address, self._now(), self._clock.now()) == 1
        self._tell(("stored", instance.instance))
        self._ids.append(instance)

    async def _update_one(self) -> None:
        async with self._updating:
            if not self._ids:
                return
            instance = self._ids.pop(self._chance.randrange(len(self._ids)))
            name = f"Name^{self._chance.getrandbits(60)}"
            changes = f'{{"00100010":{{"vr":"PN","Value":["{name}"]}}}}'.encode()
            target = {
                "study_instance_uid": instance.study,
                "series_instance_uid": instance.series,
                "sop_instance_uid": instance.instance,
            }
            request = {
                "targets": [target],
                "partition": instance.partition,
                "changes": b64encode(changes).decode(),
            }
            id_, now = f"{self._chance.getrandbits(120):032x}", self._now()
            await self._operations.start("", lambda _: lifecycle.started(self._updates, id_, request, (), now))
            await self._perform(id_)
            self._ids.append(instance)

    async def _perform(self, operation_id: str) -> None:
        for step in range(len(self._updates.steps)):
            while await self._work.run_step(self._updates, step, operation_id):
                pass
        operation = await self._operations.get(operation_id)
        assert operation is not None
        assert operation.state is OperationState.SUCCEEDED, operation
        [target] = operation.request["targets"]
        for stored in await self._index.find(parse_address(DEFAULT_PARTITION, *target.values())):
            self._tell(("changed", (stored.id.instance, stored.crc32c)))

    async def _revert_one(self) -> None:
        if not self._ids:
            return
        instance = self._ids.pop(self._chance.randrange(len(self._ids)))
        version = self._chance.choice(await self._index.history(instance.address))
        self._tell(("changing", (instance.instance, version.crc32c)))
        address = replace(instance.address, partition=NO_PARTITION)
        await self._versions.revert(Call("r2", EVERYBODY), address, version.version, "")
        self._tell(("changed", (instance.instance, version.crc32c)))
        self._ids.append(instance)

    async def _label_one(self) -> None:
        if not self._ids:
            return
        instance = self._ids.pop(self._chance.randrange(len(self._ids)))
        value = f"{self._chance.getrandbits(60)}"
        self._tell(("labelling", (instance.instance, value)))
        assert await self._labels.change(instance.address, lambda _: {"name": value}, self._clock.now())
        self._tell(("labelled", (instance.instance, value)))
        self._ids.append(instance)

    async def _tidy(self) -> None:
        await self._clock.tick()
        await self._committer.resolve_in_doubt()
        await self._housekeeping.erase()
        await self._housekeeping.end_quarantine()

    async def _compact(self) -> None:
        await self._blobs.compact(self._relocation)
