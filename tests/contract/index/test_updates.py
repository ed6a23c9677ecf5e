"""Staged versions, earlier states of a resource, and originals."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import Engine, create_engine, select, text, update

from server.adapters.sql.engine import Database
from server.adapters.sql.lifecycle import staging
from server.adapters.sql.tables.operations import staged_versions
from server.model.change import ChangeAction, ChangeState, ChangeWindow
from server.model.errors import WrongState
from server.model.ids import Address, Version
from server.model.instance import Added, BulkElement, NewInstance, PixelLayout, ResourceState, StoredInstance
from server.model.lifecycle.hold import Hold
from server.model.lifecycle.update import Applied, ChangedFile, Content
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.model.operation import Operation, OperationState, OperationUpdate
from server.ports.index import InstanceIndex
from tests.contract.index.samples import NOON, identity, sample, series_ref, study_ref
from tests.contract.index.sequenced import SequencedChanges

ID = "0" * 32
UPDATED = Provenance("someone", "correction", VersionOrigin.UPDATED)
TABLE = (100).to_bytes(8, "little") + (190).to_bytes(8, "little")


@pytest.fixture
async def operation(database: Database) -> Operation:
    running = Operation(ID, "update", OperationState.RUNNING, NOON, NOON)
    return await database.operations.start("", lambda _: running)


async def stored(database: Database, count: int, study: int = 1) -> list[StoredInstance]:
    pixels = PixelLayout(1, 90, 100, 8, 0, TABLE)
    bulk = (BulkElement("7FE00010", "OB", 90, 100),)
    new = [
        sample(study, 1, number, pixels=pixels, bulk=bulk, study_keys={"PatientID": "old"}, dicom_json=b'{"old":1}')
        for number in range(1, count + 1)
    ]
    await database.instances.add(new, NOON)
    return await database.instances.find(study_ref(study))


def file_of(one: StoredInstance, name: str = "new") -> ChangedFile:
    return ChangedFile(f"{name}-{one.locator}", 1000, 5, [(10, 7)], False)


def describe(content: Content, file: ChangedFile) -> NewInstance:
    assert content.pixels is not None
    assert content.pixels.table == TABLE
    [element] = content.bulk
    base = sample(id=content.stored.id, study_keys={"PatientID": "new"}, dicom_json=b'{"new":1}')
    return replace(
        base,
        locator=file.locator,
        size_bytes=file.size_bytes,
        crc32c=file.crc32c,
        pixels=replace(content.pixels, offset=97),
        bulk=(replace(element, offset=97),),
        provenance=UPDATED,
    )


def kept(operation: Operation) -> OperationUpdate:
    return OperationUpdate(operation)


async def staged(database: Database, some: list[StoredInstance]) -> None:
    assert await database.updates.stage(ID, [(one, file_of(one)) for one in some], kept)


async def apply(database: Database, study: int = 1) -> Applied:
    return await database.updates.apply(
        ID, study_ref(study), describe, NOON, lambda operation, _: OperationUpdate(operation)
    )


async def test_staged_versions_are_invisible_and_known_until_they_are_applied_together(
    database: Database, operation: Operation, changes: SequencedChanges
) -> None:
    before = await stored(database, 250)
    await staged(database, before[:100])
    await staged(database, before[100:])
    index, new = database.instances, {file_of(one).locator for one in before}
    assert await index.known(new) == new
    assert await index.find(study_ref()) == before
    assert await database.updates.staged(ID, [before[3].version, Version(10**9)]) == {before[3].version}
    assert await apply(database) == Applied(250)
    after = await index.find(study_ref())
    assert {one.locator for one in after} == new
    assert await index.state(study_ref()) == ResourceState(after[-1].version, 250)
    assert [one.dicom_json for one in await index.metadata(study_ref(), 0, 500)] == [b'{"new":1}'] * 250
    found = await index.frames(before[0].id, [1])
    assert found is not None
    assert found[1] is not None
    assert found[1].offset == 97
    [match] = await index.bulk_elements(before[0].id, after[0].version, "", 10)
    assert match.offset == 97
    entries = [entry for entry in await changes.list(ChangeWindow(limit=600)) if entry.action is ChangeAction.UPDATE]
    assert len(entries) == 250
    assert {entry.state for entry in entries} == {ChangeState.CURRENT}
    [first, second] = await index.history(before[0].id.address)
    assert (first.locator, second.provenance) == (before[0].locator, UPDATED)
    assert await apply(database) == Applied(0)


@pytest.fixture
def changes(database: Database) -> SequencedChanges:
    return SequencedChanges(database.changes)


async def test_instances_that_changed_meanwhile_are_staged_again_and_deleted_ones_are_left_out(
    database: Database, operation: Operation
) -> None:
    before = await stored(database, 4)
    await staged(database, before)
    index = database.instances
    await index.delete(before[0].id.address, NOON, NOON)
    await index.relocate({before[1].locator: "moved"}, NOON)
    await index.add_version(sample(id=before[2].id), NOON)
    assert await apply(database) == Applied(0, has_stale=True)
    assert {one.locator for one in await index.find(study_ref())} & {file_of(one).locator for one in before} == set()
    assert set(await index.begin_erasure(NOON, 100)) >= {file_of(one).locator for one in before[:3]}
    assert await database.updates.staged(ID, [one.version for one in before]) == {before[3].version}
    with_pixels = [one for one in await index.find(study_ref()) if one.id != before[2].id]
    await staged(database, [one for one in with_pixels if one.version != before[3].version])
    assert await apply(database) == Applied(2)


async def test_nothing_is_staged_from_a_version_that_is_not_current_or_for_an_operation_that_must_not_change(
    database: Database, operation: Operation
) -> None:
    [one] = await stored(database, 1)
    assert not await database.updates.stage(ID, [(one, file_of(one))], lambda _: None)
    assert not await database.updates.stage("1" * 32, [(one, file_of(one))], kept)
    await database.instances.add_version(sample(id=one.id), NOON)
    assert not await database.updates.stage(ID, [(one, file_of(one))], kept)
    assert await database.instances.known([file_of(one).locator]) == set()


async def test_a_worker_without_the_operation_does_not_discard_what_another_one_has_staged(
    database: Database, operation: Operation
) -> None:
    before = await stored(database, 2)
    await staged(database, before)
    await database.instances.delete(before[0].id.address, NOON, NOON)
    for study in (study_ref(), study_ref(7)):
        applied = await database.updates.apply(ID, study, describe, NOON, lambda *_: None)
        assert applied == Applied(0)
    await database.updates.discard(ID, NOON, lambda _: None)
    versions = {one.version for one in before}
    assert await database.updates.staged(ID, versions) == versions
    assert await apply(database) == Applied(1)


async def test_a_hold_prevents_that_any_version_becomes_current(database: Database, operation: Operation) -> None:
    before = await stored(database, 3)
    await staged(database, before)
    await database.holds.set(Hold(before[2].id.address, "", "trial", "someone", NOON))
    with pytest.raises(WrongState, match="trial"):
        await apply(database)
    assert await database.instances.find(study_ref()) == before


async def test_discarded_and_abandoned_versions_are_erased(database: Database, operation: Operation) -> None:
    before = await stored(database, 2)
    await staged(database, before)
    await database.updates.discard_abandoned(NOON)
    assert await database.instances.begin_erasure(NOON, 10) == []
    await database.updates.discard(ID, NOON)
    assert set(await database.instances.begin_erasure(NOON, 10)) == {file_of(one).locator for one in before}
    await database.instances.erased([file_of(one).locator for one in before])
    await staged(database, before)
    final = replace(operation, state=OperationState.FAILED)
    await database.operations.update(ID, lambda _: OperationUpdate(final))
    await database.updates.discard_abandoned(NOON)
    assert await database.updates.staged(ID, [one.version for one in before]) == set()


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def until_a_transaction_waits(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.execute(text(_WAITING)).scalar():
            pass


async def test_versions_that_another_operation_stages_while_abandoned_ones_are_removed_are_kept(
    url: str, database: Database, operation: Operation
) -> None:
    await staged(database, await stored(database, 1))
    final = replace(operation, state=OperationState.FAILED)
    await database.operations.update(ID, lambda _: OperationUpdate(final))
    other = replace(operation, id="1" * 32)
    await database.operations.start("", lambda _: other)
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(update(staged_versions).values(operation_id=other.id))
        removing = asyncio.create_task(database.updates.discard_abandoned(NOON))
        if engine.dialect.name == "postgresql":
            await asyncio.to_thread(until_a_transaction_waits, engine)
        connection.commit()
        await removing
        assert connection.execute(select(staged_versions.c.operation_id)).scalars().all() == [other.id]
    engine.dispose()


async def all_of(index: InstanceIndex, resource: Address, as_of: int) -> list[StoredInstance]:
    found: list[StoredInstance] = []
    while page := await index.find(resource, found[-1].version if found else 0, 2, as_of=as_of):
        found += page
    return found


@pytest.mark.parametrize("resource", [study_ref(), series_ref(), identity().address])
async def test_pages_of_an_earlier_state_are_not_changed_by_updates_and_stores(
    database: Database, resource: Address
) -> None:
    index = database.instances
    before = [one for one in await stored(database, 7) if resource.instance in (None, one.id.instance)]
    state = await index.state(resource)
    assert state is not None
    as_of = state.max_version
    assert await all_of(index, resource, as_of) == before
    json = await index.metadata(resource, 0, 100, as_of)
    for number in (1, 3, 1):
        assert isinstance(await index.add_version(sample(1, 1, number), NOON), Added)
    await index.add([sample(1, 1, 99)], NOON)
    assert await all_of(index, resource, as_of) == before
    assert await index.metadata(resource, 0, 100, as_of) == json
    now = await index.state(resource)
    assert now is not None
    assert await all_of(index, resource, now.max_version) == await index.find(resource)


async def test_the_original_is_the_last_version_that_was_stored(database: Database) -> None:
    index = database.instances
    first, second = await stored(database, 2)
    assert await index.find_originals(study_ref()) == [first, second]
    assert await index.original_state(study_ref()) == ResourceState(second.version, 2)
    for origin in (VersionOrigin.UPDATED, VersionOrigin.REVERTED, VersionOrigin.UPDATED):
        await index.add_version(sample(id=first.id, provenance=Provenance(origin=origin)), NOON)
    assert await index.find_originals(study_ref()) == [first, second]
    assert await index.find_originals(series_ref(), first.version, 1) == [second]
    assert await index.find_originals(first.id.address) == [first]
    assert await index.original_state(study_ref()) == ResourceState(second.version, 2)
    await index.add_version(sample(id=first.id, provenance=Provenance(origin=VersionOrigin.REPLACED)), NOON)
    [_, replacement] = await index.find_originals(study_ref())
    assert replacement.version == (await index.find(first.id.address))[0].version
    assert await index.original_state(study_ref(5)) is None


async def test_instances_whose_metadata_is_large_are_read_and_applied_in_small_pages(
    database: Database, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_PAGE_BYTES", 20)  # two instances of `stored`
    some = await stored(database, 5)
    after, pages = 0, []
    while page := await database.updates.contents(study_ref(1), after, 250):
        pages.append([content.stored.version for content in page])
        after = pages[-1][-1]
    assert pages == [[one.version for one in part] for part in (some[:2], some[2:4], some[4:])]
    await staged(database, some)
    assert await apply(database) == Applied(5)
    assert {one.locator for one in await database.instances.find(study_ref(1))} == {
        f"new-{one.locator}" for one in some
    }
