"""Delivery of events to webhooks on both databases, with an injected clock (docs/events.md)."""

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from common.telemetry.tracing import Span, recorded, sampler_of
from server.adapters.network.addresses import PermittedAddresses
from server.adapters.sql.engine import Database, open_database
from server.adapters.webhooks.messages import EventOrigin
from server.adapters.webhooks.sender import HttpSender
from server.domain.events.delivery import DOWN_AFTER, Delivery, Receiver
from server.domain.events.study_events import StudyEventSource
from server.domain.read_only import ReadOnlyState
from server.domain.sequencer import Sequencer
from server.domain.signal import Signal
from server.model.events.webhook import EventPosition, EventType, Webhook, WebhookFilter, new_secret
from server.model.ids import Address, PartitionName
from server.ports.events.webhooks import LEASE
from tests.contract.index.samples import NOON, identity, sample, uid
from tests.contract.index.sequenced import sequence
from tests.receiver import Received, WebhookReceiver, receiving

ORIGIN = EventOrigin("urn:dicomstore:test", "archive.example", has_partitions=False)
LOOPBACK = PermittedAddresses([ip_network("127.0.0.0/8")])
HOLDER = "this process"
OF_INSTANCES = WebhookFilter(frozenset({EventType.IMAGE_CREATED, EventType.IMAGE_UPDATED, EventType.IMAGE_DELETED}))


@dataclass
class World:
    """An index with webhooks, a clock, and what a process does for them."""

    database: Database
    sender: HttpSender
    holder: str = HOLDER
    now: datetime = NOON

    async def store(self, *studies: int, count: int = 1) -> None:
        """Store new instances, each in a transaction."""
        for study in studies:
            for _ in range(count):
                await self.database.instances.add([sample(study, 1, random.getrandbits(40))], self.now)

    async def webhook(self, url: str, chosen: WebhookFilter = OF_INSTANCES, secret: str = "") -> Webhook:
        """Register a webhook."""
        number = len(await self.database.webhooks.list()) + 1
        secrets = (secret or new_secret(),)
        webhook = Webhook(f"{number:016x}", url, secrets, "", chosen, True, "anonymous", self.now)
        assert await self.database.webhooks.add(webhook, 100)
        return webhook

    async def process(self) -> None:
        """Process the change feed as a core does."""
        await sequence(self.database.changes)
        sequencer = Sequencer(self.database.changes)
        source = StudyEventSource(
            record=self.database.study_events,
            sequencer=sequencer,
            quiet=timedelta(minutes=1),
            now=lambda: self.now,
            read_only=ReadOnlyState(),
        )
        running = asyncio.create_task(sequencer.run())
        while await source.process():
            pass
        running.cancel()

    def delivery(self, retry: timedelta = timedelta(hours=72)) -> Delivery:
        return Delivery(
            webhooks=self.database.webhooks,
            deliveries=self.database.deliveries,
            sender=self.sender,
            holder=self.holder,
            now=lambda: self.now,
            retry=retry,
            read_only=ReadOnlyState(),
            changed=Signal(),
            spread=lambda _, highest: highest,
        )

    async def receiver(self, webhook: Webhook, **options: Any) -> Receiver:
        """Return the delivery to a webhook, as it begins when a process takes the lease."""
        found = await self.database.webhooks.find(webhook.id)
        assert found is not None
        return self.delivery(**options).receiver(found)

    async def deliver(self, receiver: Receiver) -> None:
        """Deliver until nothing is left that could be tried now."""
        while await receiver.send_new() or await receiver.send_again():
            pass

    async def backlog(self, webhook: Webhook) -> tuple[int, int]:
        found = (await self.database.webhooks.backlogs()).get(webhook.id)
        return (found.waiting, found.dead) if found else (0, 0)


@pytest.fixture
async def world(index_url: str) -> AsyncIterator[World]:
    database = open_database(index_url)
    await database.leases.take(LEASE, HOLDER, None)
    async with HttpSender(LOOPBACK, ORIGIN, seconds=5) as sender:
        yield World(database, sender)
    await database.close()


def ids(receiver: WebhookReceiver) -> list[int]:
    return [event["data"]["sequenceNumber"] for event in receiver.accepted]


def by_study(receiver: WebhookReceiver) -> dict[str, list[int]]:
    """Return the sequences of accepted events by study, without repetitions."""
    found: dict[str, list[int]] = {}
    for event in receiver.accepted:
        sequences = found.setdefault(event["data"]["imageStudyInstanceUid"], [])
        if event["data"]["sequenceNumber"] not in sequences:
            sequences.append(event["data"]["sequenceNumber"])
    return found


