"""Checks before serving: storage and database are compared, bound to each other, and migrated."""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.process.file_modes import restrict
from server.adapters.blobs.disk.reserve import Reserve
from server.adapters.blobs.factory import storage_of
from server.adapters.sql import engine
from server.config import Settings
from server.domain.read_only import ReadOnlyState
from server.domain.upkeep.binding import ArchiveMismatch, Binding, binding_of, lost_transactions, require_recoverable
from server.model.archive import BlobsIdentity, IndexIdentity, Mark
from server.model.errors import DicomStoreError, Reason, Unavailable
from server.ports.storage import Storage

_FIRST_PAUSE_SECONDS = 0.5
_MAX_PAUSE_SECONDS = 5.0

_log = logging.getLogger("dicomstore")


class StartError(Exception):
    """The program cannot start with this configuration; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The storage and the index, checked and ready for use by this process.

    storage: to be closed when the process ends.
    mark: a lower bound of the progress of the index.
    requires_authentication: recorded beside the blobs, see `BlobsIdentity`.
    """

    read_only: ReadOnlyState
    storage: Storage
    mark: Mark
    requires_authentication: bool = False


def prepare(settings: Settings, *, only_index: bool = False) -> Prepared:
    """Check that storage and database belong together, bind new ones, migrate if configured; blocking.

    Args:
        only_index: the process uses no blobs; the storage may be missing.

    Raises:
        StartError: storage and database do not belong together, the schema differs from the required one, or a URL is
            invalid. Unavailable, Exhausted
    """
    with _closed_on_failure(settings) as storage:
        return _prepared(settings, storage, only_index=only_index)


@contextmanager
def _closed_on_failure(settings: Settings) -> Iterator[Storage]:
    """Open the storage, and close it if the context is left by an exception: a start that fails leaves no lease."""
    storage = _storage(settings)
    try:
        yield storage
    except BaseException:
        storage.close()
        raise


def _prepared(settings: Settings, storage: Storage, *, only_index: bool) -> Prepared:
    reserves = [] if only_index else [Reserve(directory) for directory in _directories(settings, storage)]
    with storage.identity.lock(), _inspection(settings) as index:
        for reserve in reserves:
            reserve.draw()
        compared = _compared(index, storage, only_index=only_index)
        lost = compared.lost
        _restrict_index(settings)
        if lost:
            _require_usable(index.schema(), f"it can't be migrated: {lost}.")
        else:
            _prepare_schema(settings, index)
            is_bound = compared.binding is Binding.BOUND and not storage.identity.read().has_unbound_stores
            if not only_index and not is_bound:
                _bind(index, compared.place, storage)
        if only_index:
            return Prepared(ReadOnlyState(lost), storage, Mark())
        if not lost:
            _take_over(storage, index)
        mark = storage.marks.enter()
        for reserve in reserves:
            reserve.fill()
        return Prepared(ReadOnlyState(lost), storage, mark, storage.identity.read().requires_authentication)


async def prepare_when_there(settings: Settings, *, only_index: bool = False) -> Prepared:
    """Call `prepare`, with retries for up to `database_wait_seconds` while PostgreSQL is unreachable. Raises: as
    `prepare`."""
    clock = asyncio.get_running_loop().time
    end, pause = clock() + settings.database_wait_seconds, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await asyncio.to_thread(prepare, settings, only_index=only_index)
        except Unavailable as error:
            is_away = error.reason is Reason.DATABASE_UNAVAILABLE and not settings.database_url.startswith("sqlite")
            if not is_away or clock() + pause > end:
                raise
            _log.warning("waiting for the database seconds=%.0f detail=%s", end - clock(), error.message)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_SECONDS)


def has_storage(settings: Settings) -> bool:
    """Return whether this process has access to a storage that belongs to an archive; blocking. Raises: StartError."""
    with closing(_storage(settings)) as storage:
        return storage.identity.read().id is not None


def stores_of(settings: Settings) -> BlobsIdentity:
    """Return the identity of the storage, with its stores; blocking. Raises: StartError, Unavailable."""
    with closing(_storage(settings)) as storage:
        return storage.identity.read()


def check_binding(settings: Settings) -> str:
    """Compare storage and database; return a description of what the index has lost, "" if nothing; blocking.

    Raises:
        StartError: they do not belong together, or a URL is invalid. Unavailable
    """
    with closing(_storage(settings)) as storage, _inspection(settings) as index:
        return _compared(index, storage, only_index=False).lost


def directories(settings: Settings) -> set[Path]:
    """Return the local directories in which an archive with these settings stores data. Raises: StartError."""
    return _directories(settings, _storage(settings))


def _directories(settings: Settings, storage: Storage) -> set[Path]:
    return {settings.data.absolute(), *storage.directories}


def _storage(settings: Settings) -> Storage:
    try:
        return storage_of(*settings.storage)
    except ValueError as error:
        raise StartError(str(error)) from None


