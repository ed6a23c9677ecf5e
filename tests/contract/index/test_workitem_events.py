"""Subscriptions to workitems and the log of events, on each database (PS3.4 sections CC.2.3 and CC.2.4)."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from server.adapters.sql.engine import Database
from server.dicom.worklist import reports
from server.dicom.worklist.data_set import parse, serialise
from server.dicom.worklist.filters import matches
from server.dicom.worklist.search_keys import search_values
from server.domain.search.request import Term
from server.domain.worklist.filters import WorkitemFilter, conditions_of, filter_matches
from server.domain.worklist.reporting import reporter
from server.model.errors import Exhausted, InvalidRequest, NotFound, Reason
from server.model.ids import DEFAULT_PARTITION, PartitionName, Uid
from server.model.worklist import subscription
from server.model.worklist.event import EventKind, EventType, LoggedEvent
from server.model.worklist.subscription import Checkpoint, WorklistSubscription
from server.model.worklist.workitem import Workitem, WorkitemQuery, WorkitemState
from tests.contract.index.samples import NOON
from tests.contract.index.sequenced import sequence
from tests.contract.index.test_workitems import a_workitem, terms
from tests.worklist import code, data_set

SCHEDULED, IN_PROGRESS, COMPLETED = "SCHEDULED", "IN PROGRESS", "COMPLETED"
CREATED = reporter(NOON, lambda _, after: reports.created(after))
UPDATED = reporter(NOON, reports.updated)
AE = "VIEWER"


async def add(database: Database, uid: str, **values: Any) -> None:
    assert await database.workitems.add(DEFAULT_PARTITION, a_workitem(uid, **values), CREATED)


async def update(database: Database, uid: str, partition: PartitionName = DEFAULT_PARTITION, **values: Any) -> None:
    new = parse(json.dumps(data_set(**values)).encode())

    def change(present: Workitem) -> Workitem:
        content = json.loads(present.data_set) | new
        state = WorkitemState(content["00741000"]["Value"][0])
        return replace(present, state=state, data_set=serialise(content), values=search_values(content), modified=NOON)

    assert await database.workitems.change(partition, Uid(uid), change, UPDATED)


def filtered(*, has_lock: bool = False, **values: str) -> WorklistSubscription:
    of = tuple(Term(attribute.replace("__", "."), (value,)) for attribute, value in values.items())
    stored = WorkitemFilter(of).stored({})
    return WorklistSubscription(has_lock, stored, conditions_of(stored))


async def subscribe(database: Database, uid: str, ae_title: str = AE, *, has_lock: bool = False) -> None:
    report = lambda text: reports.state_report(json.loads(text))  # noqa: E731
    assert await database.subscriptions.subscribe(
        DEFAULT_PARTITION, Uid(uid), ae_title, NOON, has_lock=has_lock, report=report
    )


async def subscribe_to_worklist(
    database: Database, ae_title: str = AE, worklist: WorklistSubscription | None = None, *, has_lock: bool = False
) -> None:
    wanted = worklist or WorklistSubscription(has_lock)
    await database.subscriptions.subscribe_to_worklist(DEFAULT_PARTITION, ae_title, NOON, wanted)


async def unsubscribe(database: Database, uid: str, ae_title: str = AE) -> bool | None:
    return await database.subscriptions.unsubscribe(DEFAULT_PARTITION, Uid(uid), ae_title, filter_matches)


async def events_of(database: Database, ae_title: str = AE, after: int = 0) -> list[LoggedEvent]:
    await sequence(database.changes)
    state = await database.subscriptions.find(DEFAULT_PARTITION, ae_title)
    if state is None:
        return []
    return list(await database.workitem_events.of_subscriber(state.key, after, 1000, 1 << 20))


async def received(database: Database, ae_title: str = AE) -> list[tuple[str, str]]:
    """Return the workitems and states, or types, of the events of a subscriber."""
    return [(event.workitem, shown(event)) for event in await events_of(database, ae_title)]


def shown(event: LoggedEvent) -> str:
    if event.kind is EventKind.INITIAL_WORKLIST:
        return event.kind.name
    if event.type is not EventType.STATE_REPORT:
        return event.type.name
    return str(json.loads(event.information)["00741000"]["Value"][0])


async def removed(database: Database) -> list[str]:
    """Remove what may be removed, and return the UIDs of the workitems that remain."""
    page = await database.workitems.unlocked(NOON + timedelta(days=1), None, 100, filter_matches)
    keys = [one.key for one in page.workitems]
    assert [one.key for one in await database.workitems.remove(keys, filter_matches)] == keys
    left = await database.workitems.search(WorkitemQuery(DEFAULT_PARTITION, (), 100))
    return sorted(match.uid for match in left.matches)


async def test_a_subscriber_of_a_workitem_gets_its_present_state_and_each_change(database: Database) -> None:
    await add(database, "1.1")
    await add(database, "1.2")
    await subscribe(database, "1.1")
    await update(database, "1.1", ProcedureStepState=IN_PROGRESS)
    await update(database, "1.2", ProcedureStepState=IN_PROGRESS)
    await update(database, "1.1", InputReadinessState="INCOMPLETE")
    assert await received(database) == [("1.1", SCHEDULED), ("1.1", IN_PROGRESS), ("1.1", IN_PROGRESS)]
    assert await received(database, "OTHER") == []


async def test_subscribing_to_an_unknown_workitem_subscribes_to_nothing(database: Database) -> None:
    record = database.subscriptions
    assert not await record.subscribe(
        DEFAULT_PARTITION, Uid("1.9"), AE, NOON, has_lock=False, report=lambda _: reports.state_report({})
    )
    assert await record.list(DEFAULT_PARTITION, "", 10) == []


async def test_a_subscriber_of_the_worklist_gets_events_of_present_and_future_workitems(database: Database) -> None:
    await add(database, "1.1")
    await subscribe_to_worklist(database)
    await add(database, "1.2", ScheduledStationNameCodeSequence=[code()])
    await update(database, "1.1", ProcedureStepState=IN_PROGRESS)
    assert await received(database) == [("1.2", SCHEDULED), ("1.2", "ASSIGNED"), ("1.1", IN_PROGRESS)]


async def test_with_a_deletion_lock_the_present_states_follow_the_subscription(database: Database) -> None:
    await add(database, "1.1")
    await subscribe_to_worklist(database, has_lock=True)
    await add(database, "1.2")
    found = await events_of(database)
    assert [(event.kind, event.workitem) for event in found] == [
        (EventKind.INITIAL_WORKLIST, subscription.WORKLIST),
        (EventKind.CHANGE, "1.2"),
    ]
    page = await database.workitems.search(WorkitemQuery(DEFAULT_PARTITION, (), 9, after=found[0].workitem_key + 1))
    assert [match.uid for match in page.matches] == ["1.1"]


async def test_a_filter_includes_what_matches_now_or_later_and_then_stays_included(database: Database) -> None:
    for uid in ("1.1", "1.2", "1.3"):
        await add(database, uid, ProcedureStepLabel="read" if uid == "1.1" else "measure")
    await subscribe_to_worklist(database, worklist=filtered(ProcedureStepLabel="read"))
    await update(database, "1.1", ProcedureStepLabel="other", InputReadinessState="INCOMPLETE")
    await update(database, "1.2", ProcedureStepLabel="read")
    await update(database, "1.3", ProcedureStepState=IN_PROGRESS)
    await add(database, "1.4", ProcedureStepLabel="READ")
    await add(database, "1.5", ProcedureStepLabel="other")
    for uid in ("1.1", "1.2"):
        await update(database, uid, ProcedureStepState=IN_PROGRESS)
    assert await received(database) == [
        ("1.1", SCHEDULED),
        ("1.2", SCHEDULED),
        ("1.4", SCHEDULED),
        ("1.1", IN_PROGRESS),
        ("1.2", IN_PROGRESS),
    ]


@pytest.mark.parametrize("has_lock", [False, True])
async def test_a_workitem_that_begins_to_match_a_filter_is_reported_to_its_new_subscriber_once(
    database: Database, has_lock: bool
) -> None:
    for uid in ("1.1", "1.2"):
        await add(database, uid, ProcedureStepLabel="read" if uid == "1.1" else "measure")
    await subscribe_to_worklist(database, worklist=filtered(ProcedureStepLabel="read", has_lock=has_lock))
    await subscribe_to_worklist(database, "WHOLE")
    await subscribe_to_worklist(database, "OTHER", filtered(ProcedureStepLabel="other"))
    before = await received(database)
    stations = code("ROOM1")
    await update(database, "1.1", ScheduledStationNameCodeSequence=stations)  # it was included before
    await update(database, "1.2", ProcedureStepLabel="read", ScheduledStationNameCodeSequence=stations)
    await update(database, "1.2", ProcedureStepLabel="other", ProcedureStepState=IN_PROGRESS)  # a state report anyway
    assert (await received(database))[len(before) :] == [
        ("1.1", "ASSIGNED"),
        ("1.2", SCHEDULED),
        ("1.2", "ASSIGNED"),
        ("1.2", IN_PROGRESS),
    ]
    assert await received(database, "WHOLE") == [("1.1", "ASSIGNED"), ("1.2", "ASSIGNED"), ("1.2", IN_PROGRESS)]
    assert await received(database, "OTHER") == [("1.2", IN_PROGRESS)]


@pytest.mark.parametrize("has_lock", [False, True])
async def test_an_own_subscription_takes_precedence_over_that_to_the_worklist(
    database: Database, has_lock: bool
) -> None:
    for uid in ("1.1", "1.2"):
        await add(database, uid)
    await subscribe_to_worklist(database, worklist=WorklistSubscription(has_lock))
    assert await unsubscribe(database, "1.1") is True
    assert await unsubscribe(database, "1.1") is False
    assert await unsubscribe(database, "1.1", "UNKNOWN") is False
    assert await unsubscribe(database, "1.9") is None
    for uid in ("1.1", "1.2"):
        await update(database, uid, ProcedureStepState=COMPLETED)
    assert [one for one in await received(database) if one[1] == COMPLETED] == [("1.2", COMPLETED)]
    assert await removed(database) == (["1.2"] if has_lock else [])


async def test_only_a_workitem_that_a_filter_includes_can_be_unsubscribed(database: Database) -> None:
    for uid, label in (("1.1", "measure"), ("1.2", "read"), ("1.3", "measure")):
        await add(database, uid, ProcedureStepLabel=label)
    await subscribe_to_worklist(database, worklist=filtered(ProcedureStepLabel="read"))
    await update(database, "1.3", ProcedureStepLabel="read")
    await update(database, "1.3", ProcedureStepLabel="measure")
    expected = {"1.1": False, "1.2": True, "1.3": True}  # does not match, matches, has matched
    assert {uid: await unsubscribe(database, uid) for uid in expected} == expected
    assert not any([await unsubscribe(database, uid) for uid in expected])
    before = len(await received(database))
    for uid in expected:
        await update(database, uid, ProcedureStepLabel="read", InputReadinessState="INCOMPLETE")
    assert (await received(database))[before:] == [("1.1", SCHEDULED)]


async def test_subscribing_to_the_worklist_again_includes_what_was_unsubscribed(database: Database) -> None:
    for uid in ("1.1", "1.2"):
        await add(database, uid, ProcedureStepLabel=uid)
    await subscribe_to_worklist(database)
    for uid in ("1.1", "1.2"):
        await unsubscribe(database, uid)
    await subscribe_to_worklist(database, worklist=filtered(ProcedureStepLabel="1.1"))
    for uid in ("1.1", "1.2"):
        await update(database, uid, ProcedureStepState=IN_PROGRESS)
    assert await received(database) == [("1.1", IN_PROGRESS)]
    await subscribe_to_worklist(database)
    await update(database, "1.2", ProcedureStepState=COMPLETED)
    assert await received(database) == [("1.1", IN_PROGRESS), ("1.2", COMPLETED)]


async def test_a_suspended_subscriber_gets_events_of_present_workitems_only(database: Database) -> None:
    await subscribe_to_worklist(database)
    await add(database, "1.1")
    assert await database.subscriptions.suspend(DEFAULT_PARTITION, AE)
    assert not await database.subscriptions.suspend(DEFAULT_PARTITION, AE)
    await add(database, "1.2")
    for uid in ("1.1", "1.2"):
        await update(database, uid, ProcedureStepState=IN_PROGRESS)
    assert await received(database) == [("1.1", SCHEDULED), ("1.1", IN_PROGRESS)]
    await subscribe_to_worklist(database)
    for uid in ("1.1", "1.2"):
        await update(database, uid, ProcedureStepState=COMPLETED)
    assert (await received(database))[2:] == [("1.1", COMPLETED), ("1.2", COMPLETED)]
    [subscriber] = await database.subscriptions.list(DEFAULT_PARTITION, "", 10)
    assert subscriber.worklist == WorklistSubscription(has_lock=False)
    assert not subscriber.has_earlier_worklist


async def test_unsubscribing_from_the_worklist_ends_all_subscriptions_and_locks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uid in ("1.1", "1.2"):
        await add(database, uid)
    await subscribe(database, "1.1", has_lock=True)
    await subscribe_to_worklist(database, has_lock=True)
    assert await database.subscriptions.unsubscribe_from_all(DEFAULT_PARTITION, AE)
    assert not await database.subscriptions.unsubscribe_from_all(DEFAULT_PARTITION, AE)
    before = len(await received(database))
    monkeypatch.setattr("server.adapters.sql.worklist.subscriptions._BATCH", 1)
    for uid in ("1.1", "1.2"):
        await subscribe(database, uid, "MANY")
    await subscribe(database, "1.1", "OTHER")
    assert await database.subscriptions.unsubscribe_from_all(DEFAULT_PARTITION, "MANY")
    subscribers = await database.subscriptions.list(DEFAULT_PARTITION, "", 10)
    assert [(one.ae_title, one.workitems) for one in subscribers] == [("MANY", 0), ("OTHER", 1), (AE, 0)]
    await add(database, "1.3")
    for uid in ("1.1", "1.2", "1.3"):
        await update(database, uid, ProcedureStepState=COMPLETED)
    assert len(await received(database)) == before
    assert await removed(database) == []


Subscribe = Callable[[Database], Any]
LOCKS: Mapping[str, tuple[Subscribe, list[str]]] = {
    "none": (lambda database: subscribe_to_worklist(database), []),
    "workitem": (lambda database: subscribe(database, "1.1", has_lock=True), ["1.1"]),
    "workitem without": (lambda database: subscribe(database, "1.1"), []),
    "worklist": (lambda database: subscribe_to_worklist(database, has_lock=True), ["1.1", "1.2", "1.3"]),
    "filter": (
        lambda database: subscribe_to_worklist(database, worklist=filtered(has_lock=True, ProcedureStepLabel="1.2")),
        ["1.2"],
    ),
    "filter of later ones": (
        lambda database: subscribe_to_worklist(database, worklist=filtered(has_lock=True, ProcedureStepLabel="1.3")),
        ["1.3"],
    ),
}


@pytest.mark.parametrize("kind", LOCKS)
async def test_a_workitem_in_a_final_state_is_kept_while_it_has_a_deletion_lock(database: Database, kind: str) -> None:
    subscribed, kept = LOCKS[kind]
    for uid in ("1.1", "1.2"):
        await add(database, uid, ProcedureStepLabel=uid)
    await subscribed(database)
    await add(database, "1.3", ProcedureStepLabel="1.3")
    for uid in ("1.1", "1.2", "1.3"):
        await update(database, uid, ProcedureStepState=COMPLETED)
    await add(database, "1.4")
    assert await removed(database) == sorted([*kept, "1.4"])
    await database.subscriptions.unsubscribe_from_all(DEFAULT_PARTITION, AE)
    assert await removed(database) == ["1.4"]


async def test_a_filter_with_a_lock_holds_final_workitems_that_match_it_already(database: Database) -> None:
    for uid in ("1.1", "1.2"):
        await add(database, uid, ProcedureStepLabel=uid)
        await update(database, uid, ProcedureStepState=COMPLETED)
    await subscribe_to_worklist(database, worklist=filtered(has_lock=True, ProcedureStepLabel="1.2"))
    assert await removed(database) == ["1.2"]


async def test_a_new_lock_on_the_worklist_does_not_apply_to_workitems_subscribed_without(database: Database) -> None:
    """PS3.4 Table CC.2.3-2: no change of the UPS subscription state."""
    await add(database, "1.1")
    await subscribe_to_worklist(database)
    await subscribe_to_worklist(database, has_lock=True)
    await add(database, "1.2")
    for uid in ("1.1", "1.2"):
        await update(database, uid, ProcedureStepState=COMPLETED)
    assert await removed(database) == ["1.2"]
    await subscribe_to_worklist(database)
    await add(database, "1.3")
    await update(database, "1.3", ProcedureStepState=COMPLETED)
    assert await removed(database) == ["1.2"]
    assert [event.kind for event in await events_of(database)].count(EventKind.INITIAL_WORKLIST) == 1


async def test_subscriptions_and_events_of_a_removed_workitem_do_not_apply_to_a_later_one(database: Database) -> None:
    """The removed one is the newest."""
    await add(database, "1.1")
    await add(database, "1.2")
    await update(database, "1.2", ProcedureStepState=COMPLETED)
    await subscribe_to_worklist(database, "SUSPENDED")
    await database.subscriptions.suspend(DEFAULT_PARTITION, "SUSPENDED")
    await subscribe_to_worklist(database, "AGAIN")
    await subscribe_to_worklist(database, "AGAIN", filtered(PatientID="other"))
    await subscribe_to_worklist(database, "AGAIN", has_lock=True)
    assert await removed(database) == ["1.1"]
    await add(database, "1.3")
    assert await received(database, "SUSPENDED") == []
    assert ("1.3", SCHEDULED) in await received(database, "AGAIN")
    events = await database.workitem_events.in_partition(DEFAULT_PARTITION, 0, 10, 1 << 20, with_data_sets=True)
    assert [(event.workitem, event.data_set is not None) for event in events] == [
        ("1.1", True),
        ("1.2", False),
        ("1.2", False),
        ("1.3", True),
    ]


async def test_workitems_are_examined_for_removal_page_by_page(database: Database) -> None:
    for number in range(5):
        await add(database, f"1.{number}")
        await update(database, f"1.{number}", ProcedureStepState=COMPLETED)
    found, after = list[str](), None
    while True:
        page = await database.workitems.unlocked(NOON + timedelta(days=1), after, 2, filter_matches)
        found += [one.uid for one in page.workitems]
        if (after := page.next) is None:
            break
    assert found == [f"1.{number}" for number in range(5)]
    early = await database.workitems.unlocked(NOON, None, 9, filter_matches)
    assert early.workitems == []


async def test_acknowledged_events_are_not_returned_again(database: Database) -> None:
    await add(database, "1.1")
    await subscribe(database, "1.1")
    await update(database, "1.1", ProcedureStepState=IN_PROGRESS)
    first, second = await events_of(database)
    record, who = database.subscriptions, (DEFAULT_PARTITION, AE)
    for position in (first.position, first.position - 1):
        await record.acknowledge({who: Checkpoint(position), (DEFAULT_PARTITION, "UNKNOWN"): Checkpoint(9)}, NOON)
        state = await record.find(DEFAULT_PARTITION, AE)
        assert state is not None
        assert state.acknowledged == Checkpoint(first.position)
    assert [event.position for event in await events_of(database)] == [second.position]
    [subscriber] = await record.list(DEFAULT_PARTITION, "", 10)
    assert (subscriber.pending_events, subscriber.workitems, subscriber.locked_workitems) == (1, 1, 0)
    for initial in (30, 20, 40):
        await record.acknowledge({who: Checkpoint(first.position, initial)}, NOON)
    state = await record.find(DEFAULT_PARTITION, AE)
    assert state is not None
    assert state.acknowledged == Checkpoint(first.position, 20)


async def test_the_log_has_the_events_of_all_workitems_with_their_recipients(database: Database) -> None:
    ward = PartitionName("ward")
    await database.partitions.create(ward, NOON)
    await subscribe_to_worklist(database)
    await add(database, "1.1")
    assert await database.workitems.add(ward, a_workitem("1.1"), CREATED)
    await update(database, "1.1", ward, ProcedureStepState=IN_PROGRESS)
    await sequence(database.changes)
    log = database.workitem_events
    found = await log.after(0, 10, 1 << 20, with_data_sets=True)
    assert [(event.partition, event.workitem, len(event.recipients)) for event in found] == [
        (DEFAULT_PARTITION, "1.1", 1),
        (ward, "1.1", 0),
        (ward, "1.1", 0),
    ]
    assert (await log.state()).last == found[-1].position
    assert [event.position for event in found] == sorted(event.position for event in found)
    assert found[1].data_set == found[2].data_set is not None
    assert await log.after(found[0].position, 10, 1, with_data_sets=False) == [replace(found[1], data_set=None)]
    of_ward = await log.in_partition(ward, 0, 1, 1 << 20, with_data_sets=True)
    assert of_ward == [found[1]]
    assert await log.in_partition(ward, found[2].position, 9, 1 << 20, with_data_sets=False) == []
    assert await log.in_partition(PartitionName("unknown"), 0, 9, 1 << 20, with_data_sets=False) == []


async def test_concurrent_changes_get_positions_in_the_order_of_their_commits(
    database: Database, other_database: Database
) -> None:
    for number in range(4):
        await add(database, f"1.{number}")
    await subscribe_to_worklist(database)
    seen: list[int] = []
    is_over = asyncio.Event()

    async def watch() -> None:
        while True:
            was_over = is_over.is_set()
            await sequence(database.changes)
            last = seen[-1] if seen else 0
            seen.extend(event.position for event in await events_of(database, after=last))
            if was_over:
                return

    async def change(number: int, by: Database) -> None:
        for state in (IN_PROGRESS, COMPLETED):
            await update(by, f"1.{number}", ProcedureStepState=state)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(change(number, (database, other_database)[number % 2]) for number in range(4)))
    is_over.set()
    await watching
    found = await events_of(database)
    assert seen == [event.position for event in found]
    for number in range(4):
        of_one = [shown(event) for event in found if event.workitem == f"1.{number}"]
        assert of_one == [IN_PROGRESS, COMPLETED]


async def test_old_events_are_removed_and_the_log_knows_it(database: Database) -> None:
    await add(database, "1.1")
    await subscribe(database, "1.1")
    await subscribe_to_worklist(database, "IDLE")
    await database.subscriptions.unsubscribe_from_all(DEFAULT_PARTITION, "IDLE")
    last = (await events_of(database))[-1].position
    log = database.workitem_events
    assert await log.remove(NOON, 10) == 0
    assert await log.remove(NOON + timedelta(seconds=1), 1) == 1
    assert await log.remove(NOON + timedelta(seconds=1), 10) == 1
    assert await log.remove(NOON + timedelta(seconds=1), 10) == 0
    state = await log.state()
    assert state.removed == last <= state.last
    assert await events_of(database) == []
    assert [one.ae_title for one in await database.subscriptions.list(DEFAULT_PARTITION, "", 10)] == [AE]
    await update(database, "1.1", ProcedureStepState=IN_PROGRESS)
    [event] = await events_of(database)
    assert event.position > last


async def test_a_subscriber_is_kept_until_its_events_have_been_numbered_and_removed(database: Database) -> None:
    await add(database, "1.1")
    await sequence(database.changes)
    await subscribe(database, "1.1")
    await unsubscribe(database, "1.1")
    later = NOON + timedelta(seconds=1)
    if database.workitem_events.is_numbered_later:
        assert await database.workitem_events.remove(later, 10) == 1  # that of the new workitem
        assert await database.workitem_events.remove(later, 10) == 0
        assert [one.ae_title for one in await database.subscriptions.list(DEFAULT_PARTITION, "", 10)] == [AE]
    await sequence(database.changes)
    while await database.workitem_events.remove(later, 10):
        pass
    assert await database.subscriptions.list(DEFAULT_PARTITION, "", 10) == []


async def test_the_numbers_of_subscribers_and_subscriptions_are_limited(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "server.adapters.sql.worklist.subscriptions."
    for name in ("MAX_SUBSCRIBERS", "MAX_SINGLE", "MAX_OF_WORKLIST"):
        monkeypatch.setattr(module + name, 2)
    for uid in ("1.1", "1.2", "1.3"):
        await add(database, uid)
    for uid in ("1.1", "1.2"):
        await subscribe(database, uid)
    await subscribe_to_worklist(database, "OTHER")
    await add(database, "1.4")
    await subscribe_to_worklist(database, "OTHER", has_lock=True)
    for refused in (
        subscribe(database, "1.3"),
        subscribe_to_worklist(database, "THIRD"),
        subscribe_to_worklist(database, "OTHER", filtered(ProcedureStepLabel="read")),
    ):
        with pytest.raises(Exhausted) as failure:
            await refused
        assert failure.value.reason is Reason.TOO_MANY_SUBSCRIPTIONS


async def test_a_subscriber_does_not_get_the_key_of_one_that_was_removed(database: Database) -> None:
    """A channel of the removed one may still be open."""
    keys = []
    for ae_title in ("FIRST", "SECOND"):
        await subscribe_to_worklist(database, ae_title)
        state = await database.subscriptions.find(DEFAULT_PARTITION, ae_title)
        assert state is not None
        keys.append(state.key)
        await database.subscriptions.unsubscribe_from_all(DEFAULT_PARTITION, ae_title)
        await database.workitem_events.remove(NOON + timedelta(seconds=1), 10)
        assert await database.subscriptions.list(DEFAULT_PARTITION, "", 10) == []
    assert keys[0] < keys[1]


async def test_a_filter_that_a_search_would_refuse_is_refused(database: Database) -> None:
    values = tuple(f"*{number}*" for number in range(90))
    keys = ("ProcedureStepLabel", "WorklistLabel", "PatientID")
    stored = WorkitemFilter(tuple(Term(key, values) for key in keys)).stored({})
    with pytest.raises(InvalidRequest) as failure:
        await subscribe_to_worklist(database, AE, WorklistSubscription(True, stored, conditions_of(stored)))
    assert failure.value.reason is Reason.INVALID_QUERY
    assert await database.subscriptions.list(DEFAULT_PARTITION, "", 10) == []


async def test_the_length_of_all_filters_is_limited(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    one = filtered(PatientID="1")
    monkeypatch.setattr("server.adapters.sql.worklist.subscriptions.MAX_FILTERS_LENGTH", len(one.filter) + 1)
    await subscribe_to_worklist(database, "FIRST", one)
    with pytest.raises(Exhausted) as failure:
        await subscribe_to_worklist(database, "SECOND", one)
    assert failure.value.reason is Reason.TOO_MANY_SUBSCRIPTIONS
    await subscribe_to_worklist(database, "SECOND")


async def test_a_workitem_of_a_deleted_partition_is_not_changed(database: Database) -> None:
    """Its change would follow the deletion in the journal."""
    ward = PartitionName("ward")
    await database.partitions.create(ward, NOON)
    await database.workitems.add(ward, a_workitem("1.1"), CREATED)
    assert await database.partitions.delete(ward, NOON)
    with pytest.raises(NotFound):
        await update(database, "1.1", ward, ProcedureStepState=IN_PROGRESS)


async def test_a_deleted_partition_has_neither_subscribers_nor_events(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.adapters.sql.writing.partition_deleting._WORKITEMS", 1)
    ward = PartitionName("ward")
    await database.partitions.create(ward, NOON)
    await database.workitems.add(ward, a_workitem("1.1"), CREATED)
    await database.subscriptions.subscribe_to_worklist(ward, AE, NOON, WorklistSubscription(has_lock=True))
    await update(database, "1.1", ward, ProcedureStepState=IN_PROGRESS)
    await sequence(database.changes)
    assert await database.partitions.delete(ward, NOON)
    while await database.partitions.purge(NOON, NOON, reason="", author=""):
        pass
    assert await database.workitem_events.after(0, 10, 1 << 20, with_data_sets=False) == []
    assert await database.subscriptions.list(ward, "", 10) == []


FILTERS: list[dict[str, str]] = [
    {"ProcedureStepLabel": "detect nodules"},
    {"ProcedureStepLabel": "det*"},
    {"ProcedureStepLabel": "?etect*"},
    {"ProcedureStepLabel": "other"},
    {"ProcedureStepLabel": '""'},
    {"PatientID": '""'},
    {"PatientName": "doe^jane"},
    {"PatientName": "*jane"},
    {"PatientName": "山田*"},
    {"PatientName": "ja"},
    {"ScheduledProcedureStepStartDateTime": "20240501-20240502"},
    {"ScheduledProcedureStepStartDateTime": "-20240430"},
    {"ScheduledStationNameCodeSequence__CodeValue": "CT1"},
    {"ScheduledStationNameCodeSequence__CodeValue": "CT1", "ScheduledStationNameCodeSequence__CodeMeaning": "x"},
    {
        "ScheduledStationNameCodeSequence__CodeValue": "CT1",
        "ScheduledStationNameCodeSequence__CodingSchemeDesignator": "other",
    },
    {"ScheduledStationNameCodeSequence__CodeValue": '""'},
    {"SOPInstanceUID": "1.1\\1.3"},
    {"ProcedureStepState": "SCHEDULED", "PatientName": "doe*"},
]


@pytest.mark.parametrize("fuzzy", [False, True])
async def test_a_single_workitem_matches_a_filter_if_a_search_finds_it(database: Database, fuzzy: bool) -> None:
    samples = {
        "1.1": a_workitem("1.1", PatientName="Doe^Jane=山田^花子", ScheduledStationNameCodeSequence=[code()]),
        "1.2": a_workitem("1.2", PatientID="A", ProcedureStepLabel="other"),
        "1.3": a_workitem(
            "1.3",
            ScheduledProcedureStepStartDateTime="20230501",
            ScheduledStationNameCodeSequence=[code(scheme="x"), code("CT2", "other")],
        ),
    }
    for one in samples.values():
        assert await database.workitems.add(DEFAULT_PARTITION, one)
    results = set()
    for values in FILTERS:
        known = {name: value for name, value in values.items() if not name.endswith("CodeMeaning")}
        conditions = terms(fuzzy=fuzzy, empty=True, **known)
        page = await database.workitems.search(WorkitemQuery(DEFAULT_PARTITION, conditions, 100))
        found = {match.uid for match in page.matches}
        assert {uid for uid, one in samples.items() if matches(conditions, one.values)} == found, values
        results.add(frozenset(found))
    assert len(results) > 5
