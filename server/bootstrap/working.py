"""The entry point that runs operations."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.bootstrap.archive_components import ArchiveComponents
from server.bootstrap.auditing import emptied, recording
from server.bootstrap.components import IndexComponents
from server.bootstrap.monitoring import monitored
from server.config import Settings
from server.dicom.matching.query_tags import extract
from server.domain.operations.types import OperationType
from server.domain.operations.workers import Workers
from server.jobs import engine as jobs
from server.opening import Prepared, has_storage, prepare_when_there

_log = logging.getLogger("dicomstore")

_READING_NICENESS = 10
"""Nice value of the threads that read the index for operations, so that processes that answer requests take
precedence."""


@asynccontextmanager
async def working(
    settings: Settings,
    stale_seconds: float = jobs.STALE_SECONDS,
    *,
    more_operation_types: Sequence[OperationType] = (),
) -> AsyncIterator[jobs.Engine | None]:
    """Run operations until the context is left.

    Args:
        stale_seconds: an operation without progress for this time is taken over.
        more_operation_types: in addition to the built-in ones.

    Yields None if the archive is read-only: then there is nothing to do until it is restarted.

    Raises: as `server.bootstrap.serving.running`.
    """
    has_blobs = await asyncio.to_thread(has_storage, settings)
    prepared = await prepare_when_there(settings, only_index=not has_blobs)
    if prepared.read_only.cause:
        await asyncio.to_thread(prepared.storage.close)
        yield None
        return
    async with AsyncExitStack() as stack:
        open_components = components_with_blobs if has_blobs else components_without_blobs
        components = await open_components(settings, prepared, more_operation_types, stack)
        await stack.enter_async_context(monitored(components, "worker"))
        # A worker started on this machine with this data replaces the one that was killed.
        name = f"{socket.gethostname()}:{settings.data.absolute()}"
        yield await stack.enter_async_context(
            jobs.engine(
                components.work,
                Workers(components.database.leases, name, components.process_id),
                database_url=engine.direct_url(settings.operations_url),
                is_pooled=engine.is_pooled(settings.operations_url),
                stale_seconds=stale_seconds,
            )
        )


async def components_with_blobs(
    settings: Settings, prepared: Prepared, types: Sequence[OperationType], stack: AsyncExitStack
) -> IndexComponents:
    """Open index and blobs."""
    read_only, storage = prepared.read_only, prepared.storage
    stack.push_async_callback(asyncio.to_thread, storage.close)
    recorder = await stack.enter_async_context(recording(settings, storage, uses_outbox=True))
    database = engine.open_database(
        settings.database_url,
        settings.search_seconds,
        extract,
        reading_niceness=_READING_NICENESS,
        permit=read_only.require_writable,
        progress=Progress(prepared.mark, storage.marks.record, read_only.restrict, storage.journal),
    )
    stack.push_async_callback(database.close)
    if recorder is not None and recorder.outbox is not None:
        await stack.enter_async_context(emptied(recorder.outbox, database.outbox))
        task = asyncio.create_task(recorder.outbox.run(database.outbox))
        stack.callback(task.cancel)
    components = ArchiveComponents(
        settings=settings,
        database=database,
        read_only=read_only,
        more_operation_types=types,
        recorder=recorder,
        storage=storage,
        blobs=await stack.enter_async_context(storage.blobs()),
        requires_authentication=prepared.requires_authentication,
    )
    await stack.enter_async_context(components.workers)
    await components.clock.start()
    return components


async def components_without_blobs(
    settings: Settings, prepared: Prepared, types: Sequence[OperationType], stack: AsyncExitStack
) -> IndexComponents:
    """Open the index only: this machine has no access to the storage, so it runs no operations that need blobs."""
    _log.warning("operations are not recorded in the audit trail: this process has no access to the storage")
    stack.push_async_callback(asyncio.to_thread, prepared.storage.close)
    database = engine.open_database(
        settings.database_url, settings.search_seconds, extract, reading_niceness=_READING_NICENESS
    )
    stack.push_async_callback(database.close)
    return IndexComponents(
        settings=settings, database=database, read_only=prepared.read_only, more_operation_types=types
    )
