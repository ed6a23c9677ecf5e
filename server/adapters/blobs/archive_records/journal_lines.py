"""The lines of a journal (see `server.ports.journal`), whatever stores them.

    T                 a transaction begins
    D <locator>       it deletes the instance of this blob
    R <locator> <partition> <study> <series> <instance>
                      it restores the deleted instance of this blob
    M <old> <new>     it refers the instance of this blob to a copy
    S <number> <partition> [<study> [<series>]]
                      it deletes all instances of a partition, study or series; the lines D of their blobs follow
    K <number> <locator>
                      it adds this blob to the study or series of such a deletion, so that the blob is not deleted
    E <number>        all lines D of such a deletion are written
    N <locator> <version> <JSON in base64>
                      it makes this blob the next version of its instance: author, reason, origin
    L <version> <microseconds> <JSON in base64>
                      it changes labels: the address of the study, series or instance, and all its labels
    H <version> <JSON in base64>
                      it sets or releases a hold: address of the resource, name, and reason, author and time, or null
    P <version> <microseconds> <JSON in base64>
                      it sets or removes the expiry of a study: partition, study, and time of expiry, author and time
                      of the request, or null
    W <version> <compressed JSON in base64>
                      it creates or changes a workitem: partition, UID, and state, lock, time and data set; or removes
                      it: partition and UID
    C                 it was committed
    V                 it was rolled back

The end of a transaction may be missing. Then the index decides, by whether it still references the blobs; without an
index the transaction counts as committed, because a client requested it and may have received the response.
"""

import base64
import json
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import Locator
from server.model.lifecycle.expiry import Expiry
from server.model.lifecycle.hold import Hold
from server.model.lifecycle.label import Labels
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.model.worklist.workitem import Workitem, WorkitemState
from server.ports.journal import (
    ArchiveJournal,
    DeletionEntries,
    Entry,
    ExpiryChange,
    HoldChange,
    LabelChange,
    OpenDeletion,
    WorkitemChange,
    open_deletions,
)

_ASKED_AT_ONCE = 500
_LINE = re.compile(
    r"([TCV]|D \S+|R \S+ \S+ \S+ \S+ \S+|M \S+ \S+|S \d+ \S+( \S+){0,2}|K \d+ \S+|E \d+"
    r"|[HW] \d+ \S+|P \d+ \d+ \S+|N \S+ \d+ \S+|L \d+ \d+ \S+)\n"
)
_ENDS, _OF_BLOBS, _OF_DELETIONS = "CV", "DMRN", "SKE"  # kinds of lines
_MAKES_VISIBLE = "RN"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Line = list[str]
"""The words of a line."""

Decide = Callable[[Sequence[Locator], bool], bool]
"""Returns whether a transaction without an end was committed; arguments: some of its blobs, and whether it makes them
visible."""


