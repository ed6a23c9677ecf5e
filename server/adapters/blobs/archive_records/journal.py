"""The journal of blobs that no instance refers to, as files (see `server.ports.journal`). All functions block.

    <root>/journal/<process>    lines of one process; `history` has those of ended processes:

    T                 a transaction begins
    D <locator>       it deletes the instance of this blob
    M <old> <new>     it refers the instance of this blob to a copy
    C                 it was committed
    V                 it was rolled back

The entries of a transaction are synced before its commit; its end is not synced and may be missing. Then the index
decides, by whether it still references the blobs; without an index the transaction counts as committed, because a
client requested it and may have received the response.
"""

import errno
import fcntl
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.reserve import Reserve
from server.adapters.blobs.disk.threads import as_errors_of_the_store, sync_directory
from server.model.instance import Locator
from server.ports.journal import Entry

_HISTORY = "history"
_ASKED_AT_ONCE = 500
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

_T = TypeVar("_T")


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

    def moved(self, moves: Mapping[Locator, Locator]) -> None:
        """See the port."""
        self._note(f"M {old} {new}\n" for old, new in moves.items())

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

    def take_over(self, referenced: Callable[[Sequence[Locator]], Collection[Locator]]) -> None:
        """See the port: the entries of ended processes move to `history`."""
        with as_errors_of_the_store():
            for path in self._paths():
                fd = lock_if_free(path, create=False)
                if fd is None:
                    continue
                try:
                    if path.name != _HISTORY:
                        self._append_to_history(_effective(path, lambda locators: not referenced(locators)))
                        path.unlink()
                finally:
                    os.close(fd)

    def entries(self) -> Iterator[Entry]:
        """See the port."""
        for path in self._paths():
            yield from _effective(path, lambda _: True)

    def _append_to_history(self, entries: Iterator[Entry]) -> None:
        with open(self._directory / _HISTORY, "ab") as file:
            for old, new in entries:
                file.write(_line(old, new).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._directory)

    def _paths(self) -> list[Path]:
        return sorted(self._directory.iterdir()) if self._directory.exists() else []


def _line(old: Locator, new: Locator | None) -> str:
    return f"D {old}\n" if new is None else f"M {old} {new}\n"


def _effective(path: Path, is_committed: Callable[[Sequence[Locator]], bool]) -> Iterator[Entry]:
    """Yield the entries of committed transactions; `is_committed` decides about those without an end."""
    counts = [end == "C" or (end == "" and is_committed(locators)) for end, locators in _transactions(path)]
    number = 0
    for kind, entry in _lines(path):
        if kind == "T":
            number += 1
        elif entry is not None and (number == 0 or counts[number - 1]):  # history has no transactions
            yield entry


def _transactions(path: Path) -> Iterator[tuple[str, list[Locator]]]:
    """Yield the end of each transaction (C, V or none) and the first of its blobs."""
    is_any, end, locators = False, "", list[Locator]()
    for kind, entry in _lines(path):
        if kind == "T":
            if is_any:
                yield end, locators
            is_any, end, locators = True, "", []
        elif entry is None:
            end, locators = kind, []
        elif len(locators) < _ASKED_AT_ONCE:
            locators.append(entry[0])
    if is_any:
        yield end, locators


def _lines(path: Path) -> Iterator[tuple[str, Entry | None]]:
    """Yield kind and entry of each complete line; an incomplete last line is ignored."""
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            words = line.split()
            if not line.endswith("\n") or not words:
                continue
            match words:
                case ["D", old]:
                    yield "D", (old, None)
                case ["M", old, new]:
                    yield "M", (old, new)
                case ["T" | "C" | "V" as kind]:
                    yield kind, None
                case _:  # damage
                    continue
