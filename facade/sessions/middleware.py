"""Turns the cookie of a session into the credential of a request."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Hashable
from dataclasses import replace
from urllib.parse import urlsplit

from cachetools import TTLCache
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facade.prefixes import path_prefix
from facade.request.addresses import service_root
from facade.serving.client_certificate import CERTIFICATE_NAMES
from facade.serving.websocket import can_be_websocket
from facade.sessions import cookies
from facade.sessions.provider import IdentityProvider, ProviderError, Tokens
from facade.sessions.session import NAME, Session, Sessions

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_EARLY_S = 60
"""Access tokens are replaced this long before their end."""

_REFRESHED_S = 120
_MAX_REFRESHED = 10_000

_log = logging.getLogger("facade.sessions")


class Refresher:
    """Replaces access tokens. Requests with the same refresh token share one call of the identity provider.

    A provider may accept a refresh token only once, and requests with the previous cookie may follow.
    """

    def __init__(self, provider: IdentityProvider) -> None:
        self._provider = provider
        self._tasks: TTLCache[bytes, asyncio.Task[Tokens]] = TTLCache(_MAX_REFRESHED, _REFRESHED_S)

    async def refreshed(self, session: Session) -> Session:
        """Return the session with a new access token. Raises: ProviderError."""
        key = hashlib.sha256(session.refresh_token.encode()).digest()
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(self._provider.refreshed(session.refresh_token))
        try:
            tokens = await asyncio.shield(task)
        except ProviderError:
            self._tasks.pop(key, None)
            raise
        return replace(
            session,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            access_until=tokens.access_until,
        )


def credential_of(scope: Scope) -> Hashable | None:
    """Return the credential that a request comes with, unverified: a hash of its token or session, or the names in its
    certificate.
    """
    for name, value in scope["headers"]:
        if name == b"authorization":
            return hash(value)
    present = cookies.cookies_of(scope)
    for is_https in (True, False):
        if session := present.get(cookies.full_name(NAME, is_https=is_https)):
            return hash(session)
    return tuple(scope.get(CERTIFICATE_NAMES) or ()) or None


class SessionCookies:
    """ASGI middleware: a request with the cookie of a session gets its access token as Authorization header.

    * An Authorization header in the request takes precedence, and so does the path of a share link.
    * Requests that may change something, and WebSockets, must come from a page of this service (protection against
      CSRF): browsers add the cookie to requests of pages of the same site, which includes other ports of this host.
    * Expiring access tokens are replaced. Invalid sessions are removed.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, provider: IdentityProvider | None) -> None:
        self.app = app
        self._sessions = sessions
        self._refresher = Refresher(provider) if provider else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or path_prefix(scope) or not _may_have_session(scope):
            await self.app(scope, receive, send)
            return
        is_https = service_root(Request(scope)).startswith("https:")
        present = cookies.cookies_of(scope)
        name = cookies.full_name(NAME, is_https=is_https)
        session = self._sessions.of(present, is_https=is_https) if name in present else None
        if session is None:
            ending = self._sessions.ending(present, is_https=is_https) if name in present else []
            await self.app(scope, receive, _with_cookies(send, name, ending, []))
            return
        is_safe = scope["method"] in _SAFE_METHODS and not can_be_websocket(scope)
        if not is_safe and not is_same_origin(scope):
            text = "With the cookie of a session, this request is accepted from pages of this service only."
            await PlainTextResponse(text, 403)(scope, receive, send)
            return
        current, is_known_to_end = await self._current(session)
        if current is None:
            ending = self._sessions.ending(present, is_https=is_https)
            await self.app(scope, receive, _with_cookies(send, name, ending, []))
            return
        current = self._sessions.used(current)
        scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {current.access_token}".encode("latin-1"))]
        scope.setdefault("state", {})["session"] = current
        renewed = self._sessions.headers(current, present, is_https=is_https) if current is not session else []
        refused = self._sessions.ending(present, is_https=is_https) if is_known_to_end else renewed
        await self.app(scope, receive, _with_cookies(send, name, renewed, refused))

    async def _current(self, session: Session) -> tuple[Session | None, bool]:
        """Return the session with a valid access token, and whether a refusal of this token ends the session.

        None if the identity provider has ended the session.
        """
        if self._refresher is None or not session.refresh_token or time.time() < session.access_until - _EARLY_S:
            return session, True
        try:
            return await self._refresher.refreshed(session), True
        except ProviderError as error:
            _log.warning("access token not renewed cause=%s", error)
            has_ended = error.is_refusal and time.time() >= session.access_until
            return (None, True) if has_ended else (session, False)


def is_same_origin(scope: Scope) -> bool:
    """Return whether a request was sent by a page of this service, as the browser states it."""
    headers = dict(scope["headers"])
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return bool(site == b"same-origin")
    own = urlsplit(service_root(Request(scope)))
    return bool(headers.get(b"origin", b"").decode("latin-1").lower() == f"{own.scheme}://{own.netloc}".lower())


def is_cross_site(scope: Scope) -> bool:
    """Return whether a page of another origin has sent a request; programs do not say where a request comes from."""
    names = {name for name, _ in scope["headers"]}
    return bool(names & {b"sec-fetch-site", b"origin"}) and not is_same_origin(scope)


def _may_have_session(scope: Scope) -> bool:
    names = [name for name, _ in scope["headers"]]
    return b"cookie" in names and b"authorization" not in names


def _with_cookies(send: Send, name: str, usual: list[str], refused: list[str]) -> Send:
    """Return a `send` that adds Set-Cookie headers: `refused` to a response with status 401, otherwise `usual`.

    Endpoints that start or end a session set its cookie themselves.
    """

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            if not any(value.startswith(name) for value in headers.getlist("set-cookie")):
                for cookie in refused or usual if message["status"] == 401 else usual:
                    headers.append("Set-Cookie", cookie)
        await send(message)

    return sending
