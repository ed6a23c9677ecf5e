"""Marks on an object store (server/adapters/blobs/object_records/marks.py)."""

import time
from collections.abc import Callable

import pytest

from server.adapters.blobs.objects.client import ObjectClient
from server.model.archive import Mark
from tests.unit.server.adapters.blobs.object_records.nodes import Node


@pytest.fixture
def client() -> ObjectClient:
    return ObjectClient("memory:")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_mark_is_written_shortly_after_it_was_recorded(client: ObjectClient) -> None:
    node = Node(client)
    node.marks.enter()
    for version in range(1, 100):
        node.marks.record(Mark(version, 2 * version))
    until(lambda: Node(client).marks.highest() == Mark(99, 198))
    node.stop()


def test_the_last_mark_is_written_when_the_process_ends(client: ObjectClient) -> None:
    node = Node(client)
    node.marks.enter()
    node.marks.record(Mark(5, 6, 3))
    node.stop()
    assert Node(client).marks.enter() == Mark(5, 6, 3)


def test_the_highest_mark_counts_and_those_of_ended_processes_are_removed(client: ObjectClient) -> None:
    for mark in (Mark(5, 6), Mark(5, 9)):
        killed = Node(client)
        killed.marks.enter()
        killed.marks.record(mark)
        killed.marks.leave()
    unused = Node(client)
    assert unused.lease.id
    node = Node(client)
    assert node.marks.enter() == Mark(5, 9)
    assert [one.name for one in client.names("processes/")] == [f"processes/{node.lease.id}"]
    assert [one.name for one in client.names("marks/")] == [f"marks/{node.lease.id}"]


def test_an_archive_is_in_use_while_a_process_with_a_mark_runs(client: ObjectClient) -> None:
    first, second = Node(client), Node(client)
    first.marks.enter()
    assert first.marks.is_in_use()
    assert second.lease.ended([first.lease.id])
    assert not second.marks.is_in_use()


def test_a_process_that_lost_its_lease_writes_its_mark_again(client: ObjectClient) -> None:
    node, other = Node(client), Node(client)
    node.marks.enter()
    node.marks.record(Mark(5, 6))
    other.lease.ended([node.lease.id])
    other.marks.enter()
    node.lease.ended(["0" * 32])  # renews its lease, and gets another id
    until(lambda: f"marks/{node.lease.id}" in [one.name for one in client.names("marks/")])
    node.stop()
