"""Leases of processes and locks on an object store (server/adapters/blobs/objects/lease.py, locks.py)."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from server.adapters.blobs.objects.client import ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease, Timing
from server.adapters.blobs.objects.locks import ObjectLock
from server.model.errors import Unavailable

OLD = Timing(renew=60, trusted=60, ended=-1, granularity=0)  # every other lease is old
FAST = Timing(renew=0.05, trusted=60, ended=0.5, granularity=0)


@pytest.fixture
def client() -> ObjectClient:
    return ObjectClient("memory:")


@pytest.fixture
def new(client: ObjectClient) -> Iterator[Callable[..., ProcessLease]]:
    """Returns the lease of another process."""
    leases = []

    def create(timing: Timing = FAST, **options: Callable[[], float]) -> ProcessLease:
        leases.append(ProcessLease(client, timing=timing, **options))
        return leases[-1]

    yield create
    for lease in leases:
        lease.leave()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_process_keeps_its_id_while_it_renews_its_lease(new: Callable[..., ProcessLease]) -> None:
    first, second = new(), new()
    id_ = first.id
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        assert second.ended([id_]) == set()
        time.sleep(0.05)
    assert first.id == id_
    assert first.holds(id_)
    assert first.exists(id_)


def test_a_process_that_left_or_is_unknown_has_ended(new: Callable[..., ProcessLease]) -> None:
    first, second = new(), new()
    id_ = first.id
    assert second.ended([id_, "0" * 32, second.id]) == {"0" * 32}
    first.leave()
    assert second.ended([id_, second.id]) == {id_}
    assert not second.exists(id_)


def test_a_process_whose_lease_was_ended_gets_another_id(new: Callable[..., ProcessLease]) -> None:
    suspended, other = new(Timing(renew=0.05, trusted=60, ended=60)), new(OLD)
    id_ = suspended.id
    assert other.ended([id_]) == {id_}
    end = time.monotonic() + 10
    while suspended.holds(id_) and time.monotonic() < end:
        time.sleep(0.02)
    with pytest.raises(Unavailable):
        suspended.require(id_)
    assert suspended.id != id_
    suspended.require(suspended.id)
    assert other.ended([id_]) == {id_}


def test_a_process_trusts_its_lease_for_a_limited_time(new: Callable[..., ProcessLease]) -> None:
    clock = Clock()
    lease = new(Timing(renew=3600, trusted=15), now=clock)
    id_ = lease.id
    clock.now += 14
    lease.require(id_)
    clock.now += 2
    with pytest.raises(Unavailable, match="lease"):
        lease.require(id_)
    assert lease.id == id_  # renewed meanwhile
    lease.require(id_)


def test_whether_a_process_runs_is_known_when_it_renews_its_lease_or_the_lease_is_old(
    new: Callable[..., ProcessLease],
) -> None:
    killed, running, other = new(FAST._replace(renew=60)), new(), new()
    assert other.running([killed.id, "0" * 32]) == set()
    assert other.running([running.id]) == {running.id}
    assert other.running([other.id]) == {other.id}


def test_one_process_holds_a_lock_and_one_user_in_it(client: ObjectClient, new: Callable[..., ProcessLease]) -> None:
    first, second = new(), new()
    token = ObjectLock(client, first, "name").acquire()
    assert token is not None
    assert ObjectLock(client, first, "name").acquire() is None
    assert ObjectLock(client, second, "name").acquire() is None
    assert ObjectLock(client, second, "another").acquire() is not None
    ObjectLock(client, first, "name").release(token)
    assert ObjectLock(client, second, "name").acquire() is not None


def test_a_lock_ends_with_the_lease_of_its_process(client: ObjectClient, new: Callable[..., ProcessLease]) -> None:
    first, second = new(), new()
    assert ObjectLock(client, first, "name").acquire() is not None
    first.leave()
    assert ObjectLock(client, second, "name").acquire() is not None


def test_processes_wait_for_a_lock(bucket_url: str) -> None:
    leases = [ProcessLease(ObjectClient(bucket_url)) for _ in range(4)]
    inside, most, count = 0, 0, 0

    def work(lease: ProcessLease) -> None:
        nonlocal inside, most, count
        with ObjectLock(ObjectClient(bucket_url), lease, "name").held():
            inside += 1
            most, count = max(most, inside), count + 1
            time.sleep(0.05)
            inside -= 1

    threads = [threading.Thread(target=work, args=[lease]) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, count) == (1, 4)
    for lease in leases:
        lease.leave()
    assert [one.name for one in ObjectClient(bucket_url).names("processes/")] == []
