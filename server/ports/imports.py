"""Sources of imports: folders and prefixes of buckets, and the record of files that were imported."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from server.model.buffer import Buffer
from server.model.operation import Operation, Update


class SourceFile(NamedTuple):
    """A file or object of a source.

    name: path below the source, with `/`. It may have patient data, so it is never logged.
    etag: changes with the content; of a file its size and the time of its last change.
    changed: when it last changed; None if it appeared as a whole.
    """

    name: str
    size_bytes: int
    etag: str
    changed: datetime | None


class SourceFault(Exception):
    """A file cannot be imported: it cannot be read, is a link, or has changed. The message is for people."""


class Gone(Exception):
    """A file does not exist any more."""


class Source(Protocol):
    """A folder or a prefix of a bucket.

    Calls raise, in addition to what they state:
        Unavailable: STORAGE_UNAVAILABLE, the whole source is not reachable.
    """

    async def page(self, after: str, limit: int) -> Sequence[SourceFile | tuple[str, SourceFault]]:
        """Return the next files with names after `after`, in the order of their names; nothing at the end.

        Hidden files, whose name or folder begins with a dot, are left out. Names with a fault are those that cannot be
        imported, such as links.
        """
        ...

    async def count(self, seconds: float) -> int:
        """Return the number of files; 0 if counting takes longer than `seconds`."""
        ...

    async def contents(self, files: Sequence[SourceFile]) -> Sequence[Buffer | SourceFault | Gone]:
        """Return the whole contents of small files. A file that is not the listed one any more has a fault."""
        ...

    def read(self, file: SourceFile) -> AsyncGenerator[Buffer]:
        """Yield the content of a file in pieces of at most 1 MiB.

        Raises:
            SourceFault, Gone: also after the last piece, if the file was changed meanwhile.
        """
        ...

    async def delete(self, files: Sequence[SourceFile]) -> Collection[SourceFile]:
        """Delete files that are still the listed ones; return those that remain."""
        ...


class ErrorLocation(Protocol):
    """A folder or a prefix of a bucket for files that could not be imported."""

    async def add(self, name: str, record: bytes, content: AsyncIterator[Buffer] | None) -> None:
        """Write the record of a failure, and a copy of the file if it is given; both replace earlier ones durably.

        Raises:
            SourceFault, Gone: as `content`.
            Unavailable, Exhausted: it cannot be written.
        """
        ...


class Sources(Protocol):
    """Opens sources by their URLs, which the settings permit."""

    async def open(self, url: str, *, exact: bool = False, is_emptied: bool = False) -> Source:
        """Open a source, which needs not be closed.

        Args:
            exact: it must be below an adopted folder without links on the way.
            is_emptied: its files will be deleted, so it must have no adopted ones.

        Raises:
            InvalidRequest: INVALID_FIELD, it is not permitted after links are followed.
            Unavailable: STORAGE_UNAVAILABLE, also if it does not exist.
        """
        ...

    async def open_errors(self, url: str) -> ErrorLocation:
        """Open a location for errors, which is created if necessary and has no adopted files. Raises: as `open`."""
        ...


class ImportedFile(NamedTuple):
    """A file that was imported before.

    key: digest of its URL and of the target.
    etag: digest of its entity tag.
    failed_in: the operation in which it failed; None if it is stored.
    """

    key: bytes
    etag: bytes
    failed_in: str | None


@dataclass(frozen=True, slots=True)
class ImportedBatch:
    """Changes of the record: files to add or replace, and keys to remove."""

    files: Sequence[ImportedFile]
    removed: Sequence[bytes] = ()


class ImportedFiles(Protocol):
    """The record of imported files. Each call is one transaction. Raises: Unavailable (DATABASE_UNAVAILABLE)."""

    async def known(self, keys: Sequence[bytes]) -> Mapping[bytes, ImportedFile]:
        """Return the files with these keys."""
        ...

    async def record(self, operation_id: str, batch: ImportedBatch, update: Update) -> Operation | None:
        """Store a batch and the next state of its operation; return the operation, None if there is none."""
        ...
