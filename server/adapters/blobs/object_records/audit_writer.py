"""The log objects of one process. Used by one thread; all functions block.

    audit/running/<writer>                                   the id of the process, as long as it writes
    audit/writers/<writer>/<first>.log                       records that were written together
    audit/writers/<writer>/<first>-<last>-<time>.log         the same records as the objects that it replaces

An object has the form of a log file, and begins with a record of kind `file`. The number of the first record is the
name of an object that is being written, so that a process that counts as ended cannot add records: the process that
seals them creates an empty object with the next number.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress

import orjson

from server.adapters.blobs.audit_trail.chain import BrokenLogError, Chain, NewRecords, new_record
from server.adapters.blobs.audit_trail.log_lines import file_name
from server.adapters.blobs.audit_trail.place import Checkpoints
from server.adapters.blobs.object_records.audit_names import RUNNING, joined_name, prefix_of
from server.adapters.blobs.objects.client import Exists, ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.model.audit.trail import AuditTrailSettings, WriterId
from server.model.errors import DicomStoreError

_JOINED_OBJECTS = 500
_JOINED_BYTES = 2 << 20
_JOINED_SECONDS = 3600.0


class ObjectLogWriter:
    """Writer (see `audit_trail.chain`)."""

    def __init__(
        self,
        client: ObjectClient,
        lease: ProcessLease,
        checkpoints: Checkpoints,
        settings: AuditTrailSettings,
        facts: Mapping[str, object],
    ) -> None:
        self.id: WriterId = uuid.uuid4().hex
        self.sealed = 0
        self._client = client
        self._lease = lease
        self._checkpoints = checkpoints
        self._joined_bytes = min(settings.file_bytes, _JOINED_BYTES)
        self._joined_seconds = min(settings.file_age.total_seconds(), _JOINED_SECONDS)
        self._facts = dict(facts)
        self._chain = Chain()
        self._process = ""
        self._last_checkpoint = ""  # not recorded yet
        self._texts: list[tuple[str, bytes]] = []  # objects that are not joined yet, by name
        self._began = 0.0
        self._first_time = ""

    @property
    def number(self) -> int:
        """See the protocol."""
        return self._chain.number

    def enter(self) -> None:
        """See the protocol."""
        self._process = self._lease.id
        self._client.create(RUNNING + self.id, self._process.encode())
        self._checkpoints.append({"event": "opened", "writer": self.id})

    def write(self, records: Sequence[NewRecords]) -> None:
        """See the protocol."""
        if not self._lease.holds(self._process):
            raise BrokenLogError(0, "this process may count as ended")
        before = self._chain.state
        name = prefix_of(self.id) + file_name(self.number + 1)
        header = {"kind": "file", "writer": self.id, "previous": self._chain.digest.hex(), **self._facts}
        texts = [orjson.dumps(header)]
        if self._last_checkpoint:
            texts.append(orjson.dumps({"kind": "checkpoint", "checkpoint": self._last_checkpoint}))
        first_time = records[0].time
        text = b"".join(self._chain.lines([*(new_record(text, first_time) for text in texts), *records]))
        try:
            self._client.create(name, text)
        except Exists as error:  # an earlier attempt was successful, or another process has sealed the records
            raise BrokenLogError(0, "the object exists") from error
        except DicomStoreError:
            self._chain.state = before
            raise
        self._last_checkpoint = ""
        self._note(name, text, first_time.decode())

    def checkpoint(self) -> None:
        """See the protocol."""
        if self.number > self.sealed:
            self._lease.require(self._process)
            self._last_checkpoint = self._checkpoints.append(self._entry("checkpoint")).described
            self.sealed = self.number

    def close(self) -> None:
        """See the protocol."""
        try:
            with suppress(DicomStoreError, Exists):
                self._join()
            self._lease.require(self._process)
            self._checkpoints.append(self._entry("closed"))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """See the protocol."""
        with suppress(DicomStoreError):  # otherwise its records are sealed after the end of the process
            self._client.delete([RUNNING + self.id])

    def _entry(self, event: str) -> dict[str, object]:
        return {"event": event, "writer": self.id, "n": self.number, "digest": self._chain.digest.hex()}

    def _note(self, name: str, text: bytes, first_time: str) -> None:
        if not self._texts:
            self._began, self._first_time = time.monotonic(), first_time
        self._texts.append((name, text))
        size = sum(len(text) for _, text in self._texts)
        age = time.monotonic() - self._began
        if len(self._texts) >= _JOINED_OBJECTS or size >= self._joined_bytes or age >= self._joined_seconds:
            try:
                self._join()
            except (DicomStoreError, Exists):
                if size >= 2 * self._joined_bytes:
                    self._texts = []  # they remain as they are

    def _join(self) -> None:
        """Replace small objects by one."""
        if len(self._texts) > 1:
            first = int(self._texts[0][0][-len(file_name(0)) :].removesuffix(".log"))
            name = joined_name(self.id, first, self.number, self._first_time)
            self._client.create(name, b"".join([text for _, text in self._texts]))
            self._client.delete([name for name, _ in self._texts])
        self._texts = []
