"""The journal on an object store (server/adapters/blobs/object_records/journal.py)."""

from collections.abc import Sequence

import pytest

from server.adapters.blobs.object_records import journal as journals
from server.adapters.blobs.objects.client import ObjectClient
from tests.contract.index.samples import identity, study_ref
from tests.unit.server.adapters.blobs.object_records.nodes import Node


@pytest.fixture
def client() -> ObjectClient:
    return ObjectClient("memory:")


def nothing_referenced(locators: Sequence[str]) -> set[str]:
    return set()


def delete(node: Node, *locators: str, end: str = "committed") -> None:
    node.journal.deleted(locators)
    node.journal.prepare()
    getattr(node.journal, end)()


def objects(client: ObjectClient, kind: str = "") -> list[str]:
    return [one.name for one in client.names(f"journal/{kind}")]


def entries(client: ObjectClient) -> list[str]:
    return sorted(old for old, _ in Node(client).journal.entries())


def test_the_entries_of_a_transaction_are_durable_when_it_is_prepared(client: ObjectClient) -> None:
    node = Node(client)
    node.journal.deleted(["a"])
    assert entries(client) == []
    node.journal.prepare()
    assert entries(client) == ["a"]
    node.journal.rolled_back()
    assert entries(client) == []


def test_committed_transactions_move_to_the_history_many_at_once(
    client: ObjectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_JOINED_TRANSACTIONS", 3)
    node = Node(client)
    for name in ("a", "b", "c", "d"):
        delete(node, name)
    assert len(objects(client, "open/")) == len(objects(client, "history/")) == 1
    assert entries(client) == ["a", "b", "c", "d"]
    node.stop()
    assert (len(objects(client, "open/")), len(objects(client, "history/"))) == (0, 2)
    assert entries(client) == ["a", "b", "c", "d"]


def test_the_index_decides_about_transactions_of_a_killed_process(client: ObjectClient) -> None:
    killed = Node(client)
    delete(killed, "committed", end="ended")
    delete(killed, "not-committed", end="ended")
    for number, name in enumerate(("restored", "not-restored")):
        killed.journal.restored({name: identity(number)})
        killed.journal.prepare()
        killed.journal.ended()
    referenced = {"not-committed", "restored"}
    other = Node(client)
    other.journal.take_over(lambda locators: referenced & set(locators), set)
    assert entries(client) == ["committed"]
    assert list(other.journal.restorations()) == [("restored", identity(0))]
    assert len(objects(client)) == 1


def test_the_transactions_of_a_running_process_are_left_alone(client: ObjectClient) -> None:
    running = Node(client)
    delete(running, "a", end="ended")
    delete(running, "b")
    before = objects(client)
    running.journal.take_over(nothing_referenced, set)
    assert objects(client) == before


@pytest.mark.parametrize("at", ["create", "delete"])
def test_after_a_crash_while_objects_are_joined_each_entry_counts_once(
    client: ObjectClient, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Node(client)
    for name in ("a", "b"):
        delete(killed, name, end="ended")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    other = Node(client)
    other.lease.ended([killed.lease.id])
    with monkeypatch.context() as crash:
        crash.setattr(client, at, fail)
        with pytest.raises(KeyboardInterrupt):
            other.journal.take_over(nothing_referenced, set)
    assert entries(client) == ["a", "b"]
    Node(client).journal.take_over(nothing_referenced, set)
    assert entries(client) == ["a", "b"]
    assert len(objects(client)) == 1


def test_small_objects_of_the_history_are_joined(client: ObjectClient) -> None:
    for number in range(5):
        node = Node(client)
        delete(node, f"{number}")
        node.stop()
    assert len(objects(client)) == 5
    Node(client).journal.take_over(nothing_referenced, set)
    assert len(objects(client)) == 1
    assert entries(client) == ["0", "1", "2", "3", "4"]


def test_large_objects_are_not_joined(client: ObjectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_LARGE_BYTES", 200)
    killed = Node(client)
    for number in range(20):
        delete(killed, f"{number:040}", end="ended")
    Node(client).journal.take_over(nothing_referenced, set)
    assert 1 < len(objects(client)) < 20
    assert len(entries(client)) == 20


def test_a_suspended_process_records_again_what_was_decided_before_its_commit(client: ObjectClient) -> None:
    suspended = Node(client)
    suspended.journal.deleted(["a"])
    suspended.journal.prepare()
    Node(client).journal.take_over(set, set)  # the index still refers to it
    assert entries(client) == []
    suspended.lease.ended(["0" * 32])  # renews its lease, and gets another id
    suspended.journal.committed()
    assert entries(client) == ["a"]


def test_completed_deletions_are_forgotten(client: ObjectClient) -> None:
    first, second = Node(client), Node(client)
    for node, number in ((first, 1), (second, 2)):
        node.journal.deleted_all(number, study_ref(number))
        node.journal.prepare()
        node.journal.committed()
    second.journal.completed(1)
    second.journal.prepare()
    second.journal.committed()
    assert Node(client).journal.open_deletions().keys() == {2}
    first.stop()
    second.stop()
    Node(client).journal.take_over(nothing_referenced, lambda: {2})
    assert Node(client).journal.open_deletions().keys() == {2}
