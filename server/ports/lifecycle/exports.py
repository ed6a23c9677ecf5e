"""Destinations of exports, and the record of the files that have been written there."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.model.buffer import Buffer
from server.model.lifecycle.export import Credentials, ExportedFile, Place, Written
from server.model.operation import Operation, Update


class DestinationError(Exception):
    """The destination cannot be used.

    message: for people, without URLs and credentials.
    may_pass: it may be possible later: a network or a service is down, or a disk is full.
    """

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.message = message
        self.may_pass = may_pass


class Destination(Protocol):
    """A place to which files are written. Paths are relative, without `.` and `..`. All raise DestinationError."""

    async def write(self, path: str, pieces: AsyncIterator[Buffer]) -> Written:
        """Write a file, or replace it. It is there as a whole and durable when this returns, or not at all.

        Raises whatever `pieces` raises.
        """
        ...

    async def clean_up(self, path: str) -> None:
        """Remove incomplete files that killed processes have left below a path."""
        ...


class Destinations(Protocol):
    """Opens destinations."""

    def open(self, place: Place, credentials: Credentials) -> AbstractAsyncContextManager[Destination]:
        """Open a destination. Nothing is sent before the first call of it. Raises: DestinationError."""
        ...


class ExportedFiles(Protocol):
    """The files that unfinished exports have written. All calls raise as `server.ports.operations.Operations`."""

    async def add(self, operation_id: str, files: Sequence[ExportedFile], update: Update) -> Operation | None:
        """Add files, and store the next state of the operation, in one transaction; return the resulting operation.

        Adds nothing if `update` returns None.
        """
        ...

    async def list(
        self, operation_id: str, after: tuple[str, str, str, int] | None, limit: int
    ) -> Sequence[ExportedFile]:
        """Return files by patient, study, series and number, ascending, from the position `after`, see
        `ExportedFile.key`."""
        ...

    async def remove(self, operation_id: str, limit: int) -> bool:
        """Remove some files from the record; return whether there may be more."""
        ...

    async def remove_abandoned(self, limit: int) -> bool:
        """Remove files of operations that have ended from the record; return whether there may be more."""
        ...
