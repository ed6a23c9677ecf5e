"""The records of an archive in buckets of real servers: versitygw for S3, Azurite for Azure Blob Storage."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from server.adapters.blobs.factory import storage_of
from server.adapters.blobs.object_records.conditions import require_conditional_writes
from server.adapters.blobs.objects.client import ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease, Timing
from server.adapters.blobs.objects.locks import ObjectLock
from server.ports.storage import Storage
from tests.contract import test_storage as contract
from tests.contract.index.samples import identity
from tests.object_store import ObjectStore, running_azurite, running_versitygw

test_audit_records_can_be_verified = contract.test_audit_records_survive_reopening_and_can_be_verified
test_one_process_scrubs = contract.test_one_process_scrubs_at_a_time_and_the_position_is_stored
test_the_journal = contract.test_the_journal_lists_blobs_of_transactions_that_committed_or_have_no_known_outcome
test_the_last_recorded_mark = contract.test_the_last_recorded_mark_is_read
test_the_requirement_of_authentication = contract.test_the_requirement_of_authentication_is_kept


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(running_versitygw, id="versitygw", marks=pytest.mark.clients("versitygw")),
        pytest.param(running_azurite, id="azurite", marks=pytest.mark.clients("azurite")),
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    with request.param() as server:
        yield server


@pytest.fixture
def url(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.bucket()


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    storage = storage_of(url)
    yield storage
    storage.close()


def test_conditional_writes_are_supported(url: str) -> None:
    require_conditional_writes(ObjectClient(url))


def test_a_process_that_counts_as_ended_loses_its_lease_its_locks_and_its_journal(url: str) -> None:
    with ExitStack() as stack:
        killed = ProcessLease(ObjectClient(url), timing=Timing(renew=3600, trusted=3600))
        stack.callback(killed.leave)
        id_ = killed.id
        assert ObjectLock(ObjectClient(url), killed, "name").acquire() is not None
        judge = ProcessLease(ObjectClient(url), timing=Timing(ended=-2, granularity=0))
        stack.callback(judge.leave)
        assert judge.ended([id_]) == {id_}
        assert ObjectLock(ObjectClient(url), judge, "name").acquire() is not None
        killed.ended(["0" * 32])
        assert killed.id != id_


def test_the_journal_is_taken_over(url: str, tmp_path: Path) -> None:
    first, second = storage_of(url), storage_of(url)
    first.journal.restored({"blob": identity(1)})
    first.journal.prepare()
    first.close()  # without an outcome of the transaction
    second.journal.take_over(lambda locators: {"blob"}, set)
    assert list(second.journal.restorations()) == [("blob", identity(1))]
    second.close()
