"""Translation of the error of a call to its gRPC status. `server.rpc.errors` has the mapping."""

import grpc

from server.model.errors import DicomStoreError
from server.rpc.errors import to_status, unexpected
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.surround import Surround


class ErrorTranslation(Surround):
    """Ends a failed call with the status of its error; an unexpected error is logged and becomes INTERNAL."""

    def around(self, method: str, context: Context) -> "_Translated":
        """See `Surround`."""
        return _Translated(context)


class _Translated:
    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __aenter__(self) -> Context:
        return self._context

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            if not isinstance(error, DicomStoreError):
                error = unexpected(error, self._context.request_id)
            await self._context.abort_with_status(to_status(error))
