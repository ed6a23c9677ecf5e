"""Limits of the concurrent work of a process: connections, requests, and memory for bodies being sent to the core."""

from collections import Counter
from collections.abc import Callable, Hashable
from ipaddress import ip_network
from types import TracebackType

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from common.shares import Shares
from facade import proxies
from facade.errors import Refusal, answer_of, plain_response

_ALWAYS_ANSWERED = "/health/check"

_MAX_MESSAGE_BYTES = 640 * 1024
"""A CT slice of 512 KiB of pixels and its header fit."""

_MIN_MESSAGE_BYTES = 64 * 1024
_GATHERED_BYTES = 32 * 1024 * 1024


_IPV6_NETWORK_BITS = 64
"""An IPv6 client has a whole network of this size, so its addresses are counted together."""


class ClientConnections:
    """Number of connections of each client address. Trusted proxies, which have many clients, are not limited."""

    def __init__(self, most: int, trusted: str) -> None:
        """Allow `most` connections of an address; `trusted` are the addresses of proxies."""
        self._most = most
        self._trusted = trusted
        self._counts: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a new connection; returns false, and does not count it, if the client has too many."""
        client = _client_of(address)
        if self._counts[client] >= self._most and not proxies.is_trusted(address, self._trusted):
            return False
        self._counts[client] += 1
        return True

    def leave(self, address: str) -> None:
        """Remove a connection that was counted."""
        client = _client_of(address)
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]


def _client_of(address: str) -> str:
    try:
        parsed = proxies.address_of(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))


class Admission:
    """ASGI middleware: beyond `max_requests` concurrent requests, more get 503 before their body is read.

    A client that would leave too few requests to others gets 429 instead (`common.shares`). Health checks are always
    answered.

    Args:
        client_of: returns the credential of a request, by which clients are told apart; None for one without any, which
            the core refuses at once, or authentication is disabled.
    """

    def __init__(self, app: ASGIApp, max_requests: int, client_of: Callable[[Scope], Hashable | None]) -> None:
        self.app = app
        self._shares = Shares(max_requests)
        self._client_of = client_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] == _ALWAYS_ANSWERED:
            await self.app(scope, receive, send)
            return
        place = _Place(self._client_of(scope))
        if reason := place.take(self._shares):
            await plain_response(reason)(scope, receive, send)
            return
        scope.setdefault("state", {})["place"] = place
        try:
            await self.app(scope, receive, send)
        finally:
            place.release()


class _Place:
    """The place of a request among the concurrent ones, or among the event streams."""

    __slots__ = ("_client", "_shares")

    def __init__(self, client: Hashable | None) -> None:
        self._client = client
        self._shares: Shares | None = None

    def take(self, shares: Shares) -> str:
        """Take a place instead of the present one; return the reason if there is none, otherwise ""."""
        if not shares.take(self._client):
            return "BUSY" if shares.is_full else "RATE_LIMITED"
        self.release()
        self._shares = shares
        return ""

    def release(self) -> None:
        """Give the place back."""
        if self._shares is not None:
            self._shares.release(self._client)
            self._shares = None


def count_as_event_stream(request: Request) -> None:
    """Count a request among the event streams of the worklist instead of the concurrent requests from now on.

    They are many and have nothing to do for most of the time, so they have a limit of their own.

    Raises:
        Refusal: 503, there are too many; 429, there are too many of this client.
    """
    place: _Place = request.state.place
    if reason := place.take(request.app.state.event_streams):
        answer = answer_of(reason)
        raise Refusal(answer.status, answer.text, answer.retry_headers)


class Uploads:
    """Maximum message size of uploads, which decreases with their number.

    Each upload fills one message at a time, so all uploads together hold about 32 MiB, whatever their number. This
    never blocks an upload; smaller messages only need more CPU time.
    """

    def __init__(self) -> None:
        self._count = 0
        self.message_bytes = _MAX_MESSAGE_BYTES
        """Maximum data size of a message to the core."""

    def __enter__(self) -> "Uploads":
        self._change(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._change(-1)

    def _change(self, by: int) -> None:
        self._count += by
        self.message_bytes = max(_MIN_MESSAGE_BYTES, min(_MAX_MESSAGE_BYTES, _GATHERED_BYTES // max(self._count, 1)))
