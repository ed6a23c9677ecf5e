"""A facade that other machines can reach serves only while its core requires authentication (docs/security.md).

`dicomstore up` and a node check this themselves, because core and facade are one process there.
"""

import asyncio
import logging

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from common.addresses import is_loopback
from facade.channel import Core
from facade.config import Settings
from facade.errors import CoreFailure

_RETRY_SECONDS = 2.0

_log = logging.getLogger("facade")


def must_be_closed(settings: Settings) -> bool:
    """Return whether other machines can reach the facade, and the settings do not accept that it is open."""
    return not settings.insecure_without_authentication and not is_loopback(settings.http)


async def requires_authentication(core: Core) -> bool:
    """Wait until the core answers, and return whether it requires authentication."""
    while True:
        try:
            return (await core.get_capabilities(())).features.authentication_required
        except CoreFailure as failure:
            _log.warning("waiting for the core, to learn whether it requires authentication: %s", failure.message)
        await asyncio.sleep(_RETRY_SECONDS)


class OnlyClosed:
    """ASGI middleware: 503 while the core requires no authentication, as after a restart with other settings."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and await self._is_open(scope["app"].state.core):
            text = "The archive has been switched to work without authentication, so this address is not served."
            await PlainTextResponse(text, 503)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _is_open(self, core: Core) -> bool:
        try:
            return not (await core.get_capabilities(())).features.authentication_required
        except CoreFailure:
            return False  # the request fails as well
