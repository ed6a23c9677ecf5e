"""The journal of blobs that no instance refers to, as files (see `server.ports.journal`). All functions block.

    <root>/journal/<process>    lines of one process; `history` has those of ended processes:

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
    C                 it was committed
    V                 it was rolled back

The entries of a transaction are synced before its commit; its end is not synced and may be missing. Then the index
decides, by whether it still references the blobs; without an index the transaction counts as committed, because a
client requested it and may have received the response.
"""

import base64
import errno
import fcntl
import json
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.reserve import Reserve
from server.adapters.blobs.disk.threads import as_errors_of_the_store, sync_directory
from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import Locator
from server.model.lifecycle.hold import Hold
from server.model.lifecycle.label import Labels
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.ports.journal import Entry, HoldChange, LabelChange, OpenDeletion

_HISTORY = "history"
_ASKED_AT_ONCE = 500
_LINE = re.compile(
    r"([TCV]|D \S+|R \S+ \S+ \S+ \S+ \S+|M \S+ \S+|S \d+ \S+( \S+){0,2}|K \d+ \S+|E \d+"
    r"|H \d+ \S+|N \S+ \d+ \S+|L \d+ \d+ \S+)\n"
)
_ENDS, _OF_BLOBS, _OF_DELETIONS = "CV", "DMRN", "SKE"  # kinds of lines
_MAKES_VISIBLE = "RN"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

_T = TypeVar("_T")

Line = list[str]
"""The words of a line."""


