"""Limits of each principal: concurrent calls, and calls per second; none while authentication is disabled."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from server.model.call import ANONYMOUS
from server.model.errors import Exhausted, Reason
from server.rpc.interceptors.call_context import WATCHES, Context
from server.rpc.interceptors.surround import Surround

BURST_SECONDS = 10.0
"""A principal that was idle may make as many calls at once as its rate allows in this time."""

_WAIT_SECONDS = 10.0
"""Longest time that a call waits for the end of other calls of its principal."""

_MAX_WAITING = 100
"""Calls of a principal that wait; more are refused at once."""

_MAX_ACCOUNTS = 10_000
"""Principals in memory. The one that called least recently is forgotten first, unless it has calls."""


class _Account:
    """The calls of one principal.

    allowance: calls that it may make at once, at time `at`.
    """

    __slots__ = ("allowance", "at", "calls", "waiting")

    def __init__(self, allowance: float, at: float) -> None:
        self.allowance = allowance
        self.at = at
        self.calls = 0
        self.waiting: deque[asyncio.Future[None]] = deque()


class PrincipalLimits(Surround):
    """Refuses calls with RATE_LIMITED, or lets them wait, before their request is read.

    A call above the rate is refused. One above the number of concurrent calls waits for the end of another one of the
    same principal, first come, first served; a client with many connections is slowed down and sees no errors. Watches,
    which are long-lived, do not count as concurrent. Calls without credentials are not limited
    here: they are short, and together they are not one client.
    """

    def __init__(self, max_calls: int, max_rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Limit concurrent calls, and calls per second; 0 means no limit."""
        super().__init__()
        self._max_calls = max_calls
        self._max_rate = max_rate
        self._burst = max(max_rate * BURST_SECONDS, 1.0)
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def around(self, method: str, context: Context) -> "_Limited":
        """See `Surround`."""
        return _Limited(self, context, counts=method not in WATCHES)

    async def enter(self, client: str, *, counts: bool) -> None:
        """Admit a call, which must `leave` if it counts as concurrent. Raises Exhausted (RATE_LIMITED)."""
        account = self._account(client)
        if self._max_rate:
            self._spend(account)
        if counts and self._max_calls:
            await self._begin(account)

    def leave(self, client: str) -> None:
        """End a call that counts as concurrent."""
        if self._max_calls:
            self._end(self._accounts[client])

    @property
    def has_limits(self) -> bool:
        """Whether there are any."""
        return bool(self._max_calls or self._max_rate)

    def _account(self, client: str) -> _Account:
        account = self._accounts.get(client)
        if account is None:
            self._forget_oldest()
            account = self._accounts[client] = _Account(self._burst, self._clock())
        self._accounts.move_to_end(client)
        return account

    def _forget_oldest(self) -> None:
        if len(self._accounts) >= _MAX_ACCOUNTS:
            idle = next((name for name, one in self._accounts.items() if not one.calls and not one.waiting), None)
            if idle is not None:
                del self._accounts[idle]

    def _spend(self, account: _Account) -> None:
        now = self._clock()
        account.allowance = min(account.allowance + (now - account.at) * self._max_rate, self._burst)
        account.at = now
        if account.allowance < 1:
            raise _limited("The rate of calls is too high.", (1 - account.allowance) / self._max_rate)
        account.allowance -= 1

    async def _begin(self, account: _Account) -> None:
        if account.calls < self._max_calls:
            account.calls += 1
            return
        if len(account.waiting) >= _MAX_WAITING:
            raise _limited("There are too many concurrent calls.", _WAIT_SECONDS)
        handed_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        account.waiting.append(handed_over)
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await handed_over
        except BaseException as error:
            if handed_over.done() and not handed_over.cancelled():
                self._end(account)  # it was handed over at the same moment
            else:
                account.waiting.remove(handed_over)
            if isinstance(error, TimeoutError):
                raise _limited("There are too many concurrent calls.", _WAIT_SECONDS) from None
            raise

    @staticmethod
    def _end(account: _Account) -> None:
        """Hand the slot of a call over to the first waiting one, or free it."""
        while account.waiting:
            handed_over = account.waiting.popleft()
            if not handed_over.done():
                handed_over.set_result(None)
                return
        account.calls -= 1


def _limited(text: str, retry_seconds: float) -> Exhausted:
    error = Exhausted(Reason.RATE_LIMITED, f"{text} Try again later.")
    error.retry_seconds = retry_seconds
    return error


class _Limited:
    __slots__ = ("_client", "_context", "_counts", "_limits")

    def __init__(self, limits: PrincipalLimits, context: Context, *, counts: bool) -> None:
        self._limits = limits
        self._context = context
        self._counts = counts
        self._client: str | None = None

    async def __aenter__(self) -> Context:
        call = self._context.call
        client = call.client if self._limits.has_limits and call.principal is not ANONYMOUS else None
        if client is not None:
            await self._limits.enter(client, counts=self._counts)
            if self._counts:
                self._client = client
        return self._context

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if self._client is not None:
            self._limits.leave(self._client)
