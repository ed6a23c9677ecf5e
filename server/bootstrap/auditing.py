"""The audit trail of a process."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from server.config import Settings
from server.domain.audit.outbox import Outbox
from server.domain.audit.recorder import AuditRecorder
from server.model.errors import DicomStoreError
from server.opening import StartError
from server.ports.audit import WrongAuditKey
from server.ports.outbox import OutboxTable
from server.ports.storage import Storage

_log = logging.getLogger("dicomstore.audit")


@asynccontextmanager
async def recording(
    settings: Settings, storage: Storage, *, uses_outbox: bool = False
) -> AsyncIterator[AuditRecorder | None]:
    """Begin to write to the audit trail; yields None if it is disabled.

    Args:
        uses_outbox: the process stores instances, and calls `Outbox.recover` before.

    Raises:
        StartError: the trail is signed with another key.
        DicomStoreError: as `AuditTrail.open`.
    """
    if not settings.audit:
        _log.warning("the audit trail is disabled: accesses are not recorded")
        yield None
        return
    claims = [name.strip() for name in settings.audit_claims.split(",") if name.strip()]
    async with AsyncExitStack() as stack:
        try:
            log = await stack.enter_async_context(storage.audit.open(settings.audit_trail))
        except WrongAuditKey as error:
            raise StartError(str(error)) from error
        outbox = None
        if uses_outbox:
            outbox = Outbox(log, storage.audit, stack.enter_context(storage.audit.process()))
        yield AuditRecorder(log, refuses_reads=settings.audit_refuse_reads, claims=claims, outbox=outbox)


@asynccontextmanager
async def emptied(outbox: Outbox, table: OutboxTable) -> AsyncIterator[None]:
    """Append the records of ended processes to the audit trail at the beginning, and those of this one at the end.

    What cannot be appended remains in the index.
    """
    try:
        if recovered := await outbox.recover(table):
            _log.info("recovered audit records of an ended process count=%d", recovered)
    except DicomStoreError as error:
        _log.warning("the outbox of the audit trail could not be emptied reason=%s", error.reason)
    try:
        yield
    finally:
        with suppress(DicomStoreError):
            await outbox.close(table)