class FileJournal:
    """ArchiveJournal (see `server.ports.journal`) below a directory, which may use the reserve beside it."""

    def __init__(self, root: Path) -> None:
        self._reserve = Reserve(root)
        self._directory = root / "journal"
        self._path = self._directory / uuid.uuid4().hex
        self._fd = -1
        self._is_open = False  # a transaction has entries
        self._is_torn = False  # the last line may be incomplete

    # Writing

    def deleted(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        self._note(f"D {locator}\n" for locator in locators)

    def restored(self, blobs: Mapping[Locator, InstanceId]) -> None:
        """See the port."""
        self._note(
            f"R {locator} {one.partition} {one.study} {one.series} {one.instance}\n" for locator, one in blobs.items()
        )

    def deleted_all(self, deletion: int, scope: Address) -> None:
        """See the port."""
        uids = filter(None, (scope.study, scope.series))
        self._note(iter([f"S {deletion} {' '.join((scope.partition, *uids))}\n"]))

    def stored_later(self, deletion: int, locators: Sequence[Locator]) -> None:
        """See the port."""
        self._note(f"K {deletion} {locator}\n" for locator in locators)

    def completed(self, deletion: int) -> None:
        """See the port."""
        self._note(iter([f"E {deletion}\n"]))

    def complete(self, deletions: Collection[int]) -> None:
        """See the port."""
        for deletion in deletions:
            self.completed(deletion)
        self.prepare()
        self.committed()

    def moved(self, moves: Mapping[Locator, Locator]) -> None:
        """See the port."""
        self._note(f"M {old} {new}\n" for old, new in moves.items())

    def replaced(self, versions: Mapping[Locator, tuple[Version, Provenance]]) -> None:
        """See the port."""
        self._note(f"N {locator} {version} {_encoded(by)}\n" for locator, (version, by) in versions.items())

    def labelled(self, version: int, time: datetime, resource: Address, labels: Labels) -> None:
        """See the port."""
        uids = (resource.study, resource.series, resource.instance)
        text = json.dumps([resource.partition, *uids, dict(labels)]).encode()
        self._note(iter([f"L {version} {(time - _EPOCH) // _MICROSECOND} {base64.b64encode(text).decode()}\n"]))

    def held(self, change: HoldChange) -> None:
        """See the port."""
        version, resource, name, hold = change
        details = None if hold is None else [hold.reason, hold.author, (hold.time - _EPOCH) // _MICROSECOND]
        uids = (resource.study, resource.series, resource.instance)
        text = json.dumps([resource.partition, *uids, name, details]).encode()
        self._note(iter([f"H {version} {base64.b64encode(text).decode()}\n"]))

    def prepare(self) -> None:
        """See the port."""
        if self._is_open:
            with as_errors_of_the_store():
                os.fsync(self._fd)

    def committed(self) -> None:
        """See the port."""
        self._end(b"C\n")

    def rolled_back(self) -> None:
        """See the port."""
        self._end(b"V\n")

    def close(self) -> None:
        """Close the file; the next process takes it over."""
        if self._fd >= 0:
            with suppress(OSError):
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def ended(self) -> None:
        """See the port."""
        self._is_open = False

    def _note(self, lines: Iterator[str]) -> None:
        with as_errors_of_the_store():
            if self._fd < 0:
                self._with_room(self._begin)
            begin = "" if self._is_open else "T\n"
            self._is_open = True
            self._write((begin + "".join(lines)).encode("ascii"))

    def _begin(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        sync_directory(self._directory)
        sync_directory(self._directory.parent)

    def _end(self, line: bytes) -> None:
        if self._is_open:
            self._is_open = False
            with suppress(OSError):
                self._write(line)

    def _write(self, data: bytes) -> None:
        left = memoryview(b"\n" + data if self._is_torn else data)
        self._is_torn = True
        while left:
            left = left[self._with_room(lambda: os.write(self._fd, left)) :]  # noqa: B023 - called immediately
        self._is_torn = False

    def _with_room(self, work: Callable[[], _T]) -> _T:
        """Run work that needs disk space, from the reserve if necessary."""
        try:
            return work()
        except OSError as error:
            if error.errno not in _NO_ROOM or not self._reserve.draw():
                raise
            return work()

    # Reading

    def take_over(
        self, referenced: Callable[[Sequence[Locator]], Collection[Locator]], pending: Callable[[], Collection[int]]
    ) -> None:
        """See the port: the entries of ended processes move to `history`."""
        with as_errors_of_the_store():
            for path in self._paths():
                fd = lock_if_free(path, create=False)
                if fd is None:
                    continue
                try:
                    if path.name != _HISTORY:
                        lines = _effective(path, lambda locators, restores: bool(referenced(locators)) == restores)
                        self._append_to_history(_without_completed(lines, pending))
                        path.unlink()
                finally:
                    os.close(fd)

    def entries(self) -> Iterator[Entry]:
        """See the port."""
        for kind, *words in self._effective_lines():
            if kind == "D":
                yield words[0], None
            elif kind == "M":
                yield words[0], words[1]

    def restorations(self) -> Iterator[tuple[Locator, InstanceId]]:
        """See the port."""
        for kind, *words in self._effective_lines():
            if kind == "R":
                locator, partition, *uids = words
                yield locator, InstanceId(PartitionName(partition), *map(Uid, uids))

    def versions(self) -> Iterator[tuple[Locator, Version, Provenance]]:
        """See the port."""
        for kind, *words in self._effective_lines():
            if kind == "N":
                author, reason, origin = json.loads(base64.b64decode(words[2]))
                yield words[0], Version(int(words[1])), Provenance(author, reason, VersionOrigin(origin))

    def label_changes(self) -> Iterator[LabelChange]:
        """See the port."""
        for kind, *words in self._effective_lines():
            if kind == "L":
                partition, study, series, instance, labels = json.loads(base64.b64decode(words[2]))
                resource = Address(PartitionName(partition), study, series, instance)
                yield LabelChange(int(words[0]), _EPOCH + int(words[1]) * _MICROSECOND, resource, labels)

    def hold_changes(self) -> Iterator[HoldChange]:
        """See the port."""
        for kind, *words in self._effective_lines():
            if kind == "H":
                partition, study, series, instance, name, details = json.loads(base64.b64decode(words[1]))
                resource = Address(PartitionName(partition), study, series, instance)
                hold = None
                if details is not None:
                    reason, author, time = details
                    hold = Hold(resource, name, reason, author, _EPOCH + time * _MICROSECOND)
                yield HoldChange(int(words[0]), resource, name, hold)

    def deleted_partitions(self) -> set[PartitionName]:
        """See the port."""
        return {PartitionName(words[1]) for kind, *words in self._effective_lines() if kind == "S" and len(words) == 2}

    def open_deletions(self) -> Mapping[int, OpenDeletion]:
        """See the port."""
        found: dict[int, OpenDeletion] = {}
        later: list[tuple[int, Locator]] = []
        completed: set[int] = set()
        for kind, *words in self._effective_lines():
            if kind == "S":
                partition, *uids = words[1:]
                scope = Address(PartitionName(partition), *map(Uid, uids))
                found[int(words[0])] = OpenDeletion(scope)
            elif kind == "K":
                later.append((int(words[0]), words[1]))
            elif kind == "E":
                completed.add(int(words[0]))
        for number, locator in later:
            if number in found:
                found[number].stored_later.add(locator)
        return {number: deletion for number, deletion in found.items() if number not in completed}

    def _effective_lines(self) -> Iterator[Line]:
        for path in self._paths():
            yield from _effective(path, lambda _, __: True)

    def _append_to_history(self, lines: Iterator[Line]) -> None:
        with open(self._directory / _HISTORY, "ab") as file:
            for line in lines:
                file.write(f"{' '.join(line)}\n".encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._directory)

    def _paths(self) -> list[Path]:
        return sorted(self._directory.iterdir()) if self._directory.exists() else []


def _effective(path: Path, is_committed: Callable[[Sequence[Locator], bool], bool]) -> Iterator[Line]:
    """Yield the entries of committed transactions; `is_committed` decides about those without an end.

    Its arguments are the blobs of the transaction, and whether it makes them visible.
    """
    counts = [
        end == "C" or (end == "" and is_committed(locators, restores))
        for end, locators, restores in _transactions(path)
    ]
    number = 0
    for line in _lines(path):
        if line[0] == "T":
            number += 1
        elif line[0] not in _ENDS and (number == 0 or counts[number - 1]):  # history has no transactions
            yield line


def _without_completed(lines: Iterator[Line], pending: Callable[[], Collection[int]]) -> Iterator[Line]:
    """Omit the lines of deletions of studies and series that are not pending, and the completion of those that are."""
    known: Collection[int] | None = None
    for line in lines:
        if line[0] in _OF_DELETIONS and not (line[0] == "S" and len(line) == 3):  # a partition, which is remembered
            if known is None:
                known = pending()
            if (int(line[1]) in known) == (line[0] == "E"):
                continue
        yield line


def _transactions(path: Path) -> Iterator[tuple[str, list[Locator], bool]]:
    """Yield the end of each transaction (C, V or none), its first blobs, and whether it adds or retires them."""
    is_any, end, locators, restores = False, "", list[Locator](), False
    for kind, *words in _lines(path):
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


def _lines(path: Path) -> Iterator[Line]:
    """Yield the words of each complete line; damaged lines and an incomplete last one are ignored."""
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            if line.endswith("\n") and _LINE.fullmatch(line):
                yield line.split()


def _encoded(by: Provenance) -> str:
    return base64.b64encode(json.dumps([by.author, by.reason, int(by.origin)]).encode()).decode()