class LineJournal(ABC):
    """Formats and interprets lines, for an ArchiveJournal (see `server.ports.journal`)."""

    @abstractmethod
    def note(self, lines: Iterator[str]) -> None:
        """Add lines to the transaction. Raises: as `Journal.deleted`."""

    @abstractmethod
    def effective_lines(self) -> Iterator[Line]:
        """Yield the entries of all transactions that were committed or have an unknown outcome."""

    @abstractmethod
    def prepare(self) -> None:
        """See the port."""

    @abstractmethod
    def committed(self) -> None:
        """See the port."""

    def deleted(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        self.note(f"D {locator}\n" for locator in locators)

    def restored(self, blobs: Mapping[Locator, InstanceId]) -> None:
        """See the port."""
        self.note(
            f"R {locator} {one.partition} {one.study} {one.series} {one.instance}\n" for locator, one in blobs.items()
        )

    def deleted_all(self, deletion: int, scope: Address) -> None:
        """See the port."""
        uids = filter(None, (scope.study, scope.series))
        self.note(iter([f"S {deletion} {' '.join((scope.partition, *uids))}\n"]))

    def stored_later(self, deletion: int, locators: Sequence[Locator]) -> None:
        """See the port."""
        self.note(f"K {deletion} {locator}\n" for locator in locators)

    def completed(self, deletion: int) -> None:
        """See the port."""
        self.note(iter([f"E {deletion}\n"]))

    def complete(self, deletions: Collection[int]) -> None:
        """See the port."""
        for deletion in deletions:
            self.completed(deletion)
        self.prepare()
        self.committed()

    def moved(self, moves: Mapping[Locator, Locator]) -> None:
        """See the port."""
        self.note(f"M {old} {new}\n" for old, new in moves.items())

    def replaced(self, versions: Mapping[Locator, tuple[Version, Provenance]]) -> None:
        """See the port."""
        self.note(f"N {locator} {version} {_encoded(by)}\n" for locator, (version, by) in versions.items())

    def labelled(self, version: int, time: datetime, resource: Address, labels: Labels) -> None:
        """See the port."""
        uids = (resource.study, resource.series, resource.instance)
        text = json.dumps([resource.partition, *uids, dict(labels)]).encode()
        self.note(iter([f"L {version} {_number(time)} {base64.b64encode(text).decode()}\n"]))

    def held(self, change: HoldChange) -> None:
        """See the port."""
        version, resource, name, hold = change
        details = None if hold is None else [hold.reason, hold.author, _number(hold.time)]
        uids = (resource.study, resource.series, resource.instance)
        text = json.dumps([resource.partition, *uids, name, details]).encode()
        self.note(iter([f"H {version} {base64.b64encode(text).decode()}\n"]))

    def expires(self, change: ExpiryChange) -> None:
        """See the port."""
        version, time, study, expiry = change
        details = None if expiry is None else [_number(expiry.expires), expiry.author, _number(expiry.time)]
        text = json.dumps([study.partition, study.study, details]).encode()
        self.note(iter([f"P {version} {_number(time)} {base64.b64encode(text).decode()}\n"]))

    def workitem_changed(self, change: WorkitemChange) -> None:
        """See the port."""
        version, partition, uid, workitem = change
        content: list[object] = [partition, uid]
        if workitem is not None:
            time = _number(workitem.modified)
            content += [workitem.state.value, workitem.lock, time, workitem.data_set]
        text = zlib.compress(json.dumps(content).encode(), 1)
        self.note(iter([f"W {version} {base64.b64encode(text).decode()}\n"]))

    # Reading

    def entries(self) -> Iterator[Entry]:
        """See the port."""
        for kind, *words in self.effective_lines():
            if kind == "D":
                yield words[0], None
            elif kind == "M":
                yield words[0], words[1]

    def restorations(self) -> Iterator[tuple[Locator, InstanceId]]:
        """See the port."""
        for kind, *words in self.effective_lines():
            if kind == "R":
                locator, partition, *uids = words
                yield locator, InstanceId(PartitionName(partition), *map(Uid, uids))

    def versions(self) -> Iterator[tuple[Locator, Version, Provenance]]:
        """See the port."""
        for kind, *words in self.effective_lines():
            if kind == "N":
                author, reason, origin = json.loads(base64.b64decode(words[2]))
                yield words[0], Version(int(words[1])), Provenance(author, reason, VersionOrigin(origin))

    def label_changes(self) -> Iterator[LabelChange]:
        """See the port."""
        for kind, *words in self.effective_lines():
            if kind == "L":
                partition, study, series, instance, labels = json.loads(base64.b64decode(words[2]))
                resource = Address(PartitionName(partition), study, series, instance)
                yield LabelChange(int(words[0]), _time(int(words[1])), resource, labels)

    def hold_changes(self) -> Iterator[HoldChange]:
        """See the port."""
        for kind, *words in self.effective_lines():
            if kind == "H":
                partition, study, series, instance, name, details = json.loads(base64.b64decode(words[1]))
                resource = Address(PartitionName(partition), study, series, instance)
                hold = None
                if details is not None:
                    reason, author, time = details
                    hold = Hold(resource, name, reason, author, _time(time))
                yield HoldChange(int(words[0]), resource, name, hold)

    def expiry_changes(self) -> Iterator[ExpiryChange]:
        """See the port."""
        for kind, *words in self.effective_lines():
            if kind == "P":
                partition, study, details = json.loads(base64.b64decode(words[2]))
                expiry = None
                if details is not None:
                    expires, author, set_at = details
                    expiry = Expiry(_time(expires), author, _time(set_at))
                address = Address(PartitionName(partition), Uid(study))
                yield ExpiryChange(int(words[0]), _time(int(words[1])), address, expiry)

    def workitem_changes(self) -> Iterator[WorkitemChange]:
        """See the port."""
        for kind, *words in self.effective_lines():
            if kind == "W":
                partition, uid, *content = json.loads(zlib.decompress(base64.b64decode(words[1])))
                workitem = None
                if content:
                    state, lock, time, data_set = content
                    modified = _time(time)
                    workitem = Workitem(Uid(uid), WorkitemState(state), lock, data_set, (), modified)
                yield WorkitemChange(int(words[0]), PartitionName(partition), Uid(uid), workitem)

    def deleted_partitions(self) -> Mapping[PartitionName, int]:
        """See the port."""
        found: dict[PartitionName, int] = {}
        for kind, *words in self.effective_lines():
            if kind == "S" and len(words) == 2:
                name = PartitionName(words[1])
                found[name] = max(found.get(name, 0), int(words[0]))
        return found

    def deletions(self) -> DeletionEntries:
        """See the port."""
        begun: dict[int, Address] = {}
        later: list[tuple[int, Locator]] = []
        completed: set[int] = set()
        for kind, *words in self.effective_lines():
            if kind == "S":
                partition, *uids = words[1:]
                begun[int(words[0])] = Address(PartitionName(partition), *map(Uid, uids))
            elif kind == "K":
                later.append((int(words[0]), words[1]))
            elif kind == "E":
                completed.add(int(words[0]))
        return DeletionEntries(begun, later, completed)

    def open_deletions(self) -> Mapping[int, OpenDeletion]:
        """See the port."""
        return open_deletions([self.deletions()])


class _Formatted(LineJournal):
    """Formats entries."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, lines: Iterator[str]) -> None:
        self.lines = [*lines]

    def effective_lines(self) -> Iterator[Line]:
        return iter(())

    def prepare(self) -> None:
        """Do nothing."""

    def committed(self) -> None:
        """Do nothing."""


def lines_of(journal: ArchiveJournal) -> Iterator[str]:
    """Yield all that a journal lists, as lines that belong to no transaction."""
    formatted = _Formatted()
    for old, new in journal.entries():
        if new is None:
            formatted.deleted([old])
        else:
            formatted.moved({old: new})
        yield from formatted.lines
    for locator, instance in journal.restorations():
        formatted.restored({locator: instance})
        yield from formatted.lines
    for locator, version, provenance in journal.versions():
        formatted.replaced({locator: (version, provenance)})
        yield from formatted.lines
    for change in journal.label_changes():
        formatted.labelled(*change)
        yield from formatted.lines
    for hold in journal.hold_changes():
        formatted.held(hold)
        yield from formatted.lines
    for expiry in journal.expiry_changes():
        formatted.expires(expiry)
        yield from formatted.lines
    for workitem in journal.workitem_changes():
        formatted.workitem_changed(workitem)
        yield from formatted.lines
    deletions = journal.deletions()
    for number, scope in deletions.begun.items():
        formatted.deleted_all(number, scope)
        yield from formatted.lines
    for number, locator in deletions.stored_later:
        formatted.stored_later(number, [locator])
        yield from formatted.lines
    for number in deletions.completed:
        formatted.completed(number)
        yield from formatted.lines


def decided_by(referenced: Callable[[Sequence[Locator]], Collection[Locator]]) -> Decide:
    """Return the decision by the index, see `ArchiveJournal.take_over`."""
    return lambda locators, makes_visible: bool(referenced(locators)) == makes_visible


def effective(read: Callable[[], Iterable[str]], is_committed: Decide) -> Iterator[Line]:
    """Yield the entries of committed transactions; `is_committed` decides about those without an end.

    `read` returns all lines as text, and is called twice.
    """
    counts = [
        end == "C" or (end == "" and is_committed(locators, restores))
        for end, locators, restores in _transactions(read())
    ]
    number = 0
    for line in parsed(read()):
        if line[0] == "T":
            number += 1
        elif line[0] not in _ENDS and (number == 0 or counts[number - 1]):  # history has no transactions
            yield line


def without_completed(lines: Iterator[Line], pending: Callable[[], Collection[int]]) -> Iterator[Line]:
    """Omit the lines of deletions of studies and series that are not pending, and the completion of those that are."""
    known: Collection[int] | None = None
    for line in lines:
        if line[0] in _OF_DELETIONS and not (line[0] == "S" and len(line) == 3):  # a partition, which is remembered
            if known is None:
                known = pending()
            if (int(line[1]) in known) == (line[0] == "E"):
                continue
        yield line


def _transactions(texts: Iterable[str]) -> Iterator[tuple[str, list[Locator], bool]]:
    """Yield the end of each transaction (C, V or none), its first blobs, and whether it adds or retires them."""
    is_any, end, locators, restores = False, "", list[Locator](), False
    for kind, *words in parsed(texts):
        if kind == "T":
            if is_any:
                yield end, locators, restores
            is_any, end, locators, restores = True, "", [], False
        elif kind in _ENDS:
            end, locators = kind, []
        elif kind in _OF_BLOBS and len(locators) < _ASKED_AT_ONCE:
            locators.append(words[0])
            restores = kind in _MAKES_VISIBLE
    if is_any:
        yield end, locators, restores


def parsed(texts: Iterable[str]) -> Iterator[Line]:
    """Yield the words of each complete line; damaged lines and an incomplete last one are ignored."""
    for text in texts:
        if text.endswith("\n") and _LINE.fullmatch(text):
            yield text.split()


def _number(time: datetime) -> int:
    """Return a time as microseconds."""
    return (time - _EPOCH) // _MICROSECOND


def _time(number: int) -> datetime:
    return _EPOCH + number * _MICROSECOND


@lru_cache(maxsize=16)  # the versions of a transaction mostly have the same one
def _encoded(by: Provenance) -> str:
    return base64.b64encode(json.dumps([by.author, by.reason, int(by.origin)]).encode()).decode()
