"""The ASGI application: routes, middleware and shared state, built from the settings."""

import asyncio
import functools
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from common.core_channel import core_tls_files
from common.issuers import listed
from common.sealing import Sealer
from common.shares import Shares
from facade.browsers.cors import Cors
from facade.browsers.guard import Guard
from facade.browsers.headers import BrowserHeaders
from facade.browsers.site import Site
from facade.capabilities.openapi.document import document
from facade.capabilities.representations import Endpoint
from facade.channel import Core, channel_to
from facade.config import Settings
from facade.endpoints.health import HealthCache
from facade.errors import CoreFailure, Refusal, UnexpectedErrors, core_failed, http_failed, refused
from facade.explorer.site import Explorer
from facade.monitoring.processes import monitored
from facade.response.body_cache import BodyCache
from facade.routes import Path as Route
from facade.routes import routes
from facade.serving.admission import Admission, ClientConnections, Uploads
from facade.serving.exposure import OnlyClosed, must_be_closed
from facade.serving.memory import keep_steady
from facade.serving.observe import Observe
from facade.serving.tls import https_listener
from facade.serving.websocket import can_be_websocket
from facade.sessions.login import Logins
from facade.sessions.middleware import SessionCookies, credential_of
from facade.sessions.provider import IdentityProvider
from facade.sessions.session import Sessions
from facade.sharing.paths import SharePaths
from facade.viewer.route import ISOLATION, Viewer


def create_app(settings: Settings | None = None, channel: Any = None) -> Starlette:
    """Return the application; without `settings` it reads them itself, as each worker process does.

    The application closes the `channel` to the core when it stops; without `channel` it opens its own.
    """
    keep_steady()
    settings = settings or Settings()

    core_files = None if channel else core_tls_files(settings)
    https = https_listener(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        cores: deque[Core] = deque(maxlen=2)  # the current one, and one that may still be used by requests
        closing: set[asyncio.Task[None]] = set()

        def connect() -> None:
            """Connect to the core: calls in progress continue on the previous connection."""
            if len(cores) == cores.maxlen:
                closing.add(asyncio.create_task(cores.popleft().close()))
            own = channel or channel_to(settings.core, core_files)
            app.state.core = Core(own, settings.call_seconds, settings.idle_seconds)
            cores.append(app.state.core)

        connect()
        watches = []
        if core_files:
            watches.append(asyncio.create_task(core_files.watch(connect)))
        if https:
            watches.append(asyncio.create_task(https.watch()))
        try:
            async with monitored(app, is_in_core=channel is not None):
                yield
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*closing, *(core.close() for core in cores))
            if logins.provider:
                logins.provider.close()

    logins = _logins(settings)
    app = Starlette(
        routes=[
            *routes(),
            Explorer(),
            *([Viewer(Path(settings.viewer), Site.of(settings).origins)] if settings.viewer else []),
        ],
        middleware=_middleware(settings, logins, is_in_core=channel is not None),
        exception_handlers={Refusal: refused, CoreFailure: core_failed, HTTPException: http_failed},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.settings = settings
    app.state.https = https
    app.state.logins = logins
    app.state.health = HealthCache()
    app.state.uploads = Uploads()
    app.state.event_streams = Shares(settings.max_event_streams)
    app.state.stopping = asyncio.Event()
    app.state.connections = ClientConnections(settings.max_client_connections, settings.trusted_proxies)
    app.state.api_document = functools.cache(lambda version: document(version, _paths(app)))
    app.state.bodies = BodyCache(settings.metadata_cache_bytes)
    return app


def _paths(app: Starlette) -> Iterator[tuple[str, Mapping[str, Endpoint]]]:
    """Yield the path template and the endpoints of each route of the API."""
    for route in app.routes:
        if isinstance(route, Route):  # explorer and viewer are not part of the API
            yield route.path, route.row.methods


def _logins(settings: Settings) -> Logins:
    sealer = Sealer(settings.session_keys or [secrets.token_urlsafe()])
    sessions = Sessions(
        sealer, idle_s=int(settings.session_idle_minutes * 60), max_s=int(settings.session_hours * 3600)
    )
    issuers = listed(settings.auth_issuer)
    provider = (
        IdentityProvider(
            issuers[0], settings.auth_client_id, settings.auth_client_secret.get_secret_value(), settings.auth_scope
        )
        if issuers and settings.auth_client_id
        else None
    )
    return Logins(sessions, sealer, provider)


def _middleware(settings: Settings, logins: Logins, *, is_in_core: bool) -> list[Middleware]:
    """Return the middleware, outermost first. CORS is outermost, so that browsers can read error responses, too."""
    site = Site.of(settings)
    headers = BrowserHeaders(site.origins, ISOLATION if settings.viewer else {})
    inner = [
        Middleware(Cors, site=site),
        Middleware(SharePaths),
        Middleware(Observe, add_headers=headers.add_to, hsts_seconds=settings.hsts_seconds, is_in_core=is_in_core),
        Middleware(Guard, site=site, can_be_websocket=can_be_websocket),
        Middleware(Admission, max_requests=settings.max_requests, client_of=credential_of),
        Middleware(UnexpectedErrors),
        Middleware(SessionCookies, sessions=logins.sessions, provider=logins.provider),
    ]
    return inner if is_in_core or not must_be_closed(settings) else [*inner, Middleware(OnlyClosed)]
