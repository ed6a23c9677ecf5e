"""Two nodes with data directories of their own share PostgreSQL and the blobs, and either may end at any time."""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from server.adapters.blobs.factory import storage_at
from tests.conftest import PostgresDatabases
from tests.data import SECONDARY_CAPTURE, new_uid, part10
from tests.e2e.nodes import Node, running_nodes
from tests.integration.facade.serving import parts_of
from tests.receiver import WebhookReceiver, receiving

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

STORE = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
JSON = {"Accept": "application/dicom+json"}
TAKEN_OVER_SECONDS = 60
"""Limit of waiting in tests, on a busy machine. A node takes over within 12 seconds."""


@pytest.fixture
def database(postgres_databases: PostgresDatabases) -> Iterator[str]:
    name = postgres_databases.create()
    yield postgres_databases.url(name)
    postgres_databases.drop(name)


async def until(
    condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = TAKEN_OVER_SECONDS
) -> None:
    """Wait until a coroutine function returns something true."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        await asyncio.sleep(0.1)


class World:
    """Requests to one node."""

    def __init__(self, node: Node, receiver: WebhookReceiver, http: httpx.AsyncClient) -> None:
        self.node = node
        self.receiver = receiver
        self.http = http

    async def store(self, study: str, partition: str = "Microsoft.Default", rows: int = 1) -> str:
        instance = new_uid()
        body = part10(
            StudyInstanceUID=study, SOPInstanceUID=instance, Rows=rows, Columns=1000, frames=[b"0" * 1000 * rows]
        )
        answer = await self.http.post(f"/partitions/{partition}/studies", content=body, headers=STORE)
        assert answer.status_code == 200, answer.text
        return instance

    async def exists(self, study: str, partition: str = "Microsoft.Default") -> bool:
        answer = await self.http.get(f"/partitions/{partition}/studies?StudyInstanceUID={study}", headers=JSON)
        assert answer.status_code in (200, 204), answer.text
        return answer.status_code == 200

    async def changes(self) -> list[dict[str, Any]]:
        answer = await self.http.get("/changefeed?limit=200&includemetadata=false")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    async def every_kind_of_background_work(self, name: str) -> None:
        """Cause each kind of work that one node at a time does, and wait until it is done."""
        default = "/partitions/Microsoft.Default/studies"
        kept, expiring, erased = new_uid(), new_uid(), new_uid()
        instance = await self.store(kept, rows=70)
        await self.store(expiring)
        await self.store(erased)
        await self.store(new_uid(), partition=f"ward-{name}")
        expires = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        assert (await self.http.put(f"{default}/{expiring}/expiry", json={"expires": expires})).status_code == 200
        assert (await self.http.delete(f"{default}/{erased}?erase=now")).status_code == 204
        assert (await self.http.delete(f"/partitions/ward-{name}")).status_code == 204
        reference = {
            "00081150": {"vr": "UI", "Value": [SECONDARY_CAPTURE]},
            "00081155": {"vr": "UI", "Value": [instance]},
        }
        commitment = f"/partitions/Microsoft.Default/commitment-requests/{new_uid()}"
        many = {"00081199": {"vr": "SQ", "Value": [reference] * 201}}  # more than are verified at once
        accepted = await self.http.post(
            commitment, json=many, headers={"Content-Type": "application/dicom+json", **JSON}
        )
        assert accepted.status_code == 202, accepted.text

        async def is_committed() -> bool:
            return (await self.http.get(commitment, headers=JSON)).status_code == 200

        async def has_expired() -> bool:
            return not await self.exists(expiring)

        async def is_numbered() -> bool:
            return {entry["action"] for entry in await self.changes() if entry["studyInstanceUid"] == expiring} == {
                "Create",
                "Delete",
            }

        async def is_erased() -> bool:
            ended = [record for record in self.audited("erase") if record["kind"] == "executed"]
            return any(erased in json.dumps(record) for record in ended)

        async def is_announced() -> bool:
            return any(event["data"].get("imageStudyInstanceUid") == kept for event in self.receiver.accepted)

        async def partition_is_empty() -> bool:
            entries = await self.changes()
            return any(entry["partitionName"] == f"ward-{name}" and entry["action"] == "Delete" for entry in entries)

        await until(is_committed, "storage commitment")
        await until(has_expired, "expiry")
        await until(is_numbered, "change feed")
        await until(is_erased, "erasure")
        await until(is_announced, "webhook")
        await until(partition_is_empty, "deletion of the studies of a partition")

    def audited(self, subtype: str) -> list[dict[str, Any]]:
        """Return the records of a kind of work in the audit trail."""
        with closing(storage_at(self.node.environment["DICOMSTORE_BLOBS"])) as storage:
            records = [json.loads(record.data) for record in storage.audit.records()]
        return [record for record in records if record.get("subtype") == subtype]


async def test_a_node_takes_over_the_background_work_of_a_suspended_and_of_a_killed_one(
    tmp_path: Path, database: str
) -> None:
    settings = {
        "partitions": "true",
        "webhook_http": "true",
        "webhook_networks": "127.0.0.0/8",
        "erase_interval_seconds": "3600",
    }
    async with receiving() as receiver:
        with running_nodes(tmp_path, database, **settings) as (first, second):
            async with httpx.AsyncClient(base_url=f"{second.http}/v2", timeout=30) as http:
                world = World(second, receiver, http)
                created = await http.post("/webhooks", json={"url": receiver.url, "label": "router"})
                assert created.status_code == 201, created.text
                await world.every_kind_of_background_work("done-by-another-node")
                first.send(signal.SIGSTOP)
                await world.every_kind_of_background_work("taken-over")
            first.send(signal.SIGCONT)
            second.send(signal.SIGKILL)
            async with httpx.AsyncClient(base_url=f"{first.http}/v2", timeout=30) as http:
                world = World(first, receiver, http)
                await world.every_kind_of_background_work("taken-back")
                entries = await world.changes()
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
    assert set(Counter((entry["sopInstanceUid"], entry["action"]) for entry in entries).values()) == {1}
    begun = [record for record in world.audited("erase") if record["kind"] == "executing"]
    assert set(Counter(json.dumps(one) for record in begun for one in record["erased"]).values()) == {1}


REQUESTS = 1000
SENDERS = 8


async def test_a_node_is_killed_during_a_thousand_store_requests(tmp_path: Path, database: str) -> None:
    """What was acknowledged is there, byte for byte, and nothing is half there. A load balancer would do what the
    senders do: try the other node."""
    with running_nodes(tmp_path, database) as (first, second):
        senders = [_Sender(number, [first.http, second.http], [first, second]) for number in range(SENDERS)]
        sending = asyncio.gather(*(sender.run(REQUESTS // SENDERS) for sender in senders))

        async def is_under_way() -> bool:
            return sum(len(sender.acknowledged) for sender in senders) > REQUESTS // 3

        await until(is_under_way, "a third of the requests", seconds=200)
        first.send(signal.SIGKILL)
        await sending
        acknowledged = {uid: body for sender in senders for uid, body in sender.acknowledged.items()}
        assert len(acknowledged) == REQUESTS
        assert any(sender.failures for sender in senders)
        async with httpx.AsyncClient(base_url=f"{second.http}/v2", timeout=60) as http:
            listed: set[str] = set()
            while True:
                query = f"/instances?limit=200&offset={len(listed)}"
                page = await http.get(query, headers=JSON)
                if page.status_code == 204:
                    break
                listed |= {match["00080018"]["Value"][0] for match in page.json()}
            assert listed == acknowledged.keys()
            for sender in senders:
                answer = await http.get(f"/studies/{sender.study}", headers={"Accept": _ALL_BYTES})
                found = {body for _, body in parts_of(answer)}
                assert found == set(sender.acknowledged.values())
        checks = json.loads(second.run("server", "check", "--deep").stdout)["checks"]
        assert {check["name"]: check["status"] for check in checks}["agreement"] == "ok"
        assert not [check for check in checks if check["status"] == "failed"]


_ALL_BYTES = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class _Sender:
    """Stores instances of one study, one after the other; a request that fails is repeated at another node."""

    def __init__(self, number: int, urls: list[str], nodes: list[Node]) -> None:
        self.study = new_uid()
        self.acknowledged: dict[str, bytes] = {}
        self.failures = 0
        self._urls = urls if number % 2 else urls[::-1]

    async def run(self, count: int) -> None:
        async with httpx.AsyncClient(timeout=60) as http:
            for number in range(count):
                uid = new_uid()
                rows = 1200 if number % 50 == 0 else 10  # the larger ones have a file of their own
                image = {"Rows": rows, "Columns": 1000, "frames": [random.randbytes(1000 * rows)]}
                body = part10(StudyInstanceUID=self.study, SOPInstanceUID=uid, **image)
                while not await self._is_stored(http, body):
                    self.failures += 1
                    self._urls.reverse()
                self.acknowledged[uid] = body

    async def _is_stored(self, http: httpx.AsyncClient, body: bytes) -> bool:
        try:
            answer = await http.post(f"{self._urls[0]}/v2/studies", content=body, headers=STORE)
        except httpx.TransportError:
            return False
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200


async def test_a_worker_continues_the_operation_of_a_killed_one(tmp_path: Path, database: str) -> None:
    with running_nodes(tmp_path, database) as (first, second):
        async with httpx.AsyncClient(base_url=f"{second.http}/v2", timeout=30) as http:
            for _ in range(3):
                assert (await http.post("/studies", content=part10(Manufacturer="A"), headers=STORE)).status_code == 200
            first.start_worker()
            second.start_worker()
            with psycopg.connect(make_url(database).set(drivername="postgresql").render_as_string(False)) as locking:

                async def both_look() -> bool:
                    with locking.transaction():
                        row = locking.execute(_WORKERS).fetchone()
                    return row is not None and row[0] == 2

                await until(both_look, second.log)
                # The step cannot write, so it is interrupted.
                locking.execute("LOCK TABLE extended_query_tag_values IN EXCLUSIVE MODE")
                added = await http.post("/extendedquerytags", json=[{"path": "00080070", "level": "Series"}])
                assert added.status_code == 202, added.text
                operation = added.headers["location"].rpartition("/")[2]

                async def executor() -> str:
                    row = locking.execute(_EXECUTOR, (f"{operation}%",)).fetchone()
                    return row[0] if row else ""

                await until(executor, "operation")
                killed, survivor = (first, second) if str(first.data) in await executor() else (second, first)
                assert str(killed.data) in await executor()
                killed.send(signal.SIGKILL, "worker")

            async def has_succeeded() -> bool:
                found = await http.get(f"/operations/{operation}")
                return bool(found.json()["status"] == "succeeded")

            # An operation without progress whose worker runs would be restarted after 60 s.
            await until(has_succeeded, survivor.log, seconds=45)
            assert "its worker has ended" in survivor.log()


_EXECUTOR = (
    "SELECT executor_id FROM dicomstore_operations.workflow_status WHERE workflow_uuid LIKE %s AND status = 'PENDING'"
)

_WORKERS = "SELECT count(*) FROM leases WHERE name LIKE 'operations-worker %'"
