"""The audit trail on an object store (server/adapters/blobs/object_records/audit_*.py).

What it has in common with that of local files is tested there.
"""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.adapters.blobs.audit_trail import keys
from server.adapters.blobs.object_records import audit_checkpoints, audit_writer
from server.adapters.blobs.objects.client import NotFound, ObjectClient
from server.model.audit.trail import AuditTrailSettings, FindingKind
from server.model.errors import DicomStoreError, Reason, Unavailable
from server.ports.audit import WrongAuditKey
from tests.unit.server.adapters.blobs.object_records.nodes import Node

LOGS = "audit/writers/"
CHECKPOINTS = "audit/checkpoints/"


@pytest.fixture
def client() -> ObjectClient:
    return ObjectClient("memory:")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "key.pem"


def record(number: int) -> bytes:
    return json.dumps({"kind": "executed", "request": number}).encode()


def names(client: ObjectClient, prefix: str = LOGS) -> list[str]:
    return [one.name for one in client.names(prefix) if one.size_bytes]


def requests(client: ObjectClient, **limits: str) -> list[int]:
    found = [json.loads(stored.data) for stored in Node(client).trail.records(**limits)]
    return [values["request"] for values in found if values["kind"] == "executed"]


def findings(client: ObjectClient, **options: str) -> list[FindingKind]:
    return [finding.kind for finding in Node(client).trail.verify(**options).findings]


async def write(client: ObjectClient, key_file: Path, *numbers: int, **settings: Any) -> None:
    """Write records, each in an object of its own, in a process that ends."""
    node = Node(client)
    async with node.trail.open(AuditTrailSettings(key_file, **settings)) as log:
        for number in numbers:
            await log.append_durably(record(number))
    node.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another thread changes the objects
            await asyncio.sleep(0.01)


async def test_durable_records_are_readable_when_their_append_returns(client: ObjectClient, key_file: Path) -> None:
    node = Node(client)
    async with node.trail.open(AuditTrailSettings(key_file)) as log:
        for number in range(3):
            await log.append_durably(record(number))
            assert requests(client) == list(range(number + 1))
        log.append(record(3))
    assert requests(client) == [0, 1, 2, 3]
    assert findings(client) == []


async def test_records_that_wait_at_the_same_time_are_one_object(client: ObjectClient, key_file: Path) -> None:
    node = Node(client)
    async with node.trail.open(AuditTrailSettings(key_file)) as log:
        await asyncio.gather(*(log.append_durably(record(number)) for number in range(200)))
        assert len(names(client)) <= 3
    assert len(names(client)) == 1
    assert requests(client) == list(range(200))


async def test_objects_are_joined_by_their_number_and_at_the_end(
    client: ObjectClient, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "_JOINED_OBJECTS", 4)
    node = Node(client)
    async with node.trail.open(AuditTrailSettings(key_file)) as log:
        for number in range(10):
            await log.append_durably(record(number))
        assert len(names(client)) == 4
        assert requests(client) == list(range(10))
        assert findings(client) == []
    assert len(names(client)) == 3
    assert requests(client) == list(range(10))
    assert findings(client) == []


async def test_records_of_several_processes_are_merged_by_time(client: ObjectClient, key_file: Path) -> None:
    settings = AuditTrailSettings(key_file)
    nodes = [Node(client, ends_others=False) for _ in range(2)]
    async with nodes[0].trail.open(settings) as first, nodes[1].trail.open(settings) as second:
        for number in range(10):
            await (first, second)[number % 2].append_durably(record(number))
        assert requests(client) == list(range(10))
    stored = [one.time for one in Node(client).trail.records() if b'"request":' in one.data]
    assert requests(client, start=stored[5]) == [5, 6, 7, 8, 9]
    assert requests(client, end=stored[5]) == [0, 1, 2, 3, 4]
    assert findings(client) == []