def _inspection(settings: Settings) -> engine.Inspection:
    try:
        return engine.Inspection(settings.database_url)
    except ValueError as error:
        raise StartError(str(error)) from error


def _take_over(storage: Storage, index: engine.Inspection) -> None:
    try:
        storage.journal.take_over(index.referenced_locators, index.pending_deletions)
    except DicomStoreError as error:
        if error.reason not in (Reason.STORAGE_FULL, Reason.STORAGE_UNAVAILABLE):
            raise
        # The disk may be full; a later start repeats it.
        _log.warning("could not take over the journals of ended processes reason=%s", error.reason)


@contextmanager
def recovering(settings: Settings) -> Iterator[Prepared]:
    """Prepare a recovery of the index, with other processes locked out; blocking. It is complete when the context is
    left.

    Raises:
        StartError: the archive is in use, or the database belongs to another archive. Unavailable, Exhausted
    """
    storage = _storage(settings)
    with ExitStack() as until_complete, storage.identity.lock():
        until_complete.callback(storage.close)
        with _inspection(settings) as inspection:
            blobs, index = _identities(inspection, storage)
            if storage.marks.is_in_use():
                raise StartError(f"The archive in {blobs.place} is running: stop it first.")
            try:
                require_recoverable(blobs, index)
            except ArchiveMismatch as refused:
                raise StartError(str(refused)) from refused
            archive = blobs.id or uuid.uuid4().hex
            storage.identity.write(archive, is_bound=blobs.is_bound, is_recovering=True)
            inspection.migrate()
            if inspection.bind(archive) != archive:
                raise StartError(f"The index {index.place} was bound to another archive meanwhile.")
            inspection.raise_to(blobs.mark)
        yield Prepared(ReadOnlyState(), storage, storage.marks.enter())
        until_complete.close()
        storage.identity.write(archive, is_bound=True)


def migrate(settings: Settings) -> None:
    """Migrate the database to the current schema; blocking. Raises: as `prepare`."""
    with closing(_storage(settings)) as storage, storage.identity.lock(), _inspection(settings) as index:
        lost = _compared(index, storage, only_index=True).lost
        if lost:
            raise StartError(f"The database can't be migrated: {lost}.")
        if not index.schema().is_newer:
            index.migrate()


def schema_state(settings: Settings) -> engine.SchemaState:
    """Return the schema of the database; blocking."""
    return engine.schema_state(settings.database_url)


@dataclass(frozen=True, slots=True)
class _Compared:
    """What a comparison of storage and index has found.

    lost: describes the transactions that the index has lost; empty if none.
    place: of the index, for messages.
    """

    binding: Binding
    lost: str = ""
    place: str = ""


def _compared(index: engine.Inspection, storage: Storage, *, only_index: bool) -> _Compared:
    blobs, found = _identities(index, storage)
    if only_index and not blobs.has_blobs and blobs.id is None:
        return _Compared(Binding.BOUND)
    try:
        return _Compared(binding_of(blobs, found), lost_transactions(blobs, found), found.place)
    except ArchiveMismatch as refused:
        raise StartError(str(refused)) from refused


def _identities(index: engine.Inspection, storage: Storage) -> tuple[BlobsIdentity, IndexIdentity]:
    blobs = storage.identity.read()
    return blobs, index.identity(blobs.mark)


def _restrict_index(settings: Settings) -> None:
    """Protect files that were created with other permissions: the index contains patient data."""
    for url in (settings.database_url, settings.operations_url):
        for path in engine.files_of(url):
            try:
                restrict(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                _log.warning("all users may access the index file=%s cause=%s", path, type(error).__name__)


def _prepare_schema(settings: Settings, index: engine.Inspection) -> None:
    schema = index.schema()
    if settings.migrate and not schema.is_usable and not schema.is_newer:
        index.migrate()
        _log.info("database migrated from=%s to=%s", schema.present or "none", schema.wanted)
        schema = index.schema()
    _require_usable(schema, "run `dicomstore migrate`.")


def _require_usable(schema: engine.SchemaState, otherwise: str) -> None:
    if schema.is_usable:
        return
    if schema.is_newer:
        otherwise = "a newer release has migrated it: use that."
    raise StartError(
        f"The database has schema {schema.present or 'none'}, this program needs {schema.wanted}: {otherwise}"
    )


def _bind(index: engine.Inspection, place: str, storage: Storage) -> None:
    """Write the same id to both: first to the storage, so that after a crash in between it is marked as not bound."""
    blobs = storage.identity.read()
    archive = blobs.id or uuid.uuid4().hex
    if blobs.id is None:
        storage.identity.write(archive, is_bound=False)
    if index.bind(archive) != archive:  # another archive was bound first
        raise StartError(f"The index {place} was bound to another archive meanwhile: start again.")
    storage.identity.write(archive, is_bound=True)
    _log.info("bound storage and index archive=%s", archive)
