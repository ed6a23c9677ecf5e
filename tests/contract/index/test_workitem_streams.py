"""Event reports and watches of workitems, on each database (PS3.18 section 11.13, PS3.4 sections CC.2.3 and CC.2.4)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.adapters.sql.engine import Database
from server.domain.access import Access
from server.domain.audit.recorder import AuditRecorder, unrecorded
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.search.request import Term
from server.domain.sequencer import Sequencer
from server.domain.worklist import event_hub, event_streams
from server.domain.worklist.event_hub import EventHub
from server.domain.worklist.event_streams import Acknowledgements, EventStreams, Received, Watched
from server.domain.worklist.filters import WorkitemFilter
from server.domain.worklist.retention import WorklistRetention
from server.domain.worklist.subscriptions import Subscriptions
from server.domain.worklist.workitems import Workitems
from server.model.audit.trail import AuditTrailSettings
from server.model.call import EVERYBODY, Call
from server.model.errors import DicomStoreError, Exhausted, NotFound, Reason, Unavailable, WrongState
from server.model.ids import NO_PARTITION, Uid
from server.model.worklist.event import EventType, LoggedEvent
from server.model.worklist.subscription import FILTERED_WORKLIST, WORKLIST
from server.model.worklist.workitem import MatchPage, WorkitemQuery, WorkitemState
from server.ports.worklist.workitems import WorkitemRecord
from tests.audit import audit_records
from tests.worklist import TRANSACTION, code, data_set, text, workitem

AE = "VIEWER"
CALL = Call("1", EVERYBODY)
ALL = WorkitemFilter()


class Process:
    """The worklist of one process of an archive."""

    def __init__(self, database: Database, workitems: WorkitemRecord | None = None) -> None:
        def now() -> datetime:
            return datetime.now(UTC)

        self.database = database
        self.sequencer = Sequencer(database.changes)
        self.hub = EventHub(database.workitem_events)
        self.sequencer.subscribe(self.hub.notify)
        changed = self.sequencer.stored
        access = Access(PartitionNames(database.partitions, enabled=False, now=now), ReadOnlyState())
        partitions = PartitionNames(database.partitions, enabled=False, now=now)
        self.workitems = Workitems(
            access=access, partitions=partitions, record=database.workitems, now=now, changed=changed
        )
        self.subscriptions = Subscriptions(
            access=access, record=database.subscriptions, now=now, changed=changed, subscribed=self.hub.subscribed
        )
        self.acknowledgements = Acknowledgements(database.subscriptions, now)
        self.streams = EventStreams(
            access=access,
            subscriptions=database.subscriptions,
            workitems=workitems or database.workitems,
            log=database.workitem_events,
            hub=self.hub,
            acknowledgements=self.acknowledgements,
        )

    async def create(self, uid: str, **values: Any) -> None:
        await self.workitems.create(CALL, NO_PARTITION, Uid(uid), text(workitem(**values)))

    async def update(self, uid: str, transaction: str = "", **values: Any) -> None:
        await self.workitems.update(CALL, NO_PARTITION, Uid(uid), transaction, json.dumps(data_set(**values)).encode())

    async def claim(self, uid: str) -> None:
        await self.workitems.change_state(CALL, NO_PARTITION, Uid(uid), Uid(TRANSACTION), WorkitemState.IN_PROGRESS)

    async def cancel(self, uid: str, requester: str = "", **values: Any) -> None:
        reasons = json.dumps(data_set(**values)).encode()
        await self.workitems.request_cancellation(CALL, NO_PARTITION, Uid(uid), reasons, requester)

    async def subscribe(
        self, uid: str, ae_title: str = AE, *, has_lock: bool = False, filter_: WorkitemFilter = ALL
    ) -> None:
        await self.subscriptions.subscribe(CALL, NO_PARTITION, Uid(uid), ae_title, has_lock=has_lock, filter_=filter_)

    def receive(self, ae_title: str = AE) -> AsyncIterator[Received]:
        return self.streams.receive(CALL, NO_PARTITION, ae_title, 1.0)

    def watch(self, filter_: WorkitemFilter = ALL, after: int | None = None) -> AsyncIterator[Watched]:
        return self.streams.watch(CALL, NO_PARTITION, filter_, after, 1.0)

    async def acknowledge(self, message: Received, ae_title: str = AE) -> None:
        await self.streams.acknowledge(CALL, NO_PARTITION, ae_title, message.checkpoint.text)


@asynccontextmanager
async def running(database: Database, workitems: WorkitemRecord | None = None) -> AsyncIterator[Process]:
    process = Process(database, workitems)
    task = asyncio.create_task(process.sequencer.run())
    try:
        yield process
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def one(database: Database) -> AsyncIterator[Process]:
    async with running(database) as process:
        yield process


@pytest.fixture
async def other(other_database: Database) -> AsyncIterator[Process]:
    """Another process of the same archive."""
    async with running(other_database) as process:
        yield process


async def events(stream: AsyncIterator[Received], number: int) -> list[LoggedEvent]:
    """Return the next events of a stream."""
    return (await messages(stream, number))[0]


async def messages(stream: AsyncIterator[Any], number: int) -> tuple[list[LoggedEvent], list[Any]]:
    """Return the next events of a stream, and the messages that had them."""
    found: list[LoggedEvent] = []
    received: list[Any] = []
    async with asyncio.timeout(20):
        while len(found) < number:
            message = await anext(stream)
            found += message.events
            received.append(message)
    assert len(found) == number, [shown(event) for event in found]
    return found, received


def shown(event: LoggedEvent) -> tuple[str, str]:
    """Return the workitem of an event, and the state that it reports, or its type."""
    if event.type is not EventType.STATE_REPORT:
        return event.workitem, event.type.name
    return event.workitem, str(json.loads(event.information)["00741000"]["Value"][0])


def information(event: LoggedEvent) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(event.information)
    return content


@asynccontextmanager
async def closing(*streams: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for stream in streams:
            await stream.aclose()


async def refusal(operation: Awaitable[object], kind: type[DicomStoreError]) -> Reason:
    with pytest.raises(kind) as failure:
        await operation
    return failure.value.reason


async def test_a_subscriber_receives_events_of_changes_by_any_process(one: Process, other: Process) -> None:
    await one.create("1.1")
    stream = one.receive()
    async with closing(stream):
        assert (await anext(stream)).events == []
        await other.subscribe("1.1")
        assert [shown(event) for event in await events(stream, 1)] == [("1.1", "SCHEDULED")]
        await other.claim("1.1")
        await one.update("1.1", TRANSACTION, InputReadinessState="UNAVAILABLE")
        found = await events(stream, 2)
        assert [shown(event) for event in found] == [("1.1", "IN PROGRESS")] * 2
        assert information(found[1])["00404041"]["Value"] == ["UNAVAILABLE"]


async def test_each_change_has_the_events_of_the_standard(one: Process) -> None:
    """PS3.4 section CC.2.4.3."""
    await one.subscribe(WORKLIST)
    stream = one.receive()
    performer = {"HumanPerformerName": "Doe^Jane", "HumanPerformerOrganization": "Ward"}
    performers = [data_set(HumanPerformerCodeSequence=[code("1", "L", "Doe")], **performer)]
    async with closing(stream):
        await one.create("1.1", ScheduledStationNameCodeSequence=[code()])
        await one.create("1.2")
        found = await events(stream, 3)
        assert [shown(event) for event in found] == [("1.1", "SCHEDULED"), ("1.1", "ASSIGNED"), ("1.2", "SCHEDULED")]
        assert information(found[1]) == data_set(ScheduledStationNameCodeSequence=[code()])

        await one.update("1.2", ScheduledHumanPerformersSequence=performers)
        await one.update("1.2", ProcedureStepLabel="no event", ScheduledHumanPerformersSequence=performers)
        [assigned] = await events(stream, 1)
        assert information(assigned) == data_set(
            HumanPerformerCodeSequence=[code("1", "L", "Doe")],
            ScheduledHumanPerformersSequence=performers,
            HumanPerformerOrganization="Ward",
        )

        await one.claim("1.2")
        uris = [data_set(ContactURI="tel:1")]
        progress = {
            "ProcedureStepProgress": "30",
            "ProcedureStepProgressDescription": "loading",
            "ProcedureStepCommunicationsURISequence": uris,
        }
        await one.update("1.2", TRANSACTION, ProcedureStepProgressInformationSequence=[data_set(**progress)])
        found = await events(stream, 2)
        assert [shown(event) for event in found] == [("1.2", "IN PROGRESS"), ("1.2", "PROGRESS_REPORT")]
        assert information(found[1]) == data_set(ProcedureStepProgressInformationSequence=[data_set(**progress)])

        with_reason = data_set(
            **progress,
            ReasonForCancellation="stopped",
            ProcedureStepDiscontinuationReasonCodeSequence=[code("110501", "DCM", "Equipment failure")],
        )
        await one.update("1.2", TRANSACTION, ProcedureStepProgressInformationSequence=[with_reason])
        await one.workitems.change_state(CALL, NO_PARTITION, Uid("1.2"), Uid(TRANSACTION), WorkitemState.CANCELED)
        [canceled] = await events(stream, 1)
        assert information(canceled) == data_set(
            ProcedureStepState="CANCELED",
            InputReadinessState="READY",
            ReasonForCancellation="stopped",
            ProcedureStepDiscontinuationReasonCodeSequence=[code("110501", "DCM", "Equipment failure")],
        )


async def test_a_workitem_canceled_by_request_passes_in_progress(one: Process) -> None:
    """PS3.4 sections CC.2.2.3 and CC.2.4.3."""
    await one.create("1.1")
    await one.subscribe("1.1")
    await one.cancel("1.1", " SCHEDULER", ReasonForCancellation="not needed", ContactURI="tel:1", PatientID="X")
    stream = one.receive()
    async with closing(stream):
        found = await events(stream, 4)
    assert [shown(event) for event in found[1:]] == [
        ("1.1", "CANCEL_REQUESTED"),
        ("1.1", "IN PROGRESS"),
        ("1.1", "CANCELED"),
    ]
    assert information(found[1]) == data_set(
        RequestingAE="SCHEDULER", ReasonForCancellation="not needed", ContactURI="tel:1"
    )
    assert information(found[3])["00741238"]["Value"] == ["not needed"]


async def test_a_cancellation_request_is_reported_to_the_subscribers_of_a_workitem_in_progress(one: Process) -> None:
    for uid in ("1.1", "1.2"):
        await one.create(uid)
        await one.claim(uid)
    await one.subscribe("1.1")
    await one.cancel("1.1")
    assert await refusal(one.cancel("1.2"), WrongState) is Reason.WORKITEM_NOT_CANCELABLE
    stream = one.receive()
    async with closing(stream):
        found = await events(stream, 2)
    assert shown(found[1]) == ("1.1", "CANCEL_REQUESTED")
    assert information(found[1]) == data_set(RequestingAE="UNKNOWN")


async def test_events_wait_for_a_subscriber_and_are_sent_until_acknowledged(one: Process, other: Process) -> None:
    await one.create("1.1")
    await one.subscribe("1.1")
    await one.claim("1.1")
    stream = one.receive()
    async with closing(stream):
        first, received = await messages(stream, 2)
    again = one.receive()
    async with closing(again):
        assert await events(again, 2) == first
    await one.acknowledge(received[-1])
    await one.update("1.1", TRANSACTION, InputReadinessState="UNAVAILABLE")
    third = one.receive()
    async with closing(third):
        [last] = await events(third, 1)
    await one.acknowledgements.write()
    fourth = other.receive()
    async with closing(fourth):
        assert await events(fourth, 1) == [last]  # and nothing about a restart, because both processes serve


async def test_initial_states_of_a_worklist_are_sent_page_by_page_and_resumed(
    one: Process, other: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "_INITIAL_PAGE", 2)
    for number in range(5):
        await one.create(f"1.{number}")
    await one.subscribe(WORKLIST, has_lock=True)
    await one.create("1.9")
    await one.claim("1.4")
    stream = one.receive()
    async with closing(stream):
        found, received = await messages(stream, 2)
        assert [shown(event) for event in found] == [("1.4", "IN PROGRESS"), ("1.3", "SCHEDULED")]
        await one.acknowledge(received[-1])
    await one.acknowledgements.write()
    stream = other.receive()
    async with closing(stream):
        rest = await events(stream, 3 + 2)
    assert [shown(event)[0] for event in rest] == ["1.2", "1.1", "1.0", "1.9", "1.4"]
    assert len({event.position for event in [*found, *rest[:3]]}) == 1


class SlowSearches:
    """A record of workitems whose searches with conditions exceed the time limit of the database."""

    def __init__(self, record: WorkitemRecord) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)

    async def search(self, query: WorkitemQuery) -> MatchPage:
        if query.conditions:
            raise Exhausted(Reason.SEARCH_TOO_LONG, "The database query exceeded its time limit.")
        return await self._record.search(query)


async def test_initial_states_whose_search_takes_too_long_do_not_hold_up_later_events(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "_INITIAL_PAGE", 2)
    async with running(database, SlowSearches(database.workitems)) as one:
        for number in range(6):
            await one.create(f"1.{number}", ProcedureStepLabel="read" if number in (1, 4) else "measure")
        await one.subscribe(
            FILTERED_WORKLIST, has_lock=True, filter_=WorkitemFilter((Term("ProcedureStepLabel", ("read",)),))
        )
        await one.claim("1.4")
        stream = one.receive()
        async with closing(stream):
            found = await events(stream, 3)
        assert [shown(event) for event in found] == [
            ("1.4", "IN PROGRESS"),
            ("1.1", "SCHEDULED"),
            ("1.4", "IN PROGRESS"),
        ]


async def test_with_a_filter_only_matching_workitems_are_reported(one: Process) -> None:
    for uid in ("1.1", "1.2"):
        await one.create(uid, ProcedureStepLabel=f"read {uid}")
    filter_ = WorkitemFilter((Term("ProcedureStepLabel", ("*1.2",)), Term("Unknown", ("1",))))
    ignored = await one.subscriptions.subscribe(
        CALL, NO_PARTITION, FILTERED_WORKLIST, AE, has_lock=True, filter_=filter_
    )
    assert ignored == ["Unknown"]
    await one.claim("1.1")
    await one.claim("1.2")
    stream = one.receive()
    async with closing(stream):
        found = await events(stream, 2)
    # The present state is read when it is sent.
    assert [shown(event) for event in found] == [("1.2", "IN PROGRESS")] * 2
    [subscriber] = await one.subscriptions.list(CALL, NO_PARTITION, "", 10)
    assert subscriber.worklist is not None
    assert subscriber.worklist.filter == '[[["ProcedureStepLabel","*1.2"]],false,false]'


async def test_a_subscriber_that_reads_slowly_loses_nothing_and_keeps_little_in_memory(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "_MOST_WAITING", 3)
    await one.subscribe(WORKLIST)
    slow, fast = one.receive(), one.receive()
    async with closing(slow, fast):
        for stream in (slow, fast):
            await anext(stream)
        sent = []
        for number in range(12):
            await one.create(f"1.{number}")
            sent += await events(fast, 1)
        assert await events(slow, 12) == sent
        await one.create("2.1")
        assert await events(slow, 1) == await events(fast, 1)


async def test_a_watch_gets_the_events_of_a_partition_from_a_position(one: Process, other: Process) -> None:
    await one.create("1.1", ProcedureStepLabel="read")
    await one.subscribe("1.1")
    await one.sequencer.catch_up()  # PostgreSQL numbers events after the commit
    late = one.watch()
    async with closing(late):
        first = await anext(late)
        assert not first.events
        await other.create("1.2", ProcedureStepLabel="measure")
        await one.claim("1.1")
        found, received = await messages(late, 2)
        assert [shown(event) for event in found] == [("1.2", "SCHEDULED"), ("1.1", "IN PROGRESS")]
        assert json.loads(found[0].data_set or "")["00741204"]["Value"] == ["measure"]
        assert first.position < received[-1].position == found[-1].position
    whole = other.watch(after=0)
    async with closing(whole):
        # The initial state of the subscriber is not an event of the workitem.
        assert (await messages(whole, 3))[0][1:] == found
    resumed = other.watch(after=found[0].position)
    async with closing(resumed):
        assert (await messages(resumed, 1))[0] == found[1:]
    of_label = one.watch(WorkitemFilter((Term("ProcedureStepLabel", ("read",)),)), 0)
    async with closing(of_label):
        assert [event.workitem for event in (await messages(of_label, 2))[0]] == ["1.1", "1.1"]


async def test_each_of_several_streams_opened_before_the_subscription_gets_its_events(one: Process) -> None:
    await one.create("1.1")
    fast, slow = one.receive(), one.receive()
    async with closing(fast, slow):
        for stream in (fast, slow):
            await anext(stream)
        await one.subscribe("1.1")
        found, received = await messages(fast, 1)
        await one.acknowledge(received[-1])
        assert await events(slow, 1) == found


async def test_streams_end_when_the_process_stops(one: Process) -> None:
    await one.subscribe(WORKLIST)
    stream, watch = one.receive(), one.watch()
    await anext(stream)
    await anext(watch)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    one.hub.close()
    for ended in (waiting, anext(watch)):
        assert await refusal(ended, Unavailable) is Reason.SHUTTING_DOWN


async def test_the_result_of_retention_names_only_removed_workitems(one: Process, tmp_path: Path) -> None:
    for uid in ("1.1", "1.2"):
        await one.create(uid)
        await one.cancel(uid)
    root = tmp_path / "audited"
    root.mkdir()
    async with FileAuditTrail(root).open(AuditTrailSettings(root / "key.pem")) as log:
        recorder = AuditRecorder(log)

        @asynccontextmanager
        async def work(*names: str, **facts: Any) -> AsyncIterator[dict[str, Any]]:
            async with recorder.work(*names, **facts) as results:
                await one.subscribe("1.2", has_lock=True)  # after the search for workitems without a lock
                yield results

        await WorklistRetention(
            record=one.database.workitems,
            log=one.database.workitem_events,
            workitems=timedelta(0),
            events=timedelta(days=9),
            now=lambda: datetime.now(UTC) + timedelta(days=1),
            work=work,
        ).remove()
    found = [(one["kind"], one["workitems"], one["items"]) for one in audit_records(root, subtype="remove-workitems")]
    assert found == [("executing", ["1.1", "1.2"], 2), ("executed", ["1.1"], 1)]


async def test_retention_removes_final_workitems_and_old_events(one: Process) -> None:
    def retention(workitems: timedelta | None, events: timedelta, later: timedelta) -> WorklistRetention:
        return WorklistRetention(
            record=one.database.workitems,
            log=one.database.workitem_events,
            workitems=workitems,
            events=events,
            now=lambda: datetime.now(UTC) + later,
            work=unrecorded,
        )

    day = timedelta(days=1)
    for uid in ("1.1", "1.2", "1.3"):
        await one.create(uid)
    await one.subscribe("1.2", has_lock=True)
    for uid in ("1.1", "1.2"):
        await one.cancel(uid)

    async def present() -> set[str]:
        found = set()
        for uid in ("1.1", "1.2", "1.3"):
            with suppress(NotFound):
                await one.workitems.get(CALL, NO_PARTITION, Uid(uid))
                found.add(uid)
        return found

    await retention(None, 9 * day, 2 * day).remove()
    await retention(3 * day, 9 * day, 2 * day).remove()
    assert await present() == {"1.1", "1.2", "1.3"}
    await retention(day, 9 * day, 2 * day).remove()
    assert await present() == {"1.2", "1.3"}
    assert (await one.database.workitem_events.state()).removed == 0
    await one.sequencer.catch_up()
    await retention(day, day, 2 * day).remove()
    state = await one.database.workitem_events.state()
    assert state.removed == state.last > 0
    watch = one.watch(after=0)
    async with closing(watch):
        assert (await anext(watch)).events_removed
    await one.subscriptions.unsubscribe(CALL, NO_PARTITION, Uid("1.2"), AE)
    await retention(day, day, 2 * day).remove()
    assert await present() == {"1.3"}