TAMPERING = {
    "change a record": (lambda text: text.replace(b'"request": 1', b'"request": 7'), FindingKind.RECORD_CHANGED),
    "cut off the last record": (lambda text: text[: text[:-1].rfind(b"\n") + 1], FindingKind.RECORDS_MISSING),
    "append bytes": (lambda text: text + b"{}", FindingKind.RECORD_CHANGED),
    "remove": (None, FindingKind.WRITER_MISSING),
}


@pytest.mark.parametrize("change", TAMPERING)
async def test_a_change_of_sealed_records_is_found(client: ObjectClient, key_file: Path, change: str) -> None:
    await write(client, key_file, 0, 1, 2)
    [name] = names(client)
    apply, expected = TAMPERING[change]
    if apply is None:
        client.delete([name])
    else:
        client.put(name, apply(client.get(name)[0]))
    assert expected in findings(client)


async def test_an_object_whose_name_does_not_fit_its_records_is_found(client: ObjectClient, key_file: Path) -> None:
    await write(client, key_file, 0, 1, 2)
    [name] = names(client)
    content, _ = client.get(name)
    client.delete([name])
    client.put(f"{name[:-27]}2099{name[-23:]}", content)  # the year
    client.put(f"{name.rpartition('/')[0]}/copy", b"")
    assert findings(client) == [FindingKind.UNKNOWN_FILE] * 2


class StoppableClient(ObjectClient):
    """A client with the objects of another one. After `stop` it changes nothing more, as if its process was killed."""

    def __init__(self, other: ObjectClient) -> None:
        super().__init__("memory:")
        self._opened, self._pid = {False: other._library()[1]}, os.getpid()
        self._is_stopped = False

    def stop(self) -> None:
        self._is_stopped = True

    def run(self, operation: str, work: Callable[[], Any], *, sent_bytes: int = 0) -> Any:
        if self._is_stopped:
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The process was killed.")
        return super().run(operation, work, sent_bytes=sent_bytes)


async def test_the_records_of_a_killed_process_are_sealed_by_another(client: ObjectClient, key_file: Path) -> None:
    client.create("first", b"")
    of_killed = StoppableClient(client)
    async with Node(of_killed).trail.open(AuditTrailSettings(key_file)) as log:
        for number in range(5):
            await log.append_durably(record(number))
        of_killed.stop()
    assert requests(client) == [0, 1, 2, 3, 4]
    assert len(names(client)) == 5
    assert findings(client) == []
    await write(client, key_file, 5)
    assert findings(client) == []
    assert requests(client) == [0, 1, 2, 3, 4, 5]
    assert len(names(client)) == 2


async def test_a_process_that_counts_as_ended_cannot_add_records(client: ObjectClient, key_file: Path) -> None:
    suspended = Node(client)
    settings = AuditTrailSettings(key_file)
    async with suspended.trail.open(settings) as log:
        await log.append_durably(record(0))
        await write(client, key_file, 1)  # seals the records of the suspended one
        with pytest.raises(DicomStoreError):
            await log.append_durably(record(2))
        await log.append_durably(record(3))
    assert requests(client) == [0, 1, 3]
    assert findings(client) == []


async def test_the_retention_removes_old_objects(client: ObjectClient, key_file: Path) -> None:
    await write(client, key_file, 0, 1)
    await write(client, key_file, 2)
    node = Node(client)
    async with node.trail.open(AuditTrailSettings(key_file, retention=timedelta(0))) as log:
        await until(lambda: not names(client))
        await log.append_durably(record(3))
    assert requests(client) == [3]
    assert findings(client) == []


async def test_a_tail_returns_each_record_once_while_objects_are_joined(
    client: ObjectClient, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "_JOINED_OBJECTS", 5)
    tail, seen = Node(client).trail.tail({}), list[int]()

    def poll(limit: int = 3) -> int:
        found = [json.loads(stored.data) for stored in tail.poll(limit)]
        seen.extend(values["request"] for values in found if values["kind"] == "executed")
        return len(found)

    async with Node(client).trail.open(AuditTrailSettings(key_file)) as log:
        for number in range(23):
            await log.append_durably(record(number))
            if number % 3 == 0:
                poll()
    while poll():
        pass
    assert seen == list(range(23))
    resumed = Node(client).trail.tail(tail.positions)
    assert resumed.poll(10) == []


