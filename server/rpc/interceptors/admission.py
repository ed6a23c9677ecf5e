"""Admission: the limit of concurrent calls, shared fairly by the principals."""

from common.shares import Shares
from common.telemetry.catalogue import RPC_IN_PROGRESS, RPC_LIMIT
from common.telemetry.metrics import Counter
from server.model.errors import Exhausted, Reason
from server.rpc.interceptors.call_context import EVENT_CHANNELS, WATCHES, Context
from server.rpc.interceptors.surround import Surround


class Admission(Surround):
    """Refuses calls above `max_calls` with BUSY before their request is read.

    A principal that would leave too few calls to others gets RATE_LIMITED instead (`common.shares`). Watches, which are
    long-lived, have separate limits: `max_event_channels` those of workitems, `max_watches` others.
    """

    def __init__(self, max_calls: int, max_watches: int, max_event_channels: int) -> None:
        super().__init__()
        self._calls = _Slots("calls", max_calls)
        self._watches = _Slots("watches", max_watches)
        self._event_channels = _Slots("eventChannels", max_event_channels)

    def around(self, method: str, context: Context) -> "_Admitted":
        """See `Surround`."""
        if method in EVENT_CHANNELS:
            return _Admitted(self._event_channels, context)
        return _Admitted(self._watches if method in WATCHES else self._calls, context)


class _Slots(Shares):
    """The slots of one kind of calls, and the number of those that are taken as a metric."""

    def __init__(self, kind: str, slots: int) -> None:
        super().__init__(slots)
        self.in_progress: Counter = RPC_IN_PROGRESS.of(kind)
        RPC_LIMIT.of(kind).value = slots


class _Admitted:
    __slots__ = ("_client", "_context", "_shares")

    def __init__(self, shares: _Slots, context: Context) -> None:
        self._shares = shares
        self._context = context
        self._client: str | None = None

    async def __aenter__(self) -> Context:
        """Take a slot. Raises Exhausted (BUSY, RATE_LIMITED)."""
        client = self._client = self._context.call.client
        if self._shares.take(client):
            self._shares.in_progress.value += 1
            return self._context
        if self._shares.is_full:
            raise Exhausted(Reason.BUSY, "The server has too many calls in flight; try again later.")
        raise Exhausted(Reason.RATE_LIMITED, "There are too many concurrent calls. Try again later.")

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self._shares.release(self._client)
        self._shares.in_progress.value -= 1