async def test_events_are_cloud_events_with_the_attributes_of_azures_service(world: World) -> None:
    async with receiving() as receiver:
        webhook = await world.webhook(receiver.url, WebhookFilter())
        await world.database.instances.add([sample(1, 2, 3)], NOON)
        world.now += timedelta(hours=1)
        await world.process()
        await world.deliver(await world.receiver(webhook))
    created, stable = receiver.accepted
    path = f"archive.example/v1/studies/{uid(1)}"
    assert created == {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:dicomstore:test",
        "type": "Microsoft.HealthcareApis.DicomImageCreated",
        "subject": f"{path}/series/{uid(1, 2)}/instances/{uid(1, 2, 3)}",
        "time": "2026-03-01T12:00:00Z",
        "datacontenttype": "application/json",
        "data": {
            "imageStudyInstanceUid": uid(1),
            "imageSeriesInstanceUid": uid(1, 2),
            "imageSopInstanceUid": uid(1, 2, 3),
            "serviceHostName": "archive.example",
            "sequenceNumber": 1,
        },
    }
    assert (stable["id"], stable["type"], stable["subject"]) == ("1-stable", "dicomstore.StudyStable", path)
    assert stable["data"] == {
        "imageStudyInstanceUid": uid(1),
        "serviceHostName": "archive.example",
        "sequenceNumber": 1,
        "eventNumber": 1,
        "instances": 1,
        "created": 1,
        "updated": 0,
        "deleted": 0,
        "restored": 0,
    }


async def test_a_delivery_continues_the_trace_of_the_change_or_begins_one(world: World) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    caused = f"00-{trace}-{parent}-01"
    spans: list[Span] = []
    async with receiving() as receiver:
        webhook = await world.webhook(receiver.url, WebhookFilter())
        await world.database.instances.add([replace(sample(1, 2, 3), trace=caused), sample(2, 2, 4)], NOON)
        world.now += timedelta(hours=1)
        await world.process()
        with recorded(spans.append, sampler_of({"OTEL_TRACES_SAMPLER": "parentbased_always_on"})):
            await world.deliver(await world.receiver(webhook))
    assert {span.name for span in spans} >= {"webhook"}
    by_header = {f"00-{span.trace_id}-{span.span_id}-01": span for span in spans if span.name == "webhook"}
    deliveries = [by_header[request.headers["traceparent"]] for request in receiver.requests]
    of_change = {request.event["id"]: span for request, span in zip(receiver.requests, deliveries, strict=True)}
    assert {of_change["1"].parent_id, of_change["1-stable"].parent_id} == {parent}
    assert {of_change["1"].trace_id, of_change["1-stable"].trace_id} == {trace}
    assert of_change["2"].parent_id == ""
    assert [request.event.get("traceparent") for request in receiver.requests].count(caused) == 2


async def test_without_traces_a_delivery_has_no_trace(world: World) -> None:
    async with receiving() as receiver:
        webhook = await world.webhook(receiver.url)
        await world.store(1)
        await world.process()
        await world.deliver(await world.receiver(webhook))
    [request] = receiver.requests
    assert "traceparent" not in request.headers
    assert "traceparent" not in request.event


async def test_events_are_signed_as_in_standard_webhooks(world: World) -> None:
    """The expected value is that of the Standard Webhooks specification: HMAC-SHA256 of id, time and body."""
    first, second = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", new_secret()
    async with receiving() as receiver:
        webhook = await world.webhook(receiver.url, secret=first)
        assert await world.database.webhooks.replace(replace(webhook, secrets=(second, first)))
        await world.store(1)
        await world.process()
        await world.deliver(await world.receiver(webhook))
    [request] = receiver.requests
    assert request.headers["webhook-id"] == "1"
    assert int(request.headers["webhook-timestamp"]) == NOON.timestamp()
    expected = []
    for secret in (second, first):
        key = base64.b64decode(secret.split("_")[1])
        text = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
        expected.append("v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode())
    assert request.headers["webhook-signature"].split(" ") == expected


async def test_a_receiver_that_fails_and_dies_gets_everything_in_order_of_each_study(world: World) -> None:
    chance = random.Random("receiver")
    count = 0

    def every_third_fails(request: Received) -> int:
        nonlocal count
        count += 1
        return chance.choice((500, 503, 0)) if count % 3 == 0 else 200

    accepted: list[dict[str, Any]] = []
    port = 0
    webhook: Webhook | None = None
    for life in range(3):
        async with receiving(port) as receiver:
            port, receiver.answer = receiver.port, every_third_fails
            webhook = webhook or await world.webhook(receiver.url)
            delivering = await world.receiver(webhook)
            for _ in range(6):
                await world.store(*(chance.randint(1, 5) for _ in range(8)))
                if chance.random() < 0.3:
                    study = identity(chance.randint(1, 5)).address
                    await world.database.instances.delete(
                        Address(study.partition, study.study), world.now, world.now + timedelta(days=9)
                    )
                await world.process()
                await world.deliver(delivering)
                world.now += timedelta(seconds=chance.uniform(1, 30))
            if life == 2:
                for _ in range(100):
                    world.now += timedelta(minutes=1)
                    await world.deliver(delivering)
            accepted += receiver.accepted
        await world.store(1, 2, 3)  # the receiver is dead
        await world.process()
        if life < 2:
            await world.deliver(delivering)
    receiver.accepted = accepted
    last = (await world.database.study_events.progress()).sequence - 3
    assert await world.backlog(webhook) == (0, 0)
    found = by_study(receiver)
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(1, last + 1))
    assert all(numbers == sorted(numbers) for numbers in found.values())


