"""Webhooks while the processes that deliver and the receiver are killed, on both databases."""

import asyncio
import os
import random
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from dicomstore.v1.webhook_service_pb2 import CreateWebhookRequest

from server.adapters.network.addresses import PermittedAddresses
from server.adapters.sql.engine import migrate, open_database
from server.adapters.webhooks.messages import EventOrigin
from server.adapters.webhooks.sender import HttpSender
from server.domain.events.delivery import Delivery
from server.domain.events.study_events import StudyEventSource
from server.domain.lease import Lease
from server.domain.read_only import ReadOnlyState
from server.domain.sequencer import Sequencer
from server.domain.signal import Signal
from server.model.events.webhook import EventType, Webhook, WebhookFilter, new_secret
from server.ports.events.webhooks import LEASE
from tests.conftest import PostgresDatabases
from tests.contract.index.samples import NOON, sample
from tests.core import CoreClient
from tests.data import part10
from tests.databases import migrated
from tests.integration.archive_process import Event, in_a_process
from tests.integration.conftest import a_core
from tests.integration.test_webhook_service import stub_of
from tests.receiver import Received, WebhookReceiver, receiving

STUDIES = 6
INSTANCES = 8
"""Of each study."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return migrated(tmp_path / "index.db")
    databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
    return databases.url(databases.create_migrated())


def deliver(events: Connection, url: str, kill_after_s: float) -> None:
    """Do what a core does for webhooks; be killed some time after taking the lease."""
    asyncio.run(_deliver(url, kill_after_s))


async def _deliver(url: str, kill_after_s: float) -> None:
    database, holder, changed = open_database(url), secrets.token_hex(8), Signal()
    sequencer = Sequencer(database.changes)
    source = StudyEventSource(
        record=database.study_events,
        sequencer=sequencer,
        quiet=timedelta(hours=1),
        now=lambda: datetime.now(UTC),
        read_only=ReadOnlyState(),
        processed=changed.notify,
    )
    origin = EventOrigin("urn:dicomstore:test", "archive.example", has_partitions=False)
    async with HttpSender(PermittedAddresses([ip_network("127.0.0.0/8")]), origin) as sender:
        delivery = Delivery(
            webhooks=database.webhooks,
            deliveries=database.deliveries,
            sender=sender,
            holder=holder,
            now=lambda: datetime.now(UTC),
            retry=timedelta(hours=72),
            read_only=ReadOnlyState(),
            changed=changed,
            spread=lambda lowest, _: lowest / 50,
        )

        async def work() -> None:
            timer = threading.Timer(kill_after_s, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()
            await asyncio.gather(source.run(), delivery.run())

        await asyncio.gather(sequencer.run(), Lease(database.leases, LEASE, holder, seconds=0.6).run(work))


def receive(events: Connection, port: int, sequences: frozenset[int], kill_at: int) -> None:
    """Receive events until there is one of each sequence, or be killed between accepting one and the response.

    Every third request fails.
    """
    asyncio.run(_receive(events, port, sequences, kill_at))


async def _receive(events: Connection, port: int, sequences: frozenset[int], kill_at: int) -> None:
    count, missing = 0, set(sequences)

    def answer(request: Received) -> int:
        nonlocal count
        count += 1
        if count % 3 == 0:
            return 503
        facts = request.event["data"]
        events.send((facts["imageStudyInstanceUid"], facts["sequenceNumber"]))
        if 0 < kill_at <= count:
            os.kill(os.getpid(), signal.SIGKILL)
        missing.discard(facts["sequenceNumber"])
        return 200

    async with receiving(port) as receiver:
        receiver.answer = answer
        await receiver.until(lambda: not missing, seconds=200)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that is reserved for the processes of a test, of which one at a time may listen on it."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.mark.timeout(300)
async def test_killed_processes_deliver_everything_in_order_of_each_study(database_url: str, free_port: int) -> None:
    """Two processes deliver at a time; each is killed. The receiver fails every third request and is killed twice."""
    migrate(database_url)
    database = open_database(database_url)
    of_instances = WebhookFilter(frozenset({EventType.IMAGE_CREATED}))
    url = f"http://127.0.0.1:{free_port}/events"
    webhook = Webhook("0" * 16, url, (new_secret(),), "", of_instances, True, "anonymous", NOON)
    assert await database.webhooks.add(webhook, 1)
    chance = random.Random("killed")
    is_complete = asyncio.Event()

    async def processes() -> None:
        while not is_complete.is_set():
            await asyncio.to_thread(in_a_process, deliver, database_url, chance.uniform(0.2, 1.5))

    async def received() -> list[Event]:
        accepted: list[Event] = []
        for kill_at in (7, 14, 0):
            missing = frozenset(range(1, STUDIES * INSTANCES + 1)) - {sequence for _, sequence in accepted}
            assert missing
            accepted += await asyncio.to_thread(in_a_process, receive, free_port, missing, kill_at)
        return accepted

    receiver = asyncio.create_task(received())
    running = [asyncio.create_task(processes()) for _ in range(2)]
    for number in range(INSTANCES):
        await database.instances.add([sample(study, 1, number) for study in range(STUDIES)], datetime.now(UTC))
        await asyncio.sleep(0.05)
    accepted = await receiver
    is_complete.set()
    await asyncio.gather(*running)
    await database.close()
    first = list(dict.fromkeys(accepted))  # without repetitions
    assert len(first) == STUDIES * INSTANCES
    for study in {study for study, _ in first}:
        sequences = [sequence for of, sequence in first if of == study]
        assert sequences == sorted(sequences)


async def test_a_second_core_delivers_when_the_first_one_stops(tmp_path: Path, database_url: str) -> None:
    settings = {"database": database_url, "webhook_http": True, "webhook_networks": "127.0.0.1"}
    async with receiving() as receiver, a_core(tmp_path, **settings) as second:
        async with a_core(tmp_path, **settings) as first:
            await stub_of(first).CreateWebhook(CreateWebhookRequest(url=receiver.url))
            await _stored(first, receiver, 1)
        await _stored(second, receiver, 2)
    assert [event["data"]["sequenceNumber"] for event in receiver.accepted] == [1, 2]


async def _stored(core: CoreClient, receiver: WebhookReceiver, count: int) -> None:
    await core.stored(part10())
    await receiver.until(lambda: len(receiver.accepted) == count)
