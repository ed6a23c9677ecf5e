"""The audit trail of a process."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from server.config import Settings
from server.domain.audit.recorder import AuditRecorder
from server.opening import StartError
from server.ports.audit import WrongAuditKey
from server.ports.storage import Storage

_log = logging.getLogger("dicomstore.audit")


@asynccontextmanager
async def recording(settings: Settings, storage: Storage) -> AsyncIterator[AuditRecorder | None]:
    """Begin to write to the audit trail; yields None if it is disabled.

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
        yield AuditRecorder(log, refuses_reads=settings.audit_refuse_reads, claims=claims)