async def test_a_failing_event_delays_its_study_only(world: World) -> None:
    async with receiving() as receiver:
        receiver.answer = lambda request: 500 if request.event["data"]["imageStudyInstanceUid"] == uid(1) else 200
        webhook = await world.webhook(receiver.url)
        await world.store(1, 2, 1, 3, 1, 2)
        await world.process()
        delivering = await world.receiver(webhook)
        await world.deliver(delivering)
        assert sorted(ids(receiver)) == [2, 4, 6]
        assert await world.backlog(webhook) == (3, 0)
        assert len(receiver.requests) == 4  # the second and third event of the study were not tried
        world.now += timedelta(seconds=4)
        await world.deliver(delivering)
        assert len(receiver.requests) == 4
        world.now += timedelta(seconds=1)
        await world.deliver(delivering)
        assert len(receiver.requests) == 5
        receiver.answer = lambda request: 200
        world.now += timedelta(seconds=10)
        await world.deliver(delivering)
        assert ids(receiver)[3:] == [1, 3, 5]
        assert await world.backlog(webhook) == (0, 0)


@pytest.mark.timeout(300)  # more than a thousand requests, each with statements
async def test_a_receiver_that_is_down_for_a_day_loses_nothing_and_delays_no_other_one(world: World) -> None:
    async with receiving() as down, receiving() as works:
        down.answer = lambda request: 503
        first, second = await world.webhook(down.url), await world.webhook(works.url)
        delivering, other = await world.receiver(first), await world.receiver(second)
        for part in range(6):
            studies = [sample(100 * part + number) for number in range(25)]
            await world.database.instances.add(studies, world.now)
            await world.process()
            for _ in range(4):
                await world.deliver(delivering)
                world.now += timedelta(hours=1)
            await world.deliver(other)
            assert len(works.accepted) == 25 * (part + 1)
        # What waits for a receiver that is down is a position in the change feed, and few events.
        assert (await world.backlog(first))[0] <= 50
        assert len(down.requests) < 24 * 50
        # The process is replaced, and the receiver works again.
        delivering = await world.receiver(first)
        down.answer = lambda request: 200
        world.now += timedelta(minutes=15)
        await world.deliver(delivering)
    assert sorted(ids(down)) == list(range(1, 151))
    assert await world.backlog(first) == (0, 0)


async def test_an_event_is_dead_after_72_hours_and_the_next_one_of_its_study_follows(world: World) -> None:
    async with receiving() as receiver:
        receiver.answer = lambda request: 400 if request.event["id"] == "1" else 200
        webhook = await world.webhook(receiver.url)
        await world.store(1, 1)
        await world.process()
        delivering = await world.receiver(webhook)
        begin = world.now
        while world.now < begin + timedelta(hours=72):
            await world.deliver(delivering)
            assert await world.backlog(webhook) == (2, 0)
            world.now += timedelta(minutes=30)
        world.now += timedelta(minutes=30)
        await world.deliver(delivering)
        assert await world.backlog(webhook) == (0, 1)
        assert ids(receiver) == [2]
        [dead] = await world.database.webhooks.dead(webhook.id, EventPosition(0), 10)
        assert (dead.event.id, dead.problem, dead.first_attempt) == ("1", "STATUS_400", begin)
        assert dead.attempts > 100
        receiver.answer = lambda request: 200
        assert await world.database.webhooks.retry(webhook.id, [dead.event.position], world.now) == 1
        await world.deliver(delivering)
        assert ids(receiver) == [2, 1]
        assert await world.backlog(webhook) == (0, 0)


