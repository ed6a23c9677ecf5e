"""Entry points for maintenance of an archive: they run next to a core, or while none runs."""

import asyncio
import getpass
import os
import platform
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from server import opening
from server.adapters.blobs.factory import storage_of
from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.adapters.sqlite_spool import SqliteSpool
from server.bootstrap.archive_components import ArchiveComponents
from server.bootstrap.auditing import recording
from server.bootstrap.components import IndexComponents, now
from server.config import Settings
from server.dicom.matching.query_tags import extract
from server.domain.audit.recorder import unrecorded
from server.domain.operations.backlog import Backlog
from server.domain.read_only import ReadOnlyState
from server.domain.upkeep.audit import Audit
from server.domain.upkeep.recovery import Recovered, Recovery
from server.domain.upkeep.repeated_journal import RepeatedJournal
from server.domain.upkeep.steady_clock import clock_problem
from server.model.archive import BlobsIdentity, IndexIdentity, Mark
from server.model.audit.trail import Verification
from server.model.events.webhook import Backlog as WebhookBacklog
from server.model.events.webhook import Webhook
from server.model.lifecycle.blob_move import StoreUsage
from server.model.lifecycle.transfer import Transfer, TransferState
from server.model.storage.scrub import ScrubPosition
from server.model.store_id import StoreId
from server.model.worklist.workitem_rule import WorkitemRule
from server.opening import recovering
from server.ports.index import Sequenced
from server.ports.storage import Storage

_MOST_TRANSFERS = 1000


@asynccontextmanager
async def _indexed(settings: Settings) -> AsyncIterator[IndexComponents]:
    database = engine.open_database(settings.database_url, settings.search_seconds)
    try:
        yield IndexComponents(settings=settings, database=database, read_only=ReadOnlyState())
    finally:
        await database.close()


async def backlog(settings: Settings) -> Backlog:
    """Return the unfinished operations and their problems. Raises: DicomStoreError, as the index does."""
    async with _indexed(settings) as components:
        return await components.operations.backlog()


async def webhooks(settings: Settings) -> Sequence[tuple[Webhook, WebhookBacklog]]:
    """Return all webhooks with the numbers of their undelivered events. Raises: DicomStoreError."""
    async with _indexed(settings) as components:
        record = components.database.webhooks
        found, backlogs = await record.list(), await record.backlogs()
    return [(webhook, backlogs.get(webhook.id, WebhookBacklog())) for webhook in found]


async def workitem_rules(settings: Settings) -> Sequence[WorkitemRule]:
    """Return all rules for workitems. Raises: DicomStoreError."""
    async with _indexed(settings) as components:
        return await components.database.workitem_rules.list()


async def transfers(settings: Settings) -> Sequence[Transfer]:
    """Return the newest transfers with other systems that are unfinished or failed. Raises: DicomStoreError."""
    states = (TransferState.WAITING, TransferState.RUNNING, TransferState.FAILED)
    async with _indexed(settings) as components:
        record = components.database.transfers
        found = await record.list(partitions=None, states=states, remote="", before=None, limit=_MOST_TRANSFERS)
    return [transfer for _, transfer in found]


async def check_clock(settings: Settings) -> str:
    """Describe how the system clock contradicts the recorded time; "" if it does not. Raises: DicomStoreError."""
    async with _indexed(settings) as components:
        latest = await components.database.clock.latest()
        return clock_problem(latest, now(), timedelta(hours=settings.clock_jump_hours))


async def accept_clock(settings: Settings) -> datetime:
    """Record the system time, unless a later one is recorded; return the recorded time.

    Raises: DicomStoreError.
    """
    with closing(storage_of(*settings.storage)) as storage:
        async with recorded(settings, storage, "accept-clock"), _indexed(settings) as components:
            return await components.database.clock.advance(now())


async def migrate(settings: Settings) -> None:
    """Migrate the database. Raises: as `server.opening.migrate`, and as `recorded`."""
    with closing(storage_of(*settings.storage)) as storage:
        async with recorded(settings, storage, "migrate"):
            await asyncio.to_thread(opening.migrate, settings)


@asynccontextmanager
async def recorded(settings: Settings, storage: Storage, subtype: str) -> AsyncIterator[None]:
    """Record a command of the operator in the audit trail, unless there is no archive yet. Raises: as `recording`."""
    if (await asyncio.to_thread(storage.identity.read)).id is None:
        yield
        return
    async with recording(settings, storage) as recorder:
        work = recorder.work if recorder is not None else unrecorded
        async with work(f"operator:{_user()}", subtype, host=platform.node()):
            yield


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container
        return f"uid-{os.getuid()}"


async def replace_audit_key(settings: Settings, old: Path) -> None:
    """Sign the audit trail with the key of the settings from now on.

    Args:
        old: file with the key until now, which signs the new one; it need not exist.

    Raises: DicomStoreError; StartError, as `recording`.
    """
    with closing(storage_of(*settings.storage)) as storage:
        await asyncio.to_thread(storage.audit.replace_key, old, settings.audit_trail)
        async with recorded(settings, storage, "replace-audit-key"):
            pass


