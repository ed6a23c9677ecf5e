"""How the events of studies follow from the entries of the change feed: without a clock, database or network."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

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
from server.model.ids import PartitionName, Uid

_Key = tuple[PartitionName, Uid]


class StudyStates:
    """The states of some studies while entries of the change feed are processed, and the events that follow.

    A study is quiet if no instance of it has been stored, updated, deleted or restored for the time `quiet`. Then it
    gets an event for each kind of change since it was last quiet. When its last instance is deleted, it gets an event
    at once.

    Args:
        found: entries and states to start from.
    """

    def __init__(self, found: Unprocessed, quiet: timedelta) -> None:
        self._quiet = quiet
        self._silent_sequence = found.progress.silent_sequence
        self._studies = {(state.partition, state.study): _Study(state) for state in found.states}
        self._changed: set[_Key] = set()
        self._sequence = found.progress.sequence
        self._number = found.progress.number
        self.events: list[StudyEvent] = []

    def process(self, entries: Iterable[StudyEntry]) -> None:
        """Process the next entries, ascending."""
        for entry in entries:
            self._process(entry)
            self._sequence = entry.sequence

    def settle(self, now: datetime) -> None:
        """Add the events of all studies that are quiet. To be called when every entry has been processed."""
        for key, study in self._studies.items():
            if study.time is not None and now >= study.time + self._quiet:
                self._changed.add(key)
                self._settle(study)

    @property
    def progress(self) -> Progress:
        """How far the change feed has been processed."""
        return Progress(self._sequence, self._silent_sequence, self._number)

    @property
    def changed(self) -> Collection[StudyState]:
        """The states that have changed; those of deleted studies have no instances."""
        return [self._studies[key].state() for key in sorted(self._changed)]

    def _process(self, entry: StudyEntry) -> None:
        key = (entry.partition, entry.study)
        study = self._studies.get(key)
        if study is None:
            study = self._studies[key] = _Study(StudyState(entry.partition, entry.study))
        self._changed.add(key)
        if study.time is not None and entry.time >= study.time + self._quiet:
            self._settle(study)  # it was quiet before this entry
        study.sequence = entry.sequence
        if entry.action is ChangeAction.CREATE:
            study.instances += 1
        elif entry.action is ChangeAction.DELETE:
            study.instances -= 1
        if entry.sequence <= self._silent_sequence:
            return
        study.time = entry.time
        study.count(entry)
        if entry.action is ChangeAction.DELETE and study.instances <= 0:
            self._add(study, StudyEventKind.DELETED, entry.time, entry.sequence)
            study.forget()

    def _settle(self, study: "_Study") -> None:
        """Add the events of a quiet study."""
        assert study.time is not None, "it has changed"
        kinds = {
            StudyEventKind.RESTORED: study.restored,
            StudyEventKind.UPDATED: study.updated or study.deleted,
            StudyEventKind.STABLE: study.created,
        }
        for kind, count in kinds.items():
            if count:
                self._add(study, kind, study.time + self._quiet, self._sequence)
        study.forget()

    def _add(self, study: "_Study", kind: StudyEventKind, time: datetime, sequence: int) -> None:
        self._number += 1
        state = study.state()
        self.events.append(
            StudyEvent(
                number=self._number,
                kind=kind,
                time=time,
                sequence=sequence,
                last_sequence=state.sequence,
                partition=state.partition,
                study=state.study,
                instances=state.instances,
                changes=state.changes,
            )
        )


class _Study:
    """A `StudyState` that changes."""

    __slots__ = ("created", "deleted", "instances", "partition", "restored", "sequence", "study", "time", "updated")

    def __init__(self, state: StudyState) -> None:
        self.partition = state.partition
        self.study = state.study
        self.instances = state.instances
        self.sequence = state.sequence
        self.time = state.time
        self.created, self.updated = state.changes.created, state.changes.updated
        self.deleted, self.restored = state.changes.deleted, state.changes.restored

    def count(self, entry: StudyEntry) -> None:
        """Count a change."""
        if entry.is_restored:
            self.restored += 1
        elif entry.action is ChangeAction.CREATE:
            self.created += 1
        elif entry.action is ChangeAction.UPDATE:
            self.updated += 1
        else:
            self.deleted += 1

    def forget(self) -> None:
        """The changes until now have their events."""
        self.time = None
        self.created = self.updated = self.deleted = self.restored = 0

    def state(self) -> StudyState:
        """Return the present state."""
        changes = StudyChanges(self.created, self.updated, self.deleted, self.restored)
        return StudyState(self.partition, self.study, self.instances, changes, self.sequence, self.time)
