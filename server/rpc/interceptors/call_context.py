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

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+@-]{1,128}")
"""A valid request id; spaces and "=" could forge fields of a log line."""

WATCHES = frozenset(
    f"/dicomstore.v1.{rpc}"
    for rpc in ("ChangeFeedService/WatchChanges", "StudyEventService/WatchStudyEvents", "AuditService/WatchAuditEvents")
)
"""Rpcs whose calls may last for days; they have limits of their own."""


class Context:
    """The context for interceptors and handlers: the `Call`, and the gRPC context.

    Attributes:
        authenticate_again: raises Unauthenticated if the credential of the call has expired or was revoked since its
            start; for calls that may last for days.
    """

    __slots__ = ("_grpc", "authenticate_again", "call")

    def __init__(self, call: Call, grpc_context: Any) -> None:
        self.call = call
        self._grpc = grpc_context
        self.authenticate_again: Callable[[], Awaitable[None]] = nothing

    def identify(self, principal: Principal) -> None:
        """Set the principal of the call."""
        call = self.call
        self.call = Call(call.request_id, principal, call.deadline, call.audit)  # faster than `replace`

    def record(self, audit: CallAudit) -> None:
        """Set what collects facts for the audit trail."""
        call = self.call
        self.call = Call(call.request_id, call.principal, call.deadline, audit)

    @property
    def metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """The metadata that the client sent."""
        return self._grpc.invocation_metadata() or ()

    @property
    def peer(self) -> str:
        """The peer address in the format of gRPC."""
        return self._grpc.peer()  # type: ignore[no-any-return]

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
        call = Call(_request_id(context.invocation_metadata()), ANONYMOUS, deadline)
        return nullcontext(Context(call, context))


def _request_id(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    for key, value in metadata or ():
        if key == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return f"{random.getrandbits(128):032x}"
