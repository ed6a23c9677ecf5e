"""Login links, which open browser sessions without an identity provider."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from server.domain.access import Access
from server.domain.security.credentials import AuthenticationState
from server.domain.security.token_verifier import TokenVerifier, token_of
from server.domain.security.tokens import require_own_permissions
from server.model.access import Action
from server.model.call import Call
from server.model.errors import InvalidRequest, NotFound, Reason, WrongState
from server.model.security.archive_token import ArchiveToken, digest, new_id, new_secret
from server.model.security.login_link import PREFIX, SESSION_NAME, LoginLink, new_code
from server.model.security.roles import Roles
from server.ports.security.archive_tokens import ArchiveTokens
from server.ports.security.login_links import LoginLinks

LINK_LIFETIME = timedelta(minutes=5)
SESSION_LIFETIME = timedelta(hours=12)

_CODE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


class Logins:
    """Creates and redeems login links."""

    def __init__(
        self,
        *,
        access: Access,
        links: LoginLinks,
        tokens: ArchiveTokens,
        roles: Roles,
        verifier: TokenVerifier,
        state: AuthenticationState,
        now: Callable[[], datetime],
    ) -> None:
        self._access = access
        self._links = links
        self._tokens = tokens
        self._roles = roles
        self._verifier = verifier
        self._state = state
        self._now = now

    async def create(self, call: Call, roles: Sequence[str]) -> tuple[str, datetime]:
        """Return the code of a new link, which is not stored, and the time until which it is valid.

        Args:
            roles: of the session; empty means those of the caller.

        Raises:
            InvalidRequest: INVALID_FIELD, there is no such role, or the caller has none.
            Forbidden: PERMISSION_DENIED, the caller lacks a permission of the roles.
            WrongState: AUTHENTICATION_OFF, so that no session is needed. The first token would turn it on.
        """
        await self._access.permit_archive(call, Action.ADMINISTER)
        if not await self._state.is_on():
            message = "Authentication is off: open the archive in a browser without a login."
            raise WrongState(Reason.AUTHENTICATION_OFF, message)
        names = tuple(sorted(set(roles) or call.principal.roles))
        if not names or self._roles.unknown(names):
            raise InvalidRequest(Reason.INVALID_FIELD, "There is no such role.", field="roles")
        require_own_permissions(call.principal, self._roles.grants(names))
        now = self._now()
        code, expires = new_code(), now + LINK_LIFETIME
        await self._links.add(LoginLink(names, call.principal.id, expires), digest(code), now)
        return code, expires

    async def redeem(self, call: Call, code: str) -> tuple[str, datetime]:
        """Return a new archive token for the code of a link, and the time until which it is valid.

        Raises:
            NotFound: LOGIN_LINK_NOT_FOUND, the link has been used, has expired, or never existed, or the archive token
                of its creator was revoked or has expired.
        """
        # Anybody can send a code: an invented one causes neither a write nor a durable record.
        if not _CODE.fullmatch(code) or not await self._links.exists(digest(code)):
            raise _invalid()
        call.audit.begin(call, Action.ADMINISTER)
        await call.audit.begun()
        link = await self._links.take(digest(code))
        now = self._now()
        if link is None or now >= link.expires or not await self._is_valid(link.creator, now):
            raise _invalid()
        token = ArchiveToken(new_id(), SESSION_NAME, link.roles, (), now, link.creator, now + SESSION_LIFETIME)
        secret = new_secret()
        call.audit.note(token=token.id, token_roles=list(link.roles), creator=link.creator)
        await self._tokens.add(token, digest(secret))
        return secret, token.expires

    async def _is_valid(self, creator: str, now: datetime) -> bool:
        """Return whether the archive token of a creator is valid; other credentials are not known afterwards."""
        token_id = token_of(creator)
        if token_id is None:
            return True
        token = await self._tokens.get(token_id)
        return token is not None and token.is_valid(now)

    async def end(self, call: Call) -> None:
        """Revoke the token with which a call is authenticated, if a login link has created it.

        Raises:
            NotFound: LOGIN_LINK_NOT_FOUND, it is authenticated otherwise.
        """
        token_id = token_of(call.principal.id)
        if token_id is None or call.principal.display_name != SESSION_NAME:
            raise NotFound(Reason.LOGIN_LINK_NOT_FOUND, "This is not a session of a login link.")
        call.audit.note(token=token_id)
        call.audit.begin(call, Action.ADMINISTER)
        await call.audit.begun()
        await self._tokens.revoke(token_id, self._now())
        self._verifier.forget(token_id)


def _invalid() -> NotFound:
    return NotFound(Reason.LOGIN_LINK_NOT_FOUND, "The login link has been used or has expired.")
