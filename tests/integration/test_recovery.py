"""Rebuilding a lost index from the blobs, and completing an old one (server/domain/upkeep/recovery.py)."""

import asyncio
import random
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c
from dicomstore.v1 import change_feed_service_pb2 as feed
from dicomstore.v1 import lifecycle_service_pb2 as lifecycle
from dicomstore.v1 import lifecycle_service_pb2_grpc
from dicomstore.v1 import partition_service_pb2 as partitions
from dicomstore.v1 import retrieve_service_pb2 as retrieve
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION
from google.protobuf.duration_pb2 import Duration

from server.adapters.blobs.packed import PackedBlobs
from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.adapters.sql.writing import deleting
from server.bootstrap.maintenance import auditing, recover
from server.dicom.ingest.reader import InstanceReader
from server.domain.store.receive import new_instance
from server.domain.upkeep.recovery import Recovered
from server.model.errors import Reason, Unavailable
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName, Uid
from server.model.instance import Added, ValidationMode
from server.model.lifecycle.version import VersionOrigin
from server.model.receipt import Receipt
from server.opening import StartError, check_binding, prepare
from tests.core import CoreClient, Ref, file_of, ref_of, settings_for, store_requests, stream_reason
from tests.data import new_uid, part10
from tests.integration.conftest import a_core
from tests.integration.test_labels import Labels
from tests.integration.test_opening import remove_index

LARGE = {"frames": [bytes(1_500_000)], "Rows": 15_000, "Columns": 100}


