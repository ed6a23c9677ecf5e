"""Admission: so many calls at once and no more."""

from server.model.errors import Exhausted, Reason
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.surround import Surround

_WATCHES = "/dicomstore.v1.ChangeFeedService/WatchChanges"


class Admission(Surround):
    """Refuses calls beyond `max_calls` with BUSY before anything is read.

    Watches, which last, have `max_watches` places of their own.
    """

    def __init__(self, max_calls: int, max_watches: int) -> None:
        super().__init__()
        self._calls = _Places(max_calls)
        self._watches = _Places(max_watches)

    def around(self, method: str, context: Context) -> "_Admitted":
        """See `Surround`."""
        return _Admitted(self._watches if method == _WATCHES else self._calls, context)


class _Places:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0


class _Admitted:
    __slots__ = ("_context", "_places")

    def __init__(self, places: _Places, context: Context) -> None:
        self._places = places
        self._context = context

    async def __aenter__(self) -> Context:
        """Take a place. Raises Exhausted (BUSY)."""
        if self._places.taken >= self._places.limit:
            raise Exhausted(Reason.BUSY, "The server has too many calls in flight; try again later.")
        self._places.taken += 1
        return self._context

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self._places.taken -= 1
