"""Verification of archive tokens, and of the token of the operator of the machine."""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

from cachetools import LRUCache

from server.domain.security.credentials import invalid_credential
from server.model.call import Principal
from server.model.errors import DicomStoreError
from server.model.security.archive_token import ArchiveToken, digest
from server.model.security.roles import GLOBAL_ADMIN, Roles
from server.ports.security.archive_tokens import ArchiveTokens

CACHE_SECONDS = 1.0
"""A token that was revoked by another process is refused after this time."""

_CACHED = 2048
_MAX_LENGTH = 100
_RECORD_SECONDS = 30.0

_PRINCIPAL = "token:"

_log = logging.getLogger("dicomstore.authentication")

_Entry = tuple[float, ArchiveToken | None, Principal | None]


class TokenVerifier:
    """Verifies archive tokens. Results, also negative ones, are cached for `CACHE_SECONDS`."""

    def __init__(
        self,
        *,
        tokens: ArchiveTokens,
        roles: Roles,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._roles = roles
        self._now = now
        self._clock = clock
        self._cache: LRUCache[bytes, _Entry] = LRUCache(_CACHED)
        self._used: dict[str, datetime] = {}
        self._revocations = 0

    async def verify(self, credential: str) -> Principal:
        """See `Verifier`."""
        if len(credential) > _MAX_LENGTH:
            raise _unknown()
        key = digest(credential)
        until, token, principal = self._cache.get(key) or (0.0, None, None)
        if self._clock() >= until:
            until, revocations = self._clock() + CACHE_SECONDS, self._revocations
            token = await self._tokens.find(key)
            principal = None if token is None else self._principal(token)
            if revocations == self._revocations:  # otherwise it may have been found before it was revoked
                self._cache[key] = (until, token, principal)
        if token is None or principal is None:
            raise _unknown()
        now = self._now()
        if not token.is_valid(now):
            raise invalid_credential("The token was revoked." if token.revoked else "The token has expired.")
        if token.id in self._used or len(self._used) < _CACHED:
            self._used[token.id] = now
        return principal

    def forget(self, token_id: str) -> None:
        """Forget a token that this process has revoked."""
        self._revocations += 1
        for key in [key for key, (_, token, _) in self._cache.items() if token and token.id == token_id]:
            del self._cache[key]

    async def run(self) -> NoReturn:
        """Record the last use of tokens every `_RECORD_SECONDS`."""
        while True:
            await asyncio.sleep(_RECORD_SECONDS)
            await self.record()

    async def record(self) -> None:
        """Record the last use of tokens."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._tokens.set_last_used(used)
        except DicomStoreError as error:  # the next use is recorded
            _log.info("last use of tokens not recorded reason=%s", error.reason)

    def _principal(self, token: ArchiveToken) -> Principal:
        return Principal(
            id=f"{_PRINCIPAL}{token.id}",
            display_name=token.name,
            roles=self._roles.known(token.roles),
            grants=self._roles.grants(token.roles, token.partitions),
        )


def token_of(principal_id: str) -> str | None:
    """Return the id of the archive token with which a principal is authenticated; None if it is not."""
    kind, prefix, token_id = principal_id.partition(_PRINCIPAL)
    return token_id if prefix and not kind else None


class OperatorVerifier:
    """Verifies the token of the operator of the machine, whose role is `GLOBAL_ADMIN`."""

    def __init__(self, operator_token: str, roles: Roles) -> None:
        self._digest = digest(operator_token)
        self._principal = Principal(
            "operator", "operator", frozenset({GLOBAL_ADMIN}), grants=roles.grants({GLOBAL_ADMIN})
        )

    async def verify(self, credential: str) -> Principal:
        """See `Verifier`."""
        if not hmac.compare_digest(digest(credential), self._digest):
            raise _unknown()
        return self._principal


def _unknown() -> Exception:
    return invalid_credential("The token is unknown.")
