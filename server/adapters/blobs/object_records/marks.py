"""The progress of the index, on an object store (see `server.ports.archive`), so that an index that lost transactions
is detected. All functions block, except `record`.

    marks/<process>    version, sequence, shard, as in the marks beside local files

A mark is kept in memory and written by a thread, once a second at most while there are changes: it may be that old
after a crash. It proves only that the index was not older.
"""

import logging
import threading
from contextlib import suppress
from dataclasses import replace

from server.adapters.blobs.archive_records.mark_format import packed_mark, parsed_mark
from server.adapters.blobs.objects.client import NotFound, ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.model.archive import Mark
from server.model.errors import DicomStoreError

_PREFIX = "marks/"
_log = logging.getLogger("dicomstore.blobs")


class ObjectMarks:
    """MarkRecord (see `server.ports.archive`).

    Args:
        pause_seconds: at least, between two writes.
    """

    def __init__(self, client: ObjectClient, lease: ProcessLease, *, pause_seconds: float = 1.0) -> None:
        self._client = client
        self._lease = lease
        self._pause_seconds = pause_seconds
        self._latest = Mark()
        self._written: Mark | None = None  # None before `enter`
        self._process = ""  # whose mark was written
        self._changed = threading.Event()
        self._is_leaving = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def latest(self) -> Mark:
        """See the port."""
        return self._latest

    def highest(self) -> Mark:
        """Return the highest version, with its shard, and the highest sequence of all marks; zeros if there is none."""
        marks = [mark for name in self._names() if (mark := self._read(name)) is not None]
        if self._written is not None:
            marks.append(self._latest)
        newest = max(marks, key=lambda mark: mark.version, default=Mark())
        return replace(newest, sequence=max((mark.sequence for mark in marks), default=0))

    def enter(self) -> Mark:
        """See the port. The marks of ended processes are removed."""
        names = self._names()
        mark = self._latest = self.highest()
        try:
            self._write()
            self._lease.end_old()
            ended = self._lease.ended([name.removeprefix(_PREFIX) for name in names])
            self._client.delete([_PREFIX + process for process in ended])
        except DicomStoreError as error:
            _log.warning("cannot write the high-water mark of the index reason=%s", error.reason)
            self._written = Mark()
        self._lease.on_new_id = self._write_soon
        return mark

    def record(self, mark: Mark) -> None:
        """See the port."""
        self._latest = mark
        self._write_soon()

    def _write_soon(self) -> None:
        self._changed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="marks", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        """Make the mark durable; the next process takes it over."""
        self._is_leaving.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join()
        if self._written not in (None, self._latest):
            with suppress(DicomStoreError):
                self._write()

    def is_in_use(self) -> bool:
        """See the port. After a process was killed, this waits for the end of its lease."""
        return bool(self._lease.running(name.removeprefix(_PREFIX) for name in self._names()))

    def _run(self) -> None:
        is_failing = False
        while not self._is_leaving.wait(self._pause_seconds):
            self._changed.wait()
            self._changed.clear()
            try:
                self._write()
                is_failing = False
            except DicomStoreError as error:
                self._changed.set()
                if not is_failing:
                    _log.warning("cannot write the high-water mark of the index reason=%s", error.reason)
                is_failing = True

    def _write(self) -> None:
        mark = self._latest
        process = self._lease.id
        if (mark, process) != (self._written, self._process):
            self._client.put(_PREFIX + process, packed_mark(mark))
            self._written, self._process = mark, process

    def _names(self) -> list[str]:
        return [one.name for one in self._client.names(_PREFIX)]

    def _read(self, name: str) -> Mark | None:
        try:
            return parsed_mark(self._client.get(name)[0])
        except NotFound:
            return None
