"""The identity providers of an archive."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from server.adapters.identity.access_tokens import InvalidToken, ParsedToken, check_claims, parse
from server.adapters.identity.documents import FETCH_SECONDS
from server.adapters.identity.fetcher import Fetcher
from server.adapters.identity.issuer import Issuer
from server.adapters.identity.keys import verify
from server.model.errors import Reason, Unauthenticated, Unavailable
from server.ports.security.identity import VerifiedToken

_MAX_TRIED_KEYS = 8


class OidcIssuers:
    """`TokenIssuers` for OpenID Connect. A context manager, which keeps the keys up to date."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        audiences: Sequence[str],
        skew_seconds: float,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        """Create it without keys.

        Args:
            urls: of the issuers, as in claim `iss`.
            audiences: a token must be for one of them.
            skew_seconds: allowed difference between the clocks of issuers and of this machine.
            fetch_seconds: time limit for fetching one document.
        """
        fetch = Fetcher(fetch_seconds)
        self._issuers = {url: Issuer(url, fetch, clock) for url in urls}
        self._audiences = tuple(audiences)
        self._skew_seconds = skew_seconds
        self._now = now
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> "OidcIssuers":
        """Start fetching keys. Does not wait for them."""
        self._tasks = [asyncio.create_task(issuer.run()) for issuer in self._issuers.values()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def revision(self) -> int:
        """See `TokenIssuers`."""
        return sum(issuer.revision for issuer in self._issuers.values())

    def challenge(self) -> Mapping[str, str]:
        """See `TokenIssuers`. The URL is that of the first issuer."""
        first = next(iter(self._issuers.values()))
        return {
            "authorization_uri": first.authorization_endpoint or first.url,
            "resource_id": self._audiences[0],
        }

    async def verify(self, token: str) -> VerifiedToken:
        """See `TokenIssuers`."""
        try:
            parsed = parse(token)
            issuer = self._issuer(parsed)
            for key in (await issuer.candidates(parsed.kid, parsed.algorithm))[:_MAX_TRIED_KEYS]:
                if verify(key, parsed.algorithm, parsed.signed, parsed.signature):
                    return self._verified(issuer, parsed)
        except InvalidToken as error:
            raise Unauthenticated(Reason.UNAUTHENTICATED, str(error), problem="invalid") from None
        message = "The signature of the token is invalid, or its key is unknown."
        raise Unauthenticated(Reason.UNAUTHENTICATED, message, problem="invalid")

    async def check(self) -> None:
        """Raise Unavailable (IDENTITY_PROVIDER_UNAVAILABLE) if the keys of an issuer could not be fetched."""
        for issuer in self._issuers.values():
            if issuer.problem:
                raise Unavailable(Reason.IDENTITY_PROVIDER_UNAVAILABLE, f"{issuer.url}: {issuer.problem}.")

    async def fetch_all(self) -> Mapping[str, int]:
        """Fetch the keys of all issuers now; return the number of keys by issuer. Raises: as `check`."""
        await asyncio.gather(*(issuer.refresh() for issuer in self._issuers.values()))
        await self.check()
        return {url: issuer.key_count for url, issuer in self._issuers.items()}

    def _issuer(self, parsed: ParsedToken) -> Issuer:
        url = parsed.claims.get("iss")
        issuer = self._issuers.get(url) if isinstance(url, str) else None
        if issuer is None:
            raise InvalidToken("The token is of another issuer.")
        return issuer

    def _verified(self, issuer: Issuer, parsed: ParsedToken) -> VerifiedToken:
        until = check_claims(parsed, audiences=self._audiences, now=self._now(), skew=self._skew_seconds)
        return VerifiedToken(issuer.url, parsed.claims, until)
