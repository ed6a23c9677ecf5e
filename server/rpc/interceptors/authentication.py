"""Authentication: the principal of each call, and the check that it may perform the rpc's action at all."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from dicomstore.v1 import access_options_pb2 as pb

from server.domain.access import denied
from server.domain.security.credentials import (
    AuthenticationState,
    Credentials,
    invalid_credential,
    missing_credential,
)
from server.model.call import ANONYMOUS, EVERYBODY, Principal
from server.model.errors import Unauthenticated, Unavailable
from server.rpc.interceptors.call_context import Context, nothing
from server.rpc.interceptors.declared_actions import ACTIONS, declared_action
from server.rpc.interceptors.surround import Surround


class Authenticator(Protocol):
    """Verifies the credentials of calls."""

    async def is_open(self) -> bool:
        """Return whether calls without credentials have every permission, as far as this process knows."""

    async def authenticate(self, context: Context, *, required: bool) -> Principal:
        """Return the principal of a call.

        Args:
            required: a credential is required; otherwise it is ignored, and the principal is `ANONYMOUS`.

        Raises:
            Unauthenticated: UNAUTHENTICATED.
        """


class BearerAuthenticator:
    """Verifies the bearer credential (RFC 6750) in metadata `authorization`, while authentication is on."""

    def __init__(
        self,
        state: AuthenticationState,
        credentials: Credentials,
        challenge: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Create it; `challenge` returns what a client without a valid token needs to get one."""
        self._state = state
        self._credentials = credentials
        self._challenge = challenge

    async def is_open(self) -> bool:
        """See `Authenticator`."""
        with contextlib.suppress(Unavailable):
            await self._state.is_on()
        return not self._state.was_on

    async def authenticate(self, context: Context, *, required: bool) -> Principal:
        """See `Authenticator`."""
        if not required:
            return ANONYMOUS
        if not await self._state.is_on():
            return EVERYBODY
        try:
            return await self._credentials.verify(bearer_credential(context.metadata))
        except Unauthenticated as error:
            error.metadata |= self._challenge()
            raise


class Authentication(Surround):
    """Sets the principal of each call, and refuses it if the principal may perform its action nowhere.

    This is before the request is read. Where the principal may perform the action is decided by
    `server.domain.access.Access` when the address is known.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        super().__init__()
        self._authenticator = authenticator

    def around(self, method: str, context: Context) -> "_Authenticated":
        """See `Surround`."""
        return _Authenticated(self._authenticator, declared_action(method), context)


class _Authenticated:
    __slots__ = ("_authenticator", "_context", "_declared")

    def __init__(self, authenticator: Authenticator, declared: int, context: Context) -> None:
        self._authenticator = authenticator
        self._declared = declared
        self._context = context

    async def __aenter__(self) -> Context:
        context = self._context
        await self._authenticate()
        action = ACTIONS.get(self._declared)
        if action is not None and not context.call.principal.grants_of(action):
            raise denied(action)
        context.authenticate_again = self._authenticate
        return context

    async def _authenticate(self) -> None:
        required = self._declared != pb.ACTION_ANONYMOUS
        self._context.identify(await self._authenticator.authenticate(self._context, required=required))

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self._context.authenticate_again = nothing  # breaks a reference cycle, which would be freed late


_SCHEME = "bearer "


def bearer_credential(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the bearer credential of a call.

    Raises:
        Unauthenticated: there is none, or more than one.
    """
    values = [value for key, value in metadata if key == "authorization"]
    if len(values) > 1:
        raise invalid_credential("The call has more than one credential.")
    if not values or not isinstance(values[0], str) or values[0][: len(_SCHEME)].lower() != _SCHEME:
        raise missing_credential()
    return values[0][len(_SCHEME) :].strip(" ")