async def test_retried_dead_letters_come_before_the_waiting_events_of_their_study(world: World) -> None:
    async with receiving() as receiver:
        receiver.answer = lambda request: 500
        webhook = await world.webhook(receiver.url)
        await world.store(1, 1)
        await world.process()
        await world.deliver(await world.receiver(webhook, retry=timedelta(0)))
        assert await world.backlog(webhook) == (0, 2)
        await world.store(1, 2)
        await world.process()
        delivering = await world.receiver(webhook)
        await world.deliver(delivering)
        assert await world.database.webhooks.retry(webhook.id, None, world.now) == 2
        receiver.answer = lambda request: 200
        world.now += timedelta(minutes=15)
        await world.deliver(delivering)
        assert by_study(receiver) == {uid(1): [1, 2, 3], uid(2): [4]}
        assert await world.database.webhooks.forget(webhook.id, None) == 0


async def test_old_dead_letters_are_removed(world: World) -> None:
    async with receiving() as receiver:
        receiver.answer = lambda request: 500
        webhook = await world.webhook(receiver.url)
        await world.store(1, 1)
        await world.process()
        await world.deliver(await world.receiver(webhook, retry=timedelta(0)))
        await world.store(1, 2)
        await world.process()
        await world.deliver(await world.receiver(webhook))
        before = await world.backlog(webhook)
        assert before == (2, 2)
        assert await world.database.webhooks.forget_dead(world.now) == 0
        assert await world.database.webhooks.forget_dead(world.now + timedelta(seconds=1)) == 2
        assert await world.backlog(webhook) == (2, 0)


async def test_a_process_without_the_lease_records_nothing(world: World) -> None:
    async with receiving() as receiver:
        webhook = await world.webhook(receiver.url)
        await world.store(1, 1)
        await world.process()
        slow = await world.receiver(webhook)
        await world.database.leases.release(LEASE, HOLDER)
        await world.database.leases.take(LEASE, "another process", None)
        assert not await slow.send_new()
        found = await world.database.webhooks.find(webhook.id)
        assert found is not None
        assert found.handled.sequence == 0
        await world.deliver(await replace(world, holder="another process").receiver(webhook))
        assert by_study(receiver) == {uid(1): [1, 2]}


async def test_filters_by_type_and_partition(world: World) -> None:
    ward = PartitionName("ward")
    await world.database.partitions.create(ward, NOON)
    async with receiving() as receiver:
        stable = await world.webhook(receiver.url, WebhookFilter(frozenset({EventType.STUDY_STABLE})))
        of_ward = await world.webhook(receiver.url, WebhookFilter(frozenset(), frozenset({ward})))
        await world.database.instances.add([sample(1), sample(2, partition=ward)], NOON)
        world.now += timedelta(hours=1)
        await world.process()
        await world.deliver(await world.receiver(stable))
        assert {(event["type"], event["data"]["imageStudyInstanceUid"]) for event in receiver.accepted} == {
            ("dicomstore.StudyStable", uid(1)),
            ("dicomstore.StudyStable", uid(2)),
        }
        receiver.accepted.clear()
        await world.deliver(await world.receiver(of_ward))
        assert [(event["type"], event["data"]["imageStudyInstanceUid"]) for event in receiver.accepted] == [
            ("Microsoft.HealthcareApis.DicomImageCreated", uid(2)),
            ("dicomstore.StudyStable", uid(2)),
        ]


async def test_many_events_of_both_kinds_are_sent_once_each_and_in_order(world: World) -> None:
    """Pages of the change feed and of events of studies end at different places."""
    async with receiving() as receiver:
        webhook = await world.webhook(receiver.url, WebhookFilter())
        for _ in range(3):
            await world.database.instances.add([sample(n, 1, random.getrandbits(40)) for n in range(70)], world.now)
            world.now += timedelta(minutes=2)
            await world.process()
        await world.deliver(await world.receiver(webhook))
    assert len({event["id"] for event in receiver.accepted}) == len(receiver.accepted) == 2 * 210
    of_one = [event["type"] for event in receiver.accepted if event["data"]["imageStudyInstanceUid"] == uid(7)]
    assert of_one == ["Microsoft.HealthcareApis.DicomImageCreated", "dicomstore.StudyStable"] * 3


async def test_a_receiver_that_is_down_is_probed_by_one_event_at_a_time(world: World) -> None:
    async with receiving() as receiver:
        receiver.answer = lambda request: 500
        webhook = await world.webhook(receiver.url)
        await world.store(*range(40))
        await world.process()
        delivering = await world.receiver(webhook)
        await delivering.send_new()
        assert delivering.is_down
        assert DOWN_AFTER <= len(receiver.requests) <= DOWN_AFTER + 4
        before = len(receiver.requests)
        await delivering.send_again()
        assert len(receiver.requests) == before + 1
        receiver.headers = "Retry-After: 600\r\n"
        await delivering.send_again()
        receiver.answer = lambda request: 200
        await world.deliver(delivering)
    assert sorted(ids(receiver)) == list(range(1, 41))
