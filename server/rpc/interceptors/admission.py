"""Admission: the limit of concurrent calls."""

from server.model.errors import Exhausted, Reason
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.surround import Surround

_WATCHES = frozenset({"/dicomstore.v1.ChangeFeedService/WatchChanges", "/dicomstore.v1.AuditService/WatchAuditEvents"})


class Admission(Surround):
    """Refuses calls above `max_calls` with BUSY before their request is read.

    Watches, which are long-lived, have a separate limit, `max_watches`.
    """

    def __init__(self, max_calls: int, max_watches: int) -> None:
        super().__init__()
        self._calls = _Slots(max_calls)
        self._watches = _Slots(max_watches)

    def around(self, method: str, context: Context) -> "_Admitted":
        """See `Surround`."""
        return _Admitted(self._watches if method in _WATCHES else self._calls, context)


class _Slots:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0


class _Admitted:
    __slots__ = ("_context", "_slots")

    def __init__(self, places: _Slots, context: Context) -> None:
        self._slots = places
        self._context = context

    async def __aenter__(self) -> Context:
        """Take a slot. Raises Exhausted (BUSY)."""
        if self._slots.taken >= self._slots.limit:
            raise Exhausted(Reason.BUSY, "The server has too many calls in flight; try again later.")
        self._slots.taken += 1
        return self._context

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self._slots.taken -= 1
