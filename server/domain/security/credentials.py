"""The credentials of a call: whether any are required, and the principal to which they belong."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from server.model.call import Principal
from server.model.errors import DicomStoreError, Reason, Unauthenticated

_log = logging.getLogger("dicomstore.authentication")

CHECK_SECONDS = 1.0
"""Longest time after which a process notices that another one has created the first token."""


class Verifier(Protocol):
    """Verifies one kind of bearer credentials."""

    async def verify(self, credential: str) -> Principal:
        """Return the principal to which a credential belongs.

        Raises:
            Unauthenticated: UNAUTHENTICATED, it is invalid.
            Unavailable: it cannot be verified at the moment.
        """
        ...


class AuthenticationState:
    """Whether authentication is on. This is the only place that decides it.

    It is on if the settings require it, or if an archive token has ever been created. That is a fact that remains:
    revoking the last token does not open the archive. While it is off, every call has every permission.

    Attributes:
        was_on: whether it was on when this process last checked.
    """

    def __init__(
        self,
        *,
        is_required: bool,
        is_disabled: bool,
        tokens_exist: Callable[[], Awaitable[bool]],
        remember: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the state.

        Args:
            is_required: the settings require authentication.
            is_disabled: the settings disable authentication, whatever else is the case.
            tokens_exist: asks the index whether a token has ever been created.
            remember: records that elsewhere as well, so that the archive is not open after a loss of the index.
        """
        self.was_on = is_required and not is_disabled
        self._is_final = is_required or is_disabled
        self._tokens_exist = tokens_exist
        self._remember = remember
        self._clock = clock
        self._check_at = float("-inf")

    async def is_on(self) -> bool:
        """Return whether authentication is on. Raises: Unavailable, as the index does."""
        if not self._is_final and self._clock() >= self._check_at:
            check_at = self._clock() + CHECK_SECONDS
            if await self._tokens_exist():
                await self.token_created()
            else:
                self._check_at = check_at
        return self.was_on

    async def token_created(self) -> None:
        """Turn authentication on, unless the settings disable it: a token has been created."""
        if not self._is_final:  # never set back, because the answer to an earlier question may come later
            self.was_on = self._is_final = True
        try:
            await self._remember()
        except DicomStoreError as error:  # the next start does it
            _log.warning("existence of tokens not recorded beside the blobs reason=%s", error.reason)


class Credentials:
    """Verifies bearer credentials of all kinds."""

    def __init__(self, by_prefix: Mapping[str, Verifier], other: Verifier | None = None) -> None:
        """Create it from the verifiers of credentials that begin with a prefix, and of all others."""
        self._by_prefix = by_prefix
        self._other = other

    async def verify(self, credential: str) -> Principal:
        """Return the principal to which a credential belongs. Raises: as `Verifier`."""
        for prefix, verifier in self._by_prefix.items():
            if credential.startswith(prefix):
                return await verifier.verify(credential)
        if self._other is None:
            raise invalid_credential("The token is not one that this service accepts.")
        return await self._other.verify(credential)


def missing_credential() -> Unauthenticated:
    """Return the error for a call without a credential."""
    return Unauthenticated(Reason.UNAUTHENTICATED, "Authentication is required.", problem="missing")


def invalid_credential(message: str) -> Unauthenticated:
    """Return the error for an invalid credential. The message must not contain any part of it."""
    return Unauthenticated(Reason.UNAUTHENTICATED, message, problem="invalid")
