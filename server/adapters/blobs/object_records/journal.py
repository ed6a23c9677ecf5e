"""The journal of blobs that no instance refers to, on an object store (see `server.ports.journal`). All calls block.

    journal/open/<process>/<number>    the lines of one transaction, see `journal_lines`; created before its commit
    journal/history/<random>           the lines of committed transactions; before them `X <name>` for each object that
                                       this one replaces, which counts no more although it may exist still
    journal/absorbed/<store id>/current
                                       the <random> that counts of what was absorbed from another store
    journal/absorbed/<store id>/<random>/<number>
                                       its lines

The end of a transaction is not recorded: the process knows it, and moves committed ones to the history, many at once.
After the end of the process, the index decides, as in `journal_lines`.
"""

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial

from server.adapters.blobs.archive_records.journal_lines import (
    Decide,
    Line,
    LineJournal,
    decided_by,
    effective,
    lines_of,
    without_completed,
)
from server.adapters.blobs.objects.client import Changed, Exists, Listed, NotFound, ObjectClient
from server.adapters.blobs.objects.lease import ProcessId, ProcessLease
from server.model.errors import DicomStoreError, Reason, Unavailable
from server.model.instance import Locator
from server.model.store_id import StoreId
from server.ports.journal import ArchiveJournal

_OPEN = "journal/open/"
_HISTORY = "journal/history/"
_ABSORBED, _CURRENT = "journal/absorbed/", "current"
_REPLACES = "X "
_JOINED_TRANSACTIONS = 100
_JOINED_BYTES = 1 << 20
_LARGE_BYTES = 1 << 20
"""An object of the history of this size is not joined with others."""

_log = logging.getLogger("dicomstore.blobs")


class _Written:
    """A transaction of this process in an object."""

    def __init__(self, process: ProcessId, name: str, lines: list[str]) -> None:
        self.process = process
        self.name = name
        self.lines = lines