async def test_processes_append_to_the_list_of_checkpoints_at_the_same_time(
    client: ObjectClient, key_file: Path
) -> None:
    key = keys.load_or_create(key_file)
    lists = [Node(client).place.checkpoints(key) for _ in range(4)]

    def append(number: int) -> None:
        for entry in range(20):
            lists[number].append({"event": "checkpoint", "writer": f"{number}", "n": entry, "digest": ""})

    await asyncio.gather(*[asyncio.to_thread(append, number) for number in range(4)])
    state = Node(client).place.checkpoints().state()
    assert (state.k, {writer.n for writer in state.writers.values()}, len(state.writers)) == (81, {19}, 4)
    assert len(names(client, CHECKPOINTS)) == 81


async def test_old_checkpoints_are_joined_and_parts_continue(
    client: ObjectClient, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_checkpoints, "_JOINED_AGE", timedelta(0))
    monkeypatch.setattr(audit_checkpoints, "_JOINED_OBJECTS", 10)
    monkeypatch.setattr(audit_checkpoints, "_PART_BYTES", 5000)
    monkeypatch.setattr(audit_checkpoints, "_KEPT_PARTS", 3)
    await write(client, key_file, 0)
    noted = ""
    checkpoints = Node(client).place.checkpoints(keys.load_or_create(key_file))
    for number in range(200):
        checkpoints.append({"event": "opened", "writer": f"{number:032}"})
        checkpoints.append({"event": "closed", "writer": f"{number:032}", "n": 0, "digest": ""})
        if number == 190:
            noted = checkpoints.state().described
    await write(client, key_file, 1)
    assert len(names(client, CHECKPOINTS)) < 60
    assert Node(client).place.checkpoints().files()[0].name != "000001.list"
    assert findings(client, checkpoint=noted) == []
    assert Node(client).place.checkpoints().state().k == checkpoints.state().k
    client.delete(names(client, CHECKPOINTS)[:1])
    assert FindingKind.CHECKPOINTS_MISSING in findings(client)


async def test_a_changed_list_of_checkpoints_is_found(client: ObjectClient, key_file: Path) -> None:
    await write(client, key_file, 0)
    name = names(client, CHECKPOINTS)[2]
    text, _ = client.get(name)
    client.put(name, text.replace(b'"n":', b'"n":1'))
    assert findings(client)[0] is FindingKind.SIGNATURE_INVALID
    client.delete([name])
    assert findings(client)[0] in (FindingKind.CHECKPOINT_CHANGED, FindingKind.CHECKPOINTS_MISSING)


async def test_another_key_is_refused_until_it_is_introduced(client: ObjectClient, key_file: Path) -> None:
    await write(client, key_file, 0)
    public = Node(client).trail.public_key()
    other = key_file.with_name("other.pem")
    with pytest.raises(WrongAuditKey, match="replace-key"):
        await write(client, other, 1)
    Node(client).trail.replace_key(key_file, AuditTrailSettings(other))
    await write(client, other, 1)
    assert findings(client, trusted_key=public) == []


async def test_one_process_at_a_time_does_exclusive_work_and_processes_have_numbers(client: ObjectClient) -> None:
    node = Node(client)
    async with node.trail.exclusive("outbox") as first, node.trail.exclusive("outbox") as second:
        assert (first, second) == (True, False)
    with node.trail.process() as number:
        assert not node.trail.has_ended(number)
        assert Node(client).trail.has_ended(number)  # judged by its age
    assert node.trail.has_ended(number)
    with pytest.raises(NotFound):
        client.get(f"audit/processes/{number}")
