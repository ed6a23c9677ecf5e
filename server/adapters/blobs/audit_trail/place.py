"""Where an audit trail is stored: files of chained records, the list of checkpoints, and which processes run.

`file_place` has that of local files. All calls block, except `exclusive`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from server.adapters.blobs.audit_trail.chain import Writer
from server.adapters.blobs.audit_trail.keys import SigningKey
from server.adapters.blobs.audit_trail.list_state import ListState
from server.adapters.blobs.audit_trail.log_lines import LogFile
from server.model.audit.trail import AuditTrailSettings, WriterId
from server.ports.outbox import ProcessNumber


class Checkpoints(Protocol):
    """The list of checkpoints of all writers; see `list_state`."""

    def append(self, *entries: Mapping[str, Any]) -> ListState:
        """Append entries durably; return the state, which the next call changes.

        Raises:
            OSError, DicomStoreError
            ForeignKey: the list is signed with another key.
        """
        ...

    def replace_key(self, old: SigningKey | None) -> None:
        """Introduce the key of this object, signed by the key before if that is still known. Raises: OSError."""
        ...

    def state(self) -> ListState:
        """Return the state, without checking signatures. Raises: OSError."""
        ...

    def files(self) -> Sequence[LogFile]:
        """Return the files in order. Raises: OSError."""
        ...


class Place(Protocol):
    """A place. All calls raise OSError or DicomStoreError.

    flush_seconds: time after which records are written that nobody waits for.
    """

    flush_seconds: float

    def snapshot(self) -> "Place":
        """Return the place for reading all files once, which may list them at once."""
        ...

    def writers(self) -> Sequence[WriterId]:
        """Return the writers that have files."""
        ...

    def has_files(self, writer: WriterId) -> bool:
        """Return whether a writer has a directory, or files."""
        ...

    def files(self, writer: WriterId) -> Sequence[LogFile]:
        """Return the files of a writer in order; empty if there is no such writer."""
        ...

    def other_names(self, writer: WriterId) -> Sequence[str]:
        """Return the names of files of a writer that no program has created."""
        ...

    def first_time(self, file: LogFile) -> str | None:
        """Return the time of the first record of a file; None if it has none."""
        ...

    def ends_before(self, file: LogFile, time: str) -> bool:
        """Return whether all records of a file are older than a time."""
        ...

    def has_ended(self, writer: WriterId) -> bool:
        """Return whether the process of a writer has ended, or will not write any more."""
        ...

    def checkpoints(self, key: SigningKey | None = None) -> Checkpoints:
        """Return the list of checkpoints; one with a key can be appended to."""
        ...

    def writer(self, checkpoints: Checkpoints, settings: AuditTrailSettings, facts: Mapping[str, object]) -> Writer:
        """Return a new writer; `facts` are of the process."""
        ...

    def prepare(self) -> None:
        """Prepare for writing."""
        ...

    def taken_over(self, writer: WriterId) -> AbstractContextManager[bool]:
        """Enter with whether the process of a writer has ended, and no other process takes over its files."""
        ...

    def cut_off(self, file: LogFile, size_bytes: int) -> None:
        """Remove unused space after this size."""
        ...

    def remove(self, writer: WriterId, files: Sequence[LogFile]) -> None:
        """Remove files."""
        ...

    def remove_writer(self, writer: WriterId) -> None:
        """Remove what is left of a writer."""
        ...

    def process(self) -> AbstractContextManager[ProcessNumber]:
        """See `AuditTrail.process`."""
        ...

    def process_has_ended(self, process: ProcessNumber) -> bool:
        """See `AuditTrail.has_ended`."""
        ...

    def load(self, name: str) -> bytes | None:
        """Return a small record; None if there is none."""
        ...

    def save(self, name: str, data: bytes) -> None:
        """Replace a small record durably."""
        ...

    def exclusive(self, name: str) -> AbstractAsyncContextManager[bool]:
        """See `AuditTrail.exclusive`."""
        ...
