"""The entry point that runs operations."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from server.adapters.sql import engine
from server.bootstrap.auditing import recording
from server.bootstrap.components import IndexComponents
from server.config import Settings
from server.dicom.matching.query_tags import extract
from server.domain.audit.recorder import AuditRecorder
from server.domain.operations.types import OperationType
from server.jobs import engine as jobs
from server.opening import prepare_when_there
from server.ports.storage import Storage

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
    prepared = await prepare_when_there(settings, only_index=True)
    if prepared.read_only.cause:
        yield None
        return
    async with AsyncExitStack() as stack:
        database = engine.open_database(
            settings.database_url, settings.search_seconds, extract, reading_niceness=_READING_NICENESS
        )
        stack.push_async_callback(database.close)
        recorder = await _recorder(settings, prepared.storage, stack)
        components = IndexComponents(
            settings=settings,
            database=database,
            read_only=prepared.read_only,
            more_operation_types=more_operation_types,
            recorder=recorder,
        )
        # A worker started on this machine with this data replaces the one that was killed.
        name = f"{socket.gethostname()}:{settings.data.absolute()}"
        yield await stack.enter_async_context(
            jobs.engine(
                components.work,
                database_url=settings.operations_url,
                executor=name,
                stale_seconds=stale_seconds,
            )
        )


async def _recorder(settings: Settings, storage: Storage, stack: AsyncExitStack) -> AuditRecorder | None:
    """Return the recorder of the audit trail; None if this machine has no access to the storage."""
    if storage.identity.read().id is None:
        _log.warning("operations are not recorded in the audit trail: this process has no access to the storage")
        return None
    stack.push_async_callback(asyncio.to_thread, storage.close)
    return await stack.enter_async_context(recording(settings, storage))