def verify_audit(settings: Settings, *, trusted_key: str, checkpoint: str) -> Verification:
    """Verify the audit trail, while a core runs or not; blocking. Raises: DicomStoreError."""
    with closing(storage_of(*settings.storage)) as storage:
        return storage.audit.verify(trusted_key=trusted_key, checkpoint=checkpoint)


@asynccontextmanager
async def auditing(settings: Settings) -> AsyncIterator[Audit]:
    """Open index and blobs for an audit, next to a running core or alone."""
    with closing(storage_of(*settings.storage)) as storage:
        async with _indexed(settings) as index, storage.blobs() as blobs:
            components = ArchiveComponents(
                settings=settings, database=index.database, storage=storage, blobs=blobs, read_only=index.read_only
            )
            yield components.audit


async def stores(settings: Settings) -> Sequence[dict[str, Any]]:
    """Return an entry for each store: `id`, `place`, `role` (primary, further, read-only or missing), `versions`,
    `size_bytes`, `old_copies` and `old_copies_until`.

    Raises: DicomStoreError; StartError, a URL is invalid.
    """
    found = await asyncio.to_thread(opening.stores_of, settings)
    async with _indexed(settings) as index:
        usages = {usage.store: usage for usage in await index.database.blob_moves.usage()}
    return [
        {
            "id": store,
            "place": found.further.get(store, found.place if store == found.primary else ""),
            "role": _role(found, store),
            "versions": usage.versions,
            "size_bytes": usage.size_bytes,
            "old_copies": usage.old_copies,
            "old_copies_until": usage.erased_by and usage.erased_by.isoformat(),
        }
        for store in sorted({*found.stores, *usages}, key=lambda store: (store != found.primary, store))
        for usage in [usages.get(store, StoreUsage(store))]
    ]


def _role(found: BlobsIdentity, store: StoreId) -> str:
    if store == found.primary:
        return "primary"
    return "further" if store in found.further else "missing"


async def check_blobs(settings: Settings) -> None:
    """Check that blobs can be read and written. Raises: DicomStoreError; ValueError, as `storage_of`."""
    with closing(storage_of(*settings.storage)) as storage:
        async with storage.blobs() as blobs:
            await blobs.check()
            await blobs.check_writing()


async def scrub_position(settings: Settings) -> ScrubPosition | None:
    """Return the position of the scrub; None before the first scrub. Raises: Unavailable."""
    with closing(storage_of(*settings.storage)) as storage:
        return await storage.scrub.load()


async def recover(settings: Settings, *, with_quarantined: bool = False) -> Recovered:
    """Rebuild the index from the blobs, or complete it; see `Recovery`. Blocks the event loop at times.

    Raises:
        StartError: see the message.
        DicomStoreError: the database or the data directory is unusable.
    """
    async with AsyncExitStack() as stack:
        prepared = stack.enter_context(recovering(settings))
        storage = prepared.storage
        settings.data.mkdir(parents=True, exist_ok=True)  # on another machine than before
        spool = stack.enter_context(SqliteSpool(settings.data / "recovery.tmp"))
        journal = RepeatedJournal(storage.journal, spool)
        database = engine.open_database(
            settings.database_url,
            settings.search_seconds,
            extract,
            progress=Progress(prepared.mark, storage.marks.record, prepared.read_only.restrict, journal),
        )
        stack.push_async_callback(database.close)
        await stack.enter_async_context(recorded(settings, storage, "recover"))
        clock = IndexComponents(settings=settings, database=database, read_only=prepared.read_only).clock
        await clock.start()
        blobs = await stack.enter_async_context(storage.blobs())
        deletions = storage.journal.open_deletions()
        recovered = await Recovery(
            blobs=blobs,
            index=database.instances,
            partitions=database.partitions,
            spool=spool,
            retired=storage.journal.entries(),
            restored=storage.journal.restorations(),
            versions=storage.journal.versions(),
            deletions=deletions.values(),
            labels=database.labels,
            label_changes=storage.journal.label_changes(),
            moves=database.blob_moves,
            holds=database.holds,
            hold_changes=storage.journal.hold_changes(),
            expiries=database.expiries,
            expiry_changes=storage.journal.expiry_changes(),
            workitems=database.workitems,
            workitem_changes=storage.journal.workitem_changes(),
            deleted_partitions=storage.journal.deleted_partitions(),
            now=clock.now,
            retention=timedelta(hours=settings.retention_hours),
            max_header_bytes=settings.max_header_bytes,
            with_quarantined=with_quarantined,
        ).run()
        while await database.changes.sequence() is Sequenced.MAY_HAVE_MORE:
            pass  # until the entries of the change feed have their sequences
        index, pending = await asyncio.to_thread(_identity_and_deletions, settings.database_url, prepared.mark)
        for store in index.stores - (await asyncio.to_thread(storage.identity.read)).stores:
            await database.blob_moves.forget_old_copies(store)
        # The index has none of their instances any more; an older one may still have to move some.
        await asyncio.to_thread(storage.journal.complete, deletions.keys() - pending)
        return recovered


def _identity_and_deletions(url: str, at_least: Mark) -> tuple[IndexIdentity, set[int]]:
    with engine.Inspection(url) as index:
        return index.identity(at_least), index.pending_deletions()
