"""How the events of studies follow from the change feed (server/domain/events/study_states.py)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.domain.events.study_states import StudyStates
from server.model.change import ChangeAction
from server.model.events.study_event import (
    Progress,
    StudyChanges,
    StudyEntry,
    StudyEvent,
    StudyEventKind,
    StudyState,
    Unprocessed,
)
from server.model.ids import DEFAULT_PARTITION, Uid

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = timedelta(seconds=60)
LATER = NOON + timedelta(days=1)


def entries(*described: tuple[str, str, float]) -> list[StudyEntry]:
    """Return entries of a study, an action, and seconds after noon each."""
    actions = {"restore": ChangeAction.CREATE} | {action.name.lower(): action for action in ChangeAction}
    return [
        StudyEntry(
            number, NOON + timedelta(seconds=at), actions[action], action == "restore", DEFAULT_PARTITION, Uid(study)
        )
        for number, (study, action, at) in enumerate(described, 1)
    ]


def processed(
    found: Sequence[StudyEntry], *, pages: Sequence[int] = (), now: datetime = LATER, silent: int = 0
) -> list[StudyEvent]:
    """Process entries in pages that end before these sequences, each with the states that the previous one left."""
    progress, events = Progress(silent_sequence=silent), []
    states: dict[Uid, StudyState] = {}
    for end in (*pages, len(found) + 1):
        page = tuple(entry for entry in found if progress.sequence < entry.sequence < end)
        work = StudyStates(Unprocessed(progress, page, tuple(states.values()), end > len(found)), QUIET)
        work.process(page)
        if end > len(found):
            work.settle(now)
        states |= {state.study: state for state in work.changed}
        states = {study: state for study, state in states.items() if state.instances > 0}
        progress = work.progress
        events += work.events
    return events


def names(events: Sequence[StudyEvent]) -> list[Any]:
    return [(event.study, event.kind.name.lower(), event.last_sequence) for event in events]


def test_a_study_is_stable_when_no_instance_has_been_stored_for_a_while() -> None:
    found = entries(("1", "create", 0), ("1", "create", 59), ("2", "create", 60))
    assert processed(found, now=NOON + timedelta(seconds=118)) == []
    [event] = processed(found, now=NOON + timedelta(seconds=119))
    assert event == StudyEvent(
        number=1,
        kind=StudyEventKind.STABLE,
        time=NOON + timedelta(seconds=119),
        sequence=3,
        last_sequence=2,
        partition=DEFAULT_PARTITION,
        study=Uid("1"),
        instances=2,
        changes=StudyChanges(created=2),
    )
    assert event.id == "2-stable"


def test_each_quiet_period_causes_one_event_however_late_it_is_noticed() -> None:
    found = entries(("1", "create", 0), ("1", "create", 60), ("1", "create", 300))
    assert names(processed(found)) == [("1", "stable", 1), ("1", "stable", 2), ("1", "stable", 3)]
    assert [event.sequence for event in processed(found)] == [1, 2, 3]


def test_a_study_is_deleted_with_its_last_instance_at_once() -> None:
    found = entries(("1", "create", 0), ("1", "create", 0), ("1", "delete", 1), ("1", "delete", 2))
    assert names(processed(found, now=NOON)) == [("1", "deleted", 4)]


def test_a_deletion_between_two_stores_is_not_lost() -> None:
    found = entries(("1", "create", 0), ("1", "delete", 1), ("1", "create", 2))
    assert names(processed(found)) == [("1", "deleted", 2), ("1", "stable", 3)]


def test_a_quiet_study_has_one_event_for_each_kind_of_change() -> None:
    found = entries(
        ("1", "create", 0), ("1", "create", 100), ("1", "update", 101), ("1", "delete", 102), ("1", "restore", 103)
    )
    events = processed(found)
    assert names(events) == [("1", "stable", 1), ("1", "restored", 5), ("1", "updated", 5), ("1", "stable", 5)]
    assert {event.changes for event in events[1:]} == {StudyChanges(1, 1, 1, 1)}
    assert {event.instances for event in events[1:]} == {2}


def test_a_restored_study_has_no_event_as_if_it_were_new() -> None:
    found = entries(("1", "create", 0), ("1", "delete", 1), ("1", "restore", 2))
    assert names(processed(found)) == [("1", "deleted", 2), ("1", "restored", 3)]


def test_entries_from_before_the_upgrade_are_counted_but_cause_no_events() -> None:
    found = entries(("1", "create", 0), ("1", "create", 0), ("2", "create", 0), ("1", "delete", 1), ("1", "delete", 2))
    assert names(processed(found, silent=3)) == [("1", "deleted", 5)]


@given(
    st.lists(st.tuples(st.sampled_from("12"), st.sampled_from(["create", "delete"]), st.integers(0, 50)), max_size=30),
    st.lists(st.integers(1, 30), max_size=3),
)
def test_events_do_not_depend_on_how_the_feed_is_divided(steps: list[tuple[str, str, int]], cuts: list[int]) -> None:
    at, counts, described = 0, {"1": 0, "2": 0}, []
    for study, wanted, seconds in steps:
        at += seconds
        action = wanted if counts[study] else "create"
        counts[study] += 1 if action == "create" else -1
        described.append((study, action, at))
    found = entries(*described)
    whole = processed(found)
    cuts = sorted(cut for cut in cuts if cut <= len(found))
    divided = processed(found, pages=cuts)
    assert sorted(names(divided)) == sorted(names(whole))
    assert [event.number for event in divided] == list(range(1, len(divided) + 1))
    assert [event.sequence for event in divided] == sorted(event.sequence for event in divided)
    assert len({event.id for event in divided}) == len(divided)
