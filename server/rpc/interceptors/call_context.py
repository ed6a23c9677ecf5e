"""Request id, principal and deadline: from the metadata of a gRPC call to the `Call` that the domain receives."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from server.model.audit.call_audit import CallAudit
from server.model.call import ANONYMOUS, Call, Principal
from server.rpc.interceptors.surround import Surround

Metadata = Iterable[tuple[str, str | bytes]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+@-]{1,128}")
"""A valid request id; spaces and "=" could forge fields of a log line."""

EVENT_CHANNELS = frozenset(
    f"/dicomstore.v1.WorkitemEventService/{rpc}" for rpc in ("ReceiveWorkitemEvents", "WatchWorkitems")
)
"""Watches of workitems, of which there may be many."""

WATCHES = EVENT_CHANNELS | {
    f"/dicomstore.v1.{rpc}"
    for rpc in ("ChangeFeedService/WatchChanges", "StudyEventService/WatchStudyEvents", "AuditService/WatchAuditEvents")
}
"""Rpcs whose calls may last for days; they have limits of their own."""


class Context:
    """The context for interceptors and handlers: the `Call`, and the gRPC context.

    Attributes:
        request_id: of the call.
        metadata: that the client sent.
        peer: the peer address in the format of gRPC. It is read at the start of the call: gRPC crashes the process when
            it is read after a client was killed, from a stream of responses that is closed late.
        authenticate_again: raises Unauthenticated if the credential of the call has expired or was revoked since its
            start; for calls that may last for days.
    """

    __slots__ = (
        "_audit",
        "_call",
        "_deadline",
        "_grpc",
        "_principal",
        "authenticate_again",
        "metadata",
        "peer",
        "request_id",
    )

    def __init__(self, request_id: str, deadline: float | None, metadata: Metadata, grpc_context: Any) -> None:
        self.request_id = request_id
        self.metadata = metadata
        self.peer: str = grpc_context.peer()
        self._deadline = deadline
        self._grpc = grpc_context
        self._principal = ANONYMOUS
        self._audit: CallAudit | None = None
        self._call: Call | None = None
        self.authenticate_again: Callable[[], Awaitable[None]] = nothing

    @property
    def call(self) -> Call:
        """The call, with what is known about it so far."""
        call = self._call
        if call is None:
            call = self._call = Call(self.request_id, self._principal, self._deadline, self._audit or CallAudit())
        return call

    def identify(self, principal: Principal) -> None:
        """Set the principal of the call."""
        self._principal = principal
        self._call = None

    def record(self, audit: CallAudit) -> None:
        """Set what collects facts for the audit trail."""
        self._audit = audit
        self._call = None

    @property
    def tls(self) -> Mapping[str, Sequence[bytes]]:
        """Properties of the connection in the format of gRPC, among them names in the certificate of the peer."""
        return self._grpc.auth_context()  # type: ignore[no-any-return]

    async def abort_with_status(self, status: Any) -> None:
        """End the call with a status. Always raises grpc.aio.AbortError."""
        await self._grpc.abort_with_status(status)


async def nothing() -> None:
    """Do nothing."""


class CallContext(Surround):
    """Creates the `Context` of each call, whose principal is not known yet. The outermost interceptor."""

    def around(self, method: str, context: Any) -> AbstractAsyncContextManager[Context]:
        """See `Surround`."""
        seconds_left = context.time_remaining()
        deadline = None if seconds_left is None else asyncio.get_running_loop().time() + seconds_left
        metadata = context.invocation_metadata() or ()
        return nullcontext(Context(_request_id(metadata), deadline, metadata, context))


def _request_id(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return f"{random.getrandbits(128):032x}"
