"""The contract suite of Storage (server/ports/storage.py); `blobs.py` is the suite for its blobs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.adapters.blobs.factory import storage_of
from server.model.archive import Mark
from server.model.audit.trail import AuditTrailSettings
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName, Uid, Version
from server.model.lifecycle.expiry import Expiry
from server.model.lifecycle.hold import Hold
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.model.storage.scrub import ScrubPosition
from server.model.worklist.workitem import Workitem, WorkitemState
from server.ports.journal import ExpiryChange, HoldChange, LabelChange, OpenDeletion, WorkitemChange
from server.ports.storage import Storage
from tests.contract.blobs import all_blobs, put
from tests.contract.index.samples import identity, series_ref, study_ref


@pytest.fixture(params=["file", "memory", "several", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    place, other = ((tmp_path / name).as_uri() for name in ("a place", "another"))
    urls = {"file": (place, []), "memory": ("memory:", []), "several": (place, [other])}
    if request.param == "s3":
        urls["s3"] = request.getfixturevalue("bucket_url"), []
    storage = storage_of(*urls[request.param])
    yield storage
    storage.close()


def test_a_new_storage_has_no_identity_and_no_contents(storage: Storage) -> None:
    found = storage.identity.read()
    assert (found.id, found.is_bound, found.is_recovering, found.has_blobs, found.mark) == (
        None,
        False,
        False,
        False,
        Mark(),
    )


def test_the_last_written_identity_is_read(storage: Storage) -> None:
    with storage.identity.lock():
        storage.identity.write("an id", is_bound=False, is_recovering=True)
        found = storage.identity.read()
        assert (found.id, found.is_bound, found.is_recovering) == ("an id", False, True)
        storage.identity.write("an id", is_bound=True)
    found = storage.identity.read()
    assert (found.id, found.is_bound, found.is_recovering) == ("an id", True, False)


def test_the_requirement_of_authentication_is_kept(storage: Storage) -> None:
    with storage.identity.lock():
        storage.identity.write("an id", is_bound=True)
    assert not storage.identity.read().requires_authentication
    storage.identity.require_authentication()
    with storage.identity.lock():
        storage.identity.write("an id", is_bound=False)
    found = storage.identity.read()
    assert (found.id, found.is_bound, found.requires_authentication) == ("an id", False, True)


async def test_blobs_survive_reopening_and_the_identity_reports_them(storage: Storage) -> None:
    async with storage.blobs() as blobs:
        locator = await put(blobs, b"bytes")
        await blobs.settle([locator])
    async with storage.blobs() as blobs:
        assert await all_blobs(blobs) == {locator: 5}
    assert storage.identity.read().has_blobs


def test_the_last_recorded_mark_is_read(storage: Storage) -> None:
    with storage.identity.lock():
        assert storage.marks.enter() == Mark()
    for mark in (Mark(3, 4), Mark(5, 6)):
        storage.marks.record(mark)
    assert storage.marks.latest == storage.identity.read().mark == Mark(5, 6)
    assert storage.identity.read().has_blobs  # or had blobs


def test_the_journal_lists_blobs_of_transactions_that_committed_or_have_no_known_outcome(storage: Storage) -> None:
    journal = storage.journal
    assert list(journal.entries()) == []
    for locator, end in (("a", journal.committed), ("b", journal.rolled_back), ("c", journal.ended)):
        journal.deleted([locator])
        journal.prepare()
        end()
    journal.moved({"d": "e"})
    journal.committed()
    journal.take_over(lambda locators: [], set)
    assert list(journal.entries()) == [("a", None), ("c", None), ("d", "e")]


def test_the_journal_lists_restorations_of_transactions_that_were_not_rolled_back(storage: Storage) -> None:
    for number in (1, 2):
        storage.journal.restored({f"blob-{number}": identity(number)})
        storage.journal.prepare()
        if number == 1:
            storage.journal.committed()
        else:
            storage.journal.rolled_back()
    assert list(storage.journal.restorations()) == [("blob-1", identity(1))]


def test_the_journal_lists_versions_of_transactions_that_were_not_rolled_back(storage: Storage) -> None:
    journal = storage.journal
    by = Provenance("someone", "not this\npatient", VersionOrigin.REPLACED)
    journal.replaced({"blob-1": (Version(2), by), "blob-2": (Version(3), Provenance(origin=VersionOrigin.REVERTED))})
    journal.committed()
    journal.replaced({"blob-3": (Version(4), by)})
    journal.rolled_back()
    assert list(journal.versions()) == [
        ("blob-1", Version(2), by),
        ("blob-2", Version(3), Provenance(origin=VersionOrigin.REVERTED)),
    ]
    assert list(journal.entries()) == []


def test_the_journal_lists_deletions_of_many_instances_until_they_are_completed(storage: Storage) -> None:
    journal = storage.journal
    series, study = series_ref(1, 2), study_ref(3)
    for number, scope, end in (
        (7, series, journal.committed),
        (8, study, journal.ended),
        (9, study, journal.rolled_back),
    ):
        journal.deleted_all(number, scope)
        journal.prepare()
        end()
    journal.stored_later(8, ["new"])
    journal.committed()
    journal.completed(8)
    journal.rolled_back()
    assert journal.open_deletions() == {7: OpenDeletion(series), 8: OpenDeletion(study, {"new"})}
    of_series, of_study = journal.open_deletions().values()
    assert of_series.includes(identity(1, 2, 5), "any")
    assert not of_series.includes(identity(1, 3, 5), "any")
    assert of_study.includes(identity(3, 2, 5), "old")
    assert not of_study.includes(identity(3, 2, 5), "new")
    journal.deleted(["old"])
    journal.completed(8)
    journal.committed()
    assert journal.open_deletions().keys() == {7}
    journal.complete([7])
    assert journal.open_deletions() == {}
    assert list(journal.entries()) == [("old", None)]


async def test_one_process_scrubs_at_a_time_and_the_position_is_stored(storage: Storage) -> None:
    with storage.identity.lock():
        pass  # creates the record
    scrub = storage.scrub
    assert await scrub.load() is None
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with scrub.held() as is_held, scrub.held() as is_held_twice:
        assert (is_held, is_held_twice) == (True, False)
        for position in (ScrubPosition(noon, 17, None), ScrubPosition(noon, None, noon)):
            await scrub.save(position)
            assert await scrub.load() == position
    async with scrub.held() as is_held:
        assert is_held


async def test_audit_records_survive_reopening_and_can_be_verified(storage: Storage, tmp_path: Path) -> None:
    settings = AuditTrailSettings(key_file=tmp_path / "key.pem")
    for _ in range(2):
        async with storage.audit.open(settings) as log:
            await log.append_durably(b'{"kind":"executed"}')
    assert [record.data.endswith(b'"kind":"executed"}') for record in storage.audit.records()].count(True) == 2
    assert storage.audit.verify().findings == ()


def test_the_journal_lists_changes_of_labels_of_transactions_that_were_not_rolled_back(storage: Storage) -> None:
    journal = storage.journal
    at = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
    changes = [
        LabelChange(7, at, study_ref(1), {"project": "lung ä", "empty": ""}),
        LabelChange(8, at, identity(1, 1, 1).address, {}),
    ]
    for change, end in ((changes[0], journal.committed), (LabelChange(9, at, study_ref(2), {}), journal.rolled_back)):
        journal.labelled(*change)
        journal.prepare()
        end()
    journal.labelled(*changes[1])
    journal.ended()
    assert list(journal.label_changes()) == changes
    journal.take_over(lambda locators: [], set)
    assert list(journal.label_changes()) == changes


def test_a_journal_lists_what_it_has_absorbed_from_that_of_another_store_instead_of_it(storage: Storage) -> None:
    other = storage_of("memory:")
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    by = Provenance("someone", "a reason", VersionOrigin.UPDATED)
    hold = Hold(study_ref(1), "trial", "a reason", "someone", at)
    workitem = Workitem(Uid("1.2"), WorkitemState.IN_PROGRESS, "a digest", '{"00741204":{"vr":"LO"}}', (), at)
    for number in range(2):
        other.journal.deleted(["a", "b"])
        other.journal.moved({"c": "d"})
        other.journal.restored({"a": identity(1)})
        other.journal.replaced({"e": (Version(7), by)})
        other.journal.labelled(8, at, study_ref(1), {"project": "lung"})
        other.journal.held(HoldChange(9, study_ref(1), "trial", hold))
        for expiry in (Expiry(at, "someone", at), None):
            other.journal.expires(ExpiryChange(9, at, study_ref(1), expiry))
        other.journal.workitem_changed(WorkitemChange(9, DEFAULT_PARTITION, Uid("1.2"), workitem))
        other.journal.workitem_changed(WorkitemChange(10, DEFAULT_PARTITION, Uid("1.3"), None))
        other.journal.deleted_all(10 + number, study_ref(3))
        other.journal.deleted_all(20 + number, Address(PartitionName("ward")))
        other.journal.stored_later(10 + number, ["f"])
        other.journal.committed()
    for number in (10, 20):
        other.journal.completed(number)
    other.journal.committed()
    storage.journal.deleted(["z"])
    storage.journal.prepare()
    storage.journal.committed()
    for _ in range(2):
        storage.journal.absorb("0000000a", other.journal)
        storage.journal.absorb("", storage_of("memory:").journal)
        storage.journal.take_over(lambda locators: [], lambda: {11, 21})
    found = storage.journal
    assert sorted(found.entries(), key=str) == sorted([("z", None), *other.journal.entries()], key=str)
    assert list(found.restorations()) == list(other.journal.restorations()) == [("a", identity(1))] * 2
    assert list(found.versions()) == list(other.journal.versions())
    assert list(found.label_changes()) == list(other.journal.label_changes())
    assert list(found.hold_changes()) == list(other.journal.hold_changes())
    assert list(found.expiry_changes()) == list(other.journal.expiry_changes())
    assert list(found.expiry_changes())[-1] == ExpiryChange(9, at, study_ref(1), None)
    changes = list(found.workitem_changes())
    assert [change.workitem for change in changes] == [workitem, None] * 2
    assert changes == list(other.journal.workitem_changes())
    assert found.deleted_partitions() == {"ward": 21}
    assert found.open_deletions() == {
        11: OpenDeletion(study_ref(3), {"f"}),
        21: OpenDeletion(Address(PartitionName("ward"))),
    }


def test_the_records_of_a_further_store_are_kept_by_the_primary_one(tmp_path: Path) -> None:
    old, new = ((tmp_path / name).as_uri() for name in ("old", "new"))
    before = storage_of(old)
    with before.identity.lock():
        before.identity.write("an id", is_bound=True)
    before.identity.require_authentication()
    before.journal.deleted(["a", "b"])
    before.journal.deleted_all(5, study_ref(1))
    before.journal.prepare()
    before.journal.committed()
    before.close()
    both = storage_of(new, [old])
    with both.identity.lock():
        both.identity.write("an id", is_bound=True)
    both.journal.completed(5)
    both.journal.restored({"a": identity(1)})
    both.journal.prepare()
    both.journal.committed()
    assert both.journal.open_deletions() == {}
    for _ in range(2):
        both.gather_records()
        assert sorted(both.journal.entries()) == [("a", None), ("b", None)]
    both.close()
    alone = storage_of(new)
    assert sorted(alone.journal.entries()) == [("a", None), ("b", None)]
    assert list(alone.journal.restorations()) == [("a", identity(1))]
    assert alone.journal.open_deletions() == {}
    assert alone.identity.read().requires_authentication
    alone.close()
    back = storage_of(old, [new])  # and back again: nothing is read twice
    assert sorted(back.journal.entries()) == [("a", None), ("b", None)]
    back.close()