class ObjectJournal(LineJournal):
    """ArchiveJournal (see `server.ports.journal`)."""

    def __init__(self, client: ObjectClient, lease: ProcessLease) -> None:
        self._client = client
        self._lease = lease
        self._number = 0
        self._lines: list[str] = []  # of the present transaction
        self._written: _Written | None = None  # the present transaction, once it is prepared
        self._committed: list[_Written] = []  # not in the history yet
        self._left_out: Collection[str] = ()

    # Writing

    def note(self, lines: Iterator[str]) -> None:
        """See the base class."""
        self._lines += lines

    def prepare(self) -> None:
        """See the port."""
        if not self._lines:
            return
        process = self._lease.id
        self._number += 1
        name = f"{_OPEN}{process}/{self._number:012d}"
        text = "".join(self._lines)
        try:
            self._client.create(name, f"T\n{text}".encode("ascii"))
        except Exists as error:  # two processes with one id do not exist
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The journal could not be written.") from error
        self._written = _Written(process, name, self._lines)

    def committed(self) -> None:
        """See the port."""
        if self._lines and self._written is None:
            self._without_failure("write", self.prepare)
        written = self._written
        if written is not None:
            if not self._lease.holds(written.process):
                self._without_failure("check", partial(self._record_again, written))
            else:
                self._committed.append(written)
                if self._are_many():
                    self._without_failure("join", self._join)
        self.ended()

    def rolled_back(self) -> None:
        """See the port."""
        if self._written is not None:
            self._without_failure("remove", partial(self._client.delete, [self._written.name]))
        self._lines, self._written = [], None

    def ended(self) -> None:
        """See the port."""
        if self._lines and self._written is None:
            self._without_failure("write", self.prepare)
        self._lines, self._written = [], None

    def close(self) -> None:
        """Move the committed transactions to the history. Never fails: otherwise the next process does so."""
        self._without_failure("join", self._join)

    def _are_many(self) -> bool:
        size = sum([sum(map(len, written.lines)) for written in self._committed])
        return len(self._committed) >= _JOINED_TRANSACTIONS or size >= _JOINED_BYTES

    def _record_again(self, written: _Written) -> None:
        """Record a transaction of this process if another one has decided about it before its commit."""
        try:
            self._client.head(written.name)  # otherwise the index will be asked after the commit
        except NotFound:
            self._add_to_history([], written.lines)

    def _join(self) -> None:
        """Move committed transactions to the history; if this process has counted as ended, another one does so."""
        joined = [written for written in self._committed if self._lease.holds(written.process)]
        if joined:
            names = [written.name for written in joined]
            self._add_to_history(names, (line for written in joined for line in written.lines))
            self._client.delete(names)
        self._committed = []

    def _add_to_history(self, replaced: Iterable[str], lines: Iterable[str]) -> str:
        name = f"{_HISTORY}{uuid.uuid4().hex}"
        text = "".join([f"{_REPLACES}{one}\n" for one in replaced]) + "".join(lines)
        self._client.create(name, text.encode("ascii"))
        return name

    @staticmethod
    def _without_failure(task: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (DicomStoreError, Exists, Changed) as error:
            _log.warning("the journal is incomplete for now task=%s error=%s", task, type(error).__name__)

    # Reading

    def take_over(
        self, referenced: Callable[[Sequence[Locator]], Collection[Locator]], pending: Callable[[], Collection[int]]
    ) -> None:
        """See the port: the entries of ended processes move to the history, and its small objects are joined."""
        listed = list(self._client.names("journal/"))
        names = {one.name for one in listed}
        ended = self._lease.ended({_process_of(name) for name in names if name.startswith(_OPEN)})
        replaced = self._replaced(names)
        old = [one for one in listed if one.name.startswith(_OPEN) and _process_of(one.name) in ended]
        small = [one for one in listed if one.name.startswith(_HISTORY) and one.size_bytes < _LARGE_BYTES]
        if not old and len(small) < 2:
            return
        decide = decided_by(referenced)
        for group in _groups([*old, *small]):
            lines: list[str] = []
            gone = [one.name for one in group]
            for name in gone:
                if name not in replaced:
                    found = without_completed(self._lines_of(name, decide), pending)
                    lines += [f"{' '.join(line)}\n" for line in found]
            still_there = {one for name in gone for one in self._replaced([name])} & names
            self._add_to_history(sorted({*gone, *still_there}), lines)
            self._client.delete(gone)

    def absorb(self, store: StoreId, journal: ArchiveJournal) -> None:
        """See the port."""
        folder, generation = _folder_of(store), uuid.uuid4().hex
        for number, text in enumerate(_joined(lines_of(journal))):
            self._client.create(f"{folder}{generation}/{number:06d}", text.encode("ascii"))
        try:
            _, etag = self._client.get(f"{folder}{_CURRENT}")
            self._client.replace(f"{folder}{_CURRENT}", generation.encode("ascii"), etag)
        except NotFound:
            self._client.create(f"{folder}{_CURRENT}", generation.encode("ascii"))
        kept = (f"{folder}{_CURRENT}", f"{folder}{generation}/")
        self._client.delete([one.name for one in self._client.names(folder) if not one.name.startswith(kept)])

    def leave_out(self, stores: Collection[StoreId]) -> None:
        """See the port."""
        self._left_out = {_folder_of(store) for store in stores}

    def effective_lines(self) -> Iterator[Line]:
        """See the base class."""
        names = [one.name for one in self._client.names("journal/")]
        replaced = self._replaced(names)
        for name in names:
            if name not in replaced and not name.startswith(_ABSORBED):
                yield from self._lines_of(name, lambda _, __: True)
        for name in names:
            if name.startswith(_ABSORBED) and name.endswith(f"/{_CURRENT}"):
                yield from self._absorbed_lines(name, names)

    def _absorbed_lines(self, current: str, names: Iterable[str]) -> Iterator[Line]:
        """Yield what was absorbed from a store; `current` is the object that names what counts of it."""
        folder = current.removesuffix(_CURRENT)
        if folder not in self._left_out:
            [generation] = self._texts(current)
            for name in names:
                if name.startswith(f"{folder}{generation}/"):
                    yield from self._lines_of(name, lambda _, __: True)

    def _replaced(self, names: Iterable[str]) -> set[str]:
        """Return the objects that those of the history replace."""
        found = set[str]()
        for name in names:
            if name.startswith(_HISTORY):
                texts = self._texts(name)
                found.update(text[len(_REPLACES) :].strip() for text in texts if text.startswith(_REPLACES))
        return found

    def _lines_of(self, name: str, decide: Decide) -> Iterator[Line]:
        texts = self._texts(name)
        return effective(lambda: texts, decide)

    def _texts(self, name: str) -> list[str]:
        try:
            return self._client.get(name)[0].decode("ascii", "replace").splitlines(keepends=True)
        except NotFound as error:
            message = "The journal was changed by another process meanwhile."
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, message) from error


def _process_of(name: str) -> ProcessId:
    return name.removeprefix(_OPEN).partition("/")[0]


def _folder_of(store: StoreId) -> str:
    return f"{_ABSORBED}{store or 'without-id'}/"


def _joined(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines joined to texts that are not much larger than the larger objects."""
    some: list[str] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line)
        if size >= _LARGE_BYTES:
            yield "".join(some)
            some, size = [], 0
    if some:
        yield "".join(some)


def _groups(objects: Sequence[Listed]) -> Iterator[Sequence[Listed]]:
    """Yield groups of objects to be joined, which are not much larger than the larger ones."""
    group: list[Listed] = []
    for one in objects:
        group.append(one)
        if sum(member.size_bytes for member in group) >= _LARGE_BYTES:
            yield group
            group = []
    if group:
        yield group