class Stored:
    """The expected contents of an archive."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.bodies: dict[str, bytes] = {}
        self.order: list[str] = []

    async def store(self, core: CoreClient, count: int = 1, **attributes: Any) -> list[Any]:
        """Store instances one after the other, each in its own study."""
        found = []
        for _ in range(count):
            study = new_uid()
            body = part10(StudyInstanceUID=study, PatientID=f"P{random.random()}", **attributes)
            found += await core.stored(body)
            self.bodies[study] = body
            self.order.append(study)
        return found

    async def delete(self, core: CoreClient, study: str) -> None:
        assert await core.delete(Ref(study_instance_uid=study)) == 1
        del self.bodies[study]
        self.order.remove(study)

    async def check(self, core: CoreClient, *deleted: str) -> None:
        """Compare the archive with its expected contents, in the order of storing."""
        for study, body in self.bodies.items():
            [(_, found)] = await core.retrieve(Ref(study_instance_uid=study))
            assert found == body
        current = [
            change
            for change in await core.changes(page_size=200)
            if change.state == feed.CHANGE_STATE_CURRENT and change.action == feed.CHANGE_ACTION_CREATE
        ]
        assert {change.instance.study_instance_uid for change in current} == set(self.bodies)
        for study in deleted:
            with pytest.raises(Exception, match="NOT_FOUND"):
                await core.retrieve(Ref(study_instance_uid=study))


async def agreement(data: Path) -> tuple[bool, int]:
    async with auditing(settings_for(data)) as audit:
        report = await audit.run(deep=True)
    return report.agrees, report.unused


@pytest.fixture
async def stored(tmp_path: Path) -> Stored:
    stored = Stored(tmp_path / "data")
    async with a_core(stored.data) as core:
        await stored.store(core, 4)
        await stored.store(core, 1, **LARGE)
    return stored


async def test_a_lost_index_is_rebuilt_in_order_of_receipt_without_deleted_instances(stored: Stored) -> None:
    async with a_core(stored.data) as core:
        deleted = stored.order[1]
        await stored.delete(core, deleted)
        await stored.store(core, 2)
        latest = (await core.changes(page_size=200))[-1]
    remove_index(stored.data)
    done = await recover(settings_for(stored.data))
    assert (done.added, done.retired, done.unreadable, done.duplicates) == (6, 1, 0, 0)
    assert await agreement(stored.data) == (True, 0)
    async with a_core(stored.data) as core:
        await stored.check(core, deleted)
        changes = await core.changes(page_size=200)
        assert [change.instance.study_instance_uid for change in changes] == stored.order
        assert min(change.sequence for change in changes) > latest.sequence
        [new] = await stored.store(core)
        assert new.version > max(change.version for change in changes)
        await stored.check(core, deleted)


async def test_an_older_index_is_completed(stored: Stored, tmp_path: Path) -> None:
    shutil.copy(stored.data / "index.db", tmp_path / "older.db")
    async with a_core(stored.data) as core:
        deleted = stored.order[2]
        await stored.delete(core, deleted)
        await stored.store(core, 3)
        last = (await core.changes(page_size=200))[-1].sequence
    remove_index(stored.data)
    shutil.copy(tmp_path / "older.db", stored.data / "index.db")
    assert check_binding(settings_for(stored.data))
    done = await recover(settings_for(stored.data))
    assert (done.added, done.deleted, done.unreadable) == (3, 1, 0)
    assert check_binding(settings_for(stored.data)) == ""
    async with a_core(stored.data) as core:
        await stored.check(core, deleted)
        assert (await core.changes(page_size=200))[-1].sequence > last
        await stored.store(core)


@pytest.mark.parametrize("index", ["lost", "before the deletion", "with the deletion"])
async def test_restored_instances_are_in_a_rebuilt_index(stored: Stored, tmp_path: Path, index: str) -> None:
    restored, deleted, untouched = stored.order[1:4]
    bodies = dict(stored.bodies)
    shutil.copy(stored.data / "index.db", tmp_path / "before the deletion")
    async with a_core(stored.data) as core:
        for study in (restored, deleted):
            await stored.delete(core, study)
    shutil.copy(stored.data / "index.db", tmp_path / "with the deletion")
    async with a_core(stored.data) as core:
        for study in (restored, deleted):
            assert await undelete(core, study) == 1
        await core.delete(Ref(study_instance_uid=deleted))
        stored.bodies[restored] = bodies[restored]
        stored.order.append(restored)
    for _ in range(2):
        remove_index(stored.data)
        if index != "lost":
            shutil.copy(tmp_path / index, stored.data / "index.db")
        await recover(settings_for(stored.data))
        async with a_core(stored.data) as core:
            await stored.check(core, deleted)
    async with a_core(stored.data) as core:
        await stored.delete(core, restored)
    remove_index(stored.data)
    await recover(settings_for(stored.data))
    async with a_core(stored.data) as core:
        await stored.check(core, deleted, restored)
    assert untouched in stored.bodies


@pytest.mark.parametrize("index", ["lost", "older"])
async def test_a_rebuilt_index_has_the_versions_of_instances(stored: Stored, tmp_path: Path, index: str) -> None:
    shutil.copy(stored.data / "index.db", tmp_path / "older.db")
    uids = {"SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}
    new_version = {"duplicates": DUPLICATE_POLICY_NEW_VERSION, "reason": "correction"}

    async def replace(core: CoreClient, study: str, count: int) -> list[bytes]:
        bodies = [part10(StudyInstanceUID=study, PatientName=str(number), **uids) for number in range(count)]
        await core.stored(*bodies, **new_version)
        return bodies

    async with a_core(stored.data) as core:
        kept, restored = await replace(core, "1.2.1", 3), await replace(core, "1.2.2", 2)
        await replace(core, "1.2.3", 3)
        for study in ("1.2.2", "1.2.3"):
            assert await core.delete(Ref(study_instance_uid=study)) == 1
        assert await undelete(core, "1.2.2") == 1
    remove_index(stored.data)
    if index == "older":
        shutil.copy(tmp_path / "older.db", stored.data / "index.db")
    done = await recover(settings_for(stored.data))
    assert (done.retired, done.duplicates, done.unreadable) == (3, 0, 0)
    assert await agreement(stored.data) == (True, 0)
    database = engine.open_database(settings_for(stored.data).database_url)
    async with a_core(stored.data) as core:
        for study, bodies in (("1.2.1", kept), ("1.2.2", restored)):
            instance = Address(DEFAULT_PARTITION, Uid(study), *map(Uid, uids.values()))
            history = await database.instances.history(instance)
            assert [one.provenance.origin for one in history[1:]] == [VersionOrigin.REPLACED] * (len(bodies) - 1)
            assert {one.provenance.reason for one in history[1:]} == {"correction"}
            ref = Ref(study_instance_uid=study, series_instance_uid="1.2.3.4", sop_instance_uid="1.2.3.4.5")
            assert [(await core.retrieve(ref, version=one.version))[0][1] for one in history] == bodies
            assert [data for _, data in await core.retrieve(ref)] == bodies[-1:]
        with pytest.raises(Exception, match="NOT_FOUND"):
            await core.retrieve(Ref(study_instance_uid="1.2.3"))
    await database.close()


async def undelete(core: CoreClient, study: str) -> int:
    stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
    request = lifecycle.UndeleteInstancesRequest(resource=Ref(study_instance_uid=study))
    response: lifecycle.UndeleteInstancesResponse = await stub.UndeleteInstances(request)
    return response.restored_instances


@pytest.mark.parametrize("index", ["lost", "older"])
async def test_labels_are_restored_for_the_objects_that_had_them(stored: Stored, tmp_path: Path, index: str) -> None:
    labelled, changed, again, deleted = stored.order[:4]
    shutil.copy(stored.data / "index.db", tmp_path / "older")
    async with a_core(stored.data) as core:
        labels = Labels(core.channel)
        for study in (labelled, changed, again, deleted):
            await labels.change(Ref(study_instance_uid=study), project="lung")
        [stored_again] = await core.stored(part10(StudyInstanceUID=labelled))
        await labels.change(ref_of(stored_again), reviewed="yes")
        await labels.change(Ref(study_instance_uid=changed), "project", other="1")
        for study in (again, deleted):
            await core.delete(Ref(study_instance_uid=study))
        await core.stored(part10(StudyInstanceUID=again))
    for _ in range(2):
        remove_index(stored.data)
        if index == "older":
            shutil.copy(tmp_path / "older", stored.data / "index.db")
        assert (await recover(settings_for(stored.data))).labelled == 3
        async with a_core(stored.data) as core:
            labels = Labels(core.channel)
            assert await labels.get(Ref(study_instance_uid=labelled)) == {"project": "lung"}
            assert await labels.get(ref_of(stored_again)) == {"reviewed": "yes"}
            assert await labels.get(Ref(study_instance_uid=changed)) == {"other": "1"}
            assert await labels.get(Ref(study_instance_uid=again)) == {}


@pytest.mark.parametrize("index", ["lost", "older"])
async def test_holds_are_restored(stored: Stored, tmp_path: Path, index: str) -> None:
    held, released, named = stored.order[:3]
    shutil.copy(stored.data / "index.db", tmp_path / "older")
    async with a_core(stored.data) as core:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
        for study, name in ((held, ""), (released, ""), (named, "audit"), (named, "Prüfung")):
            resource = Ref(study_instance_uid=study)
            await stub.SetHold(lifecycle.SetHoldRequest(resource=resource, name=name, reason="ß"))
        await stub.ReleaseHold(lifecycle.ReleaseHoldRequest(resource=Ref(study_instance_uid=released)))
        expected = sorted(
            (one.resource.study_instance_uid, one.name, one.reason, one.time.ToMicroseconds())
            for one in (await stub.ListHolds(lifecycle.ListHoldsRequest())).holds
        )
    assert len(expected) == 3
    for _ in range(2):
        remove_index(stored.data)
        if index == "older":
            shutil.copy(tmp_path / "older", stored.data / "index.db")
        await recover(settings_for(stored.data))
        async with a_core(stored.data) as core:
            stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
            found = (await stub.ListHolds(lifecycle.ListHoldsRequest())).holds
            assert expected == sorted(
                (one.resource.study_instance_uid, one.name, one.reason, one.time.ToMicroseconds()) for one in found
            )
            assert await core.delete(Ref(study_instance_uid=released)) in (0, 1)


@pytest.mark.parametrize("index", ["lost", "older"])
async def test_expiries_are_restored(stored: Stored, tmp_path: Path, index: str) -> None:
    kept, removed, undeleted, again = stored.order[:4]
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)

    async def expiries(stub: Any) -> dict[str, Any]:
        studies = (kept, "1.2.7", "1.2.8", removed, undeleted, again)
        answers = [
            await stub.GetExpiry(lifecycle.GetExpiryRequest(study=Ref(study_instance_uid=study))) for study in studies
        ]
        return dict(zip(studies, answers, strict=True))

    async with a_core(stored.data) as core:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
        for study in (removed, undeleted, again):
            request = lifecycle.SetExpiryRequest(study=Ref(study_instance_uid=study))
            request.expire_time.FromDatetime(later)
            await stub.SetExpiry(request)
    shutil.copy(stored.data / "index.db", tmp_path / "older")
    async with a_core(stored.data) as core:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
        request = lifecycle.SetExpiryRequest(study=Ref(study_instance_uid=kept))
        request.expire_time.FromDatetime(later)
        await stub.SetExpiry(request)
        await stub.SetExpiry(lifecycle.SetExpiryRequest(study=Ref(study_instance_uid=removed)))
        for study in (undeleted, again):
            await core.delete(Ref(study_instance_uid=study))
        await stub.UndeleteInstances(lifecycle.UndeleteInstancesRequest(resource=Ref(study_instance_uid=undeleted)))
        await core.stored(part10(StudyInstanceUID=again))
        for study, days in (("1.2.7", 1), ("1.2.8", 2), ("1.2.8", 4)):
            files = [part10(StudyInstanceUID=study, SeriesInstanceUID="1.2.3", SOPInstanceUID=f"{study}.1")]
            await core.stored(*files, expires_after=Duration(seconds=days * 86_400))
        expected = await expiries(stub)
    assert [answer.HasField("expiry") for answer in expected.values()] == [True] * 3 + [False] * 3
    for _ in range(2):
        remove_index(stored.data)
        if index == "older":
            shutil.copy(tmp_path / "older", stored.data / "index.db")
        await recover(settings_for(stored.data))
        async with a_core(stored.data) as core:
            assert await expiries(lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)) == expected


async def test_what_was_deleted_or_replaced_after_the_release_of_a_hold_is_repeated(
    stored: Stored, tmp_path: Path
) -> None:
    deleted, other = stored.order[:2]
    uids = {"SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5", "StudyInstanceUID": "1.2.1"}
    async with a_core(stored.data) as core:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
        await core.stored(part10(**uids))
        for study in (deleted, "1.2.1", other):
            resource = Ref(study_instance_uid=study)
            await stub.SetHold(lifecycle.SetHoldRequest(resource=resource, reason="trial"))
    shutil.copy(stored.data / "index.db", tmp_path / "older")
    corrected = part10(PatientName="corrected", **uids)
    async with a_core(stored.data) as core:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
        for study in (deleted, "1.2.1"):
            await stub.ReleaseHold(lifecycle.ReleaseHoldRequest(resource=Ref(study_instance_uid=study)))
        assert await core.delete(Ref(study_instance_uid=deleted)) == 1
        await core.stored(corrected, duplicates=DUPLICATE_POLICY_NEW_VERSION)
    remove_index(stored.data)
    shutil.copy(tmp_path / "older", stored.data / "index.db")
    done = await recover(settings_for(stored.data))
    assert (done.deleted, done.added, done.duplicates) == (1, 1, 0)
    async with a_core(stored.data) as core:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
        with pytest.raises(Exception, match="NOT_FOUND"):
            await core.retrieve(Ref(study_instance_uid=deleted))
        assert [data for _, data in await core.retrieve(Ref(study_instance_uid="1.2.1"))] == [corrected]
        [hold] = (await stub.ListHolds(lifecycle.ListHoldsRequest())).holds
        assert hold.resource.study_instance_uid == other


async def partition_names(core: CoreClient) -> list[str]:
    return [
        one.name for one in (await core.partition_stub.ListPartitions(partitions.ListPartitionsRequest())).partitions
    ]


@pytest.mark.parametrize("index", ["lost", "older"])
@pytest.mark.parametrize("is_complete", [False, True])
async def test_a_deleted_partition_does_not_come_back(tmp_path: Path, index: str, is_complete: bool) -> None:
    data = tmp_path / "data"
    async with a_core(data, partitions=True) as core:
        for name in ("kept", "gone"):
            for _ in range(3):
                await core.stored(part10(), address={"partition": name}, create_partition=True)
    shutil.copy(data / "index.db", tmp_path / "older")
    if is_complete:
        async with a_core(data, partitions=True) as core:
            await core.partition_stub.DeletePartition(partitions.DeletePartitionRequest(name="gone"))
            assert await partition_names(core) == ["Microsoft.Default", "kept"]
            while sum(one.action == feed.CHANGE_ACTION_DELETE for one in await core.changes()) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    else:
        settings = settings_for(data)
        prepared = prepare(settings)
        storage = prepared.storage
        progress = Progress(prepared.mark, storage.marks.record, prepared.read_only.restrict, storage.journal)
        database = engine.open_database(settings.database_url, progress=progress)
        assert await database.partitions.delete(PartitionName("gone"), datetime.now(UTC))
        await database.close()
        storage.close()
    for _ in range(2):
        remove_index(data)
        if index == "older":
            shutil.copy(tmp_path / "older", data / "index.db")
        await recover(settings_for(data))
        async with a_core(data, partitions=True) as core:
            assert await partition_names(core) == ["Microsoft.Default", "kept"]
            assert {
                one.instance.partition
                for one in await core.changes()
                if one.action == feed.CHANGE_ACTION_CREATE and one.state == feed.CHANGE_STATE_CURRENT
            } == {"kept"}


async def test_recovering_again_changes_nothing(stored: Stored) -> None:
    remove_index(stored.data)
    assert (await recover(settings_for(stored.data))).added == 5
    assert await recover(settings_for(stored.data)) == Recovered(known=5)
    async with a_core(stored.data) as core:
        await stored.check(core)


@pytest.mark.postgres
async def test_an_index_may_be_rebuilt_in_another_database(stored: Stored, postgres_url: str) -> None:
    assert (await recover(settings_for(stored.data, database=postgres_url))).added == 5
    async with a_core(stored.data, database=postgres_url) as core:
        await stored.check(core)
        await stored.store(core)


async def test_an_interrupted_recovery_leaves_the_archive_read_only_and_a_second_one_completes_it(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_index(stored.data)
    receipts = PackedBlobs.receipt
    left = 3

    async def broken(self: PackedBlobs, locator: str) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The disk is gone.")
        return await receipts(self, locator)

    monkeypatch.setattr(PackedBlobs, "receipt", broken)
    with pytest.raises(Unavailable):
        await recover(settings_for(stored.data))
    monkeypatch.undo()
    assert "was interrupted" in check_binding(settings_for(stored.data))
    async with a_core(stored.data) as core:
        assert await stream_reason(core.store_stub.StoreInstances(store_requests([part10()]))) == "ARCHIVE_READ_ONLY"
    assert (await recover(settings_for(stored.data))).added == 5
    async with a_core(stored.data) as core:
        await stored.check(core)


async def test_a_running_archive_and_a_foreign_index_are_refused(stored: Stored, tmp_path: Path) -> None:
    async with a_core(stored.data):
        with pytest.raises(StartError, match="is running"):
            await recover(settings_for(stored.data))
    async with a_core(tmp_path / "other"):
        pass
    with pytest.raises(StartError, match="another archive"):
        await recover(settings_for(stored.data, database=f"sqlite:///{tmp_path / 'other' / 'index.db'}"))
    (stored.data / "index.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StartError, match="not an SQLite database"):
        await recover(settings_for(stored.data))


async def test_moved_blobs_are_found_with_an_older_index_and_with_none(stored: Stored, tmp_path: Path) -> None:
    async with a_core(stored.data) as core:
        await stored.store(core, 20)
    shutil.copy(stored.data / "index.db", tmp_path / "older.db")
    async with a_core(stored.data, retention_hours=0, erase_interval_seconds=0.01) as core:
        before = locators_in(stored.data)
        gone = [study for study in stored.order[:-3] if len(stored.bodies[study]) < 1_000_000]
        for study in gone:
            await stored.delete(core, study)
        while before & locators_in(stored.data):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await stored.check(core)
    for index in (tmp_path / "older.db", None):
        remove_index(stored.data)
        if index is not None:
            shutil.copy(index, stored.data / "index.db")
        done = await recover(settings_for(stored.data))
        assert (done.unreadable, done.duplicates) == (0, 0)
        async with a_core(stored.data) as core:
            await stored.check(core, *gone)


def locators_in(data: Path) -> set[str]:
    """Return the locators of the small instances."""
    with sqlite3.connect(data / "index.db") as connection:
        found = {row[0] for row in connection.execute("SELECT locator FROM versions WHERE size_bytes < 1000000")}
    connection.close()
    return found


async def test_earlier_versions_and_deleted_instances_that_were_moved_are_found_with_an_older_index_and_with_none(
    stored: Stored, tmp_path: Path
) -> None:
    uids = {"SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}
    bodies = [part10(StudyInstanceUID="1.2.1", PatientName=str(number), **uids) for number in range(3)]
    others = [part10(StudyInstanceUID="1.2.9") for _ in range(40)]
    others_before = locators_in(stored.data)
    async with a_core(stored.data) as core:
        await core.stored(*bodies, duplicates=DUPLICATE_POLICY_NEW_VERSION)
        await stored.store(core, 2)
        deleted, restored = stored.order[-2:]
        await core.stored(*others)
        for study in (deleted, restored):
            await stored.delete(core, study)
    shutil.copy(stored.data / "index.db", tmp_path / "older.db")
    async with a_core(stored.data, retention_hours=0, erase_interval_seconds=0.01) as core:
        before = locators_in(stored.data) - others_before
        assert await core.delete(Ref(study_instance_uid="1.2.9")) == 40
        while before & locators_in(stored.data):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert await undelete(core, restored) == 1
    instance = Ref(study_instance_uid="1.2.1", series_instance_uid="1.2.3.4", sop_instance_uid="1.2.3.4.5")
    for index in (tmp_path / "older.db", None):
        remove_index(stored.data)
        if index is not None:
            shutil.copy(index, stored.data / "index.db")
        done = await recover(settings_for(stored.data))
        assert (done.unreadable, done.duplicates) == (0, 0)
        assert (await agreement(stored.data))[0]
        database = engine.open_database(settings_for(stored.data).database_url)
        history = await database.instances.history(Address(DEFAULT_PARTITION, Uid("1.2.1"), *map(Uid, uids.values())))
        await database.close()
        async with a_core(stored.data) as core:
            assert [(await core.retrieve(instance, version=one.version))[0][1] for one in history] == bodies
            assert len(await core.retrieve(Ref(study_instance_uid=restored))) == 1
            for study in (deleted, "1.2.9"):
                with pytest.raises(Exception, match="NOT_FOUND"):
                    await core.retrieve(Ref(study_instance_uid=study))


async def test_an_instance_with_damaged_bytes_is_indexed_as_damaged(stored: Stored) -> None:
    study = stored.order[-1]
    body = stored.bodies[study]
    with file_of(stored.data, body).open("r+b") as file:
        file.seek(len(body) - 1000)
        file.write(b"\1")
    remove_index(stored.data)
    done = await recover(settings_for(stored.data))
    assert (done.added, done.damaged) == (5, 1)
    async with a_core(stored.data) as core:
        request = retrieve.RetrieveInstancesRequest(resource=Ref(study_instance_uid=study))
        assert await stream_reason(core.retrieve_stub.RetrieveInstances(request)) == "BLOB_DAMAGED"


async def test_recovery_creates_the_partitions_again(tmp_path: Path) -> None:
    body = part10()
    async with a_core(tmp_path, partitions=True) as core:
        [one] = await core.stored(body, address={"partition": "one"}, create_partition=True)
        await core.stored(body, address={"partition": "other"}, create_partition=True)
    remove_index(tmp_path)
    assert (await recover(settings_for(tmp_path))).added == 2
    async with a_core(tmp_path, partitions=True) as core:
        for partition in ("one", "other"):
            ref = ref_of(one)
            ref.partition = partition
            [(_, found)] = await core.retrieve(ref)
            assert found == body


async def test_the_index_decides_a_delete_without_an_end_in_the_journal(stored: Stored) -> None:
    kept, deleted = stored.order[0], stored.order[1]
    async with a_core(stored.data) as core:
        await stored.delete(core, deleted)
    with sqlite3.connect(stored.data / "index.db") as connection:
        [(locator,)] = connection.execute(
            "SELECT locator FROM versions JOIN instances USING (version) "
            "JOIN studies ON studies.key = instances.study_key "
            "WHERE studies.uid = ?",
            (kept,),
        )
    connection.close()
    [journal] = (stored.data / "journal").iterdir()
    journal.write_text(f"{journal.read_text().removesuffix('C' + chr(10))}T\nD {locator}\nT\nD torn")
    async with a_core(stored.data):
        pass
    assert locator not in (stored.data / "journal" / "history").read_text()
    remove_index(stored.data)
    await recover(settings_for(stored.data))
    async with a_core(stored.data) as core:
        await stored.check(core, deleted)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("kind", ["lost", "older", pytest.param("PostgreSQL", marks=pytest.mark.postgres)])
async def test_an_index_lost_during_a_large_delete_is_rebuilt_without_its_instances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, steps: int, kind: str
) -> None:
    """One of the five instances is stored again before the index is lost."""
    monkeypatch.setattr(deleting, "FEW", 2)
    monkeypatch.setattr(deleting, "AT_ONCE", 2)
    data, url = tmp_path / "data", ""

    def new_index() -> None:
        nonlocal url
        if kind == "PostgreSQL":
            databases = request.getfixturevalue("postgres_databases")
            url = databases.url(databases.create())
        elif (data / "index.db").exists():
            remove_index(data)

    new_index()
    study, series = new_uid(), new_uid()
    bodies = [part10(StudyInstanceUID=study, SeriesInstanceUID=series) for _ in range(5)]
    async with a_core(data, database=url) as core:
        [*_, other] = [result for body in (*bodies, part10()) for result in await core.stored(body)]
    if kind == "older":
        shutil.copy(data / "index.db", tmp_path / "older.db")
    settings = settings_for(data, database=url)
    prepared = prepare(settings)
    storage = prepared.storage
    progress = Progress(prepared.mark, storage.marks.record, prepared.read_only.restrict, storage.journal)
    database = engine.open_database(settings.database_url, progress=progress)
    scope = Address(DEFAULT_PARTITION, Uid(study))
    assert await database.instances.delete(scope, datetime.now(UTC), datetime.now(UTC)) == 5
    for _ in range(steps):
        await database.changes.sequence()
    async with storage.blobs() as blobs:
        async with blobs.open_write() as writer:
            await writer.write(bodies[4])
            locator = await writer.commit(Receipt(DEFAULT_PARTITION, datetime.now(UTC), 0))
        reader = InstanceReader(ValidationMode.LENIENT, settings.max_header_bytes)
        reader.feed(bodies[4])
        new = new_instance(
            reader.finish(),
            partition=DEFAULT_PARTITION,
            size_bytes=len(bodies[4]),
            crc32c=crc32c(bodies[4]),
            locator=locator,
            must_be_indexed=False,
        )
        [outcome] = await database.instances.add([new], datetime.now(UTC))
        assert isinstance(outcome, Added)
        await blobs.settle([locator])
    await database.close()
    storage.close()
    new_index()
    if kind == "older":
        shutil.copy(tmp_path / "older.db", data / "index.db")
    done = await recover(settings_for(data, database=url))
    assert (done.added, done.deleted, done.retired) == ((1, 5, 0) if kind == "older" else (2, 0, 5))
    async with a_core(data, database=url) as core:
        assert [body for _, body in await core.retrieve(Ref(study_instance_uid=study))] == [bodies[4]]
        assert len(await core.retrieve(ref_of(other))) == 1
        await core.stored(*bodies[:4])  # after the recovery the deletion has no effect
    new_index()
    assert (await recover(settings_for(data, database=url))).added == 6


async def test_blobs_unknown_to_a_complete_index_are_recovered_only_on_request(stored: Stored) -> None:
    body = part10()
    async with PackedBlobs(stored.data) as blobs:
        async with blobs.open_write() as writer:
            await writer.write(body)
            locator = await writer.commit(Receipt(DEFAULT_PARTITION, datetime.now(UTC), 0))
        await blobs.quarantine([locator], datetime.now(UTC))
    remove_index(stored.data)
    done = await recover(settings_for(stored.data))
    assert (done.added, done.quarantined) == (5, 1)
    assert await agreement(stored.data) == (True, 0)
    done = await recover(settings_for(stored.data), with_quarantined=True)
    assert (done.known, done.added, done.quarantined) == (5, 1, 0)
