"""One identity provider: discovery of its metadata (OpenID Connect Discovery 1.0), and its keys, kept up to date.

Keys are fetched at start, once an hour, and when a token names an unknown key, but then not more often than every
`MIN_SECONDS`: tokens with invented key ids cause no fetches. If the provider is down, known keys are used for
`MAX_AGE_SECONDS`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn

from server.adapters.identity.documents import DocumentError, require_permitted
from server.adapters.identity.keys import Key, Keys, parse_keys
from server.model.errors import Reason, Unavailable

MIN_SECONDS = 10.0
"""Shortest time between two fetches that tokens cause."""

REFRESH_SECONDS = 3600.0
RETRY_SECONDS = 15.0
MAX_AGE_SECONDS = 24 * 3600.0

_MAX_WAITING = 64
_WELL_KNOWN = "/.well-known/openid-configuration"

_log = logging.getLogger("dicomstore.authentication")

Fetch = Callable[[str], Awaitable[Mapping[str, Any]]]
"""Returns the JSON object at a URL. Raises: DocumentError."""


class Issuer:
    """The keys of an issuer.

    Attributes:
        authorization_endpoint: URL at which people log in; empty while it is not known.
        revision: increases when a key is withdrawn.
        problem: why the last fetch failed; empty if it succeeded or there was none yet.
    """

    def __init__(self, url: str, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        """Create an issuer without keys.

        Args:
            url: as in claim `iss`.
        """
        self.url = url
        self.authorization_endpoint = ""
        self.revision = 0
        self.problem = ""
        self._fetch = fetch
        self._clock = clock
        self._keys = Keys()
        self._fetched_at = float("-inf")
        self._next_fetch_at = float("-inf")
        self._running: asyncio.Task[None] | None = None
        self._waiting = 0

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys with which a token may be signed; fetch the keys if there is none and a fetch is due.

        Raises:
            Unavailable: IDENTITY_PROVIDER_UNAVAILABLE, no keys are known, or they are too old.
        """
        found = self._candidates(kid, algorithm)
        if not found:
            await self._refresh_if_due()
            found = self._candidates(kid, algorithm)
        if not found and not self._has_keys():
            message = "The keys of the identity provider cannot be fetched; try again later."
            raise Unavailable(Reason.IDENTITY_PROVIDER_UNAVAILABLE, message)
        return found

    async def run(self) -> NoReturn:
        """Keep the keys up to date."""
        while True:
            await self.refresh()
            await asyncio.sleep(RETRY_SECONDS if self.problem else REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Fetch metadata and keys now; concurrent calls share one fetch. Failures are logged and kept in `problem`."""
        if self._running is None:
            self._next_fetch_at = self._clock() + MIN_SECONDS
            self._running = asyncio.create_task(self._refresh())
        await asyncio.shield(self._running)

    @property
    def key_count(self) -> int:
        """Number of known keys."""
        return len(self._keys.keys)

    def _has_keys(self) -> bool:
        return self._clock() < self._fetched_at + MAX_AGE_SECONDS

    def _candidates(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        return self._keys.candidates(kid, algorithm) if self._has_keys() else ()

    async def _refresh_if_due(self) -> None:
        if (self._running is None and self._clock() < self._next_fetch_at) or self._waiting >= _MAX_WAITING:
            return
        self._waiting += 1
        try:
            await self.refresh()
        finally:
            self._waiting -= 1

    async def _refresh(self) -> None:
        try:
            metadata = await self._fetch(self.url.rstrip("/") + _WELL_KNOWN)
            if metadata.get("issuer") != self.url:
                raise DocumentError(f"the metadata name the issuer {metadata.get('issuer')!r:.200}, not {self.url}")
            location = metadata.get("jwks_uri")
            if not isinstance(location, str):
                raise DocumentError("the metadata have no jwks_uri")
            _require_as_secure(location, self.url)
            try:
                keys = parse_keys(await self._fetch(location))
            except ValueError as error:
                raise DocumentError(f"the keys cannot be used: {error}") from None
        except DocumentError as error:
            self._failed(str(error))
        else:
            endpoint = metadata.get("authorization_endpoint")
            self.authorization_endpoint = endpoint if isinstance(endpoint, str) else ""
            self._succeeded(keys)
        finally:
            self._running = None

    def _succeeded(self, keys: Keys) -> None:
        if self._keys.fingerprints() - keys.fingerprints():
            self.revision += 1
        if self.problem or not self._keys.keys:
            _log.info("keys of identity provider fetched issuer=%s count=%d", self.url, len(keys.keys))
        self._keys, self._fetched_at, self.problem = keys, self._clock(), ""

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("keys of identity provider not fetched issuer=%s cause=%s", self.url, problem)
        self.problem = problem


def _require_as_secure(location: str, issuer: str) -> None:
    """Require a permitted URL, and HTTPS if the issuer has HTTPS. Raises: DocumentError."""
    require_permitted(location)
    if issuer.startswith("https:") and not location.startswith("https:"):
        raise DocumentError("jwks_uri is not https")
