"""Creating, listing, revoking and verifying share links."""

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cachetools import LRUCache

from server.domain.access import Access
from server.domain.resources import not_found
from server.domain.search import page_token
from server.domain.security.credentials import invalid_credential
from server.domain.security.share_tokens import ShareTokens
from server.domain.security.tokens import require_own_permissions
from server.model.access import Action, Grant
from server.model.call import Call, Principal
from server.model.errors import InvalidRequest, NotFound, Reason, Unauthenticated
from server.model.ids import Address
from server.model.security.share_link import ShareLink, SharePurpose, link_of
from server.ports.index import InstanceIndex
from server.ports.security.share_links import ShareLinks as Record

CACHE_SECONDS = 1.0
"""A link that was revoked by another process is refused after this time."""

DEFAULT_LIFETIME = timedelta(days=7)
MAX_LABEL_LENGTH = 200
_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000
_PAGES = b"share links"
_CACHED = 2048
_ID_BYTES = 16


class ShareLinkVerifier:
    """Verifies tokens. Look-ups of links are cached for `CACHE_SECONDS`."""

    def __init__(
        self,
        *,
        record: Record,
        tokens: ShareTokens,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._tokens = tokens
        self._now = now
        self._clock = clock
        self._cache: LRUCache[str, tuple[float, Principal | None]] = LRUCache(_CACHED)
        self._revocations = 0

    async def verify(self, credential: str) -> Principal:
        """Return the principal to which the token of a link belongs.

        Raises:
            Unauthenticated: UNAUTHENTICATED, the token is not of this archive, or its link has expired or was revoked.
            Unavailable: DATABASE_UNAVAILABLE.
        """
        found = self._tokens.read(credential)
        if found is None:
            raise _invalid()
        link_id, expires = found
        if self._now() >= expires:
            raise _invalid()
        until, principal = self._cache.get(link_id) or (0.0, None)
        if self._clock() >= until:
            # The time before the look-up, so that a later change is seen.
            until, revocations = self._clock() + CACHE_SECONDS, self._revocations
            link = await self._record.find(link_id)
            principal = None if link is None else link.principal
            if revocations == self._revocations:  # otherwise it may have been found before it was revoked
                self._cache[link_id] = (until, principal)
        if principal is None:
            raise _invalid()
        return principal

    def forget(self, link_id: str) -> None:
        """Forget a link that this process has revoked."""
        self._revocations += 1
        self._cache[link_id] = (self._clock() + CACHE_SECONDS, None)


class ShareLinks:
    """Creates, lists and revokes share links."""

    def __init__(
        self,
        *,
        access: Access,
        index: InstanceIndex,
        record: Record,
        tokens: ShareTokens,
        verifier: ShareLinkVerifier,
        max_lifetime: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        """Create the service. A `max_lifetime` of zero disables the creation of links."""
        self._access = access
        self._index = index
        self._record = record
        self._tokens = tokens
        self._verifier = verifier
        self._max_lifetime = max_lifetime
        self._now = now

    async def create(
        self, call: Call, purpose: SharePurpose, scope: Address, *, label: str, lifetime: timedelta | None
    ) -> tuple[ShareLink, str]:
        """Create a link and return it with its token.

        Args:
            scope: an existing study, series or instance to read; a partition to upload into.
            lifetime: at most `max_lifetime`; None is `DEFAULT_LIFETIME`, or the maximum if that is shorter.

        Raises:
            InvalidRequest: INVALID_FIELD.
            NotFound: STUDY_NOT_FOUND, SERIES_NOT_FOUND, INSTANCE_NOT_FOUND.
            Forbidden: PERMISSION_DENIED, the creator lacks the permission that the link would give.
            DicomStoreError: as `Access.permit`.
        """
        scope = await self._access.permit(call, Action.ADMINISTER, scope)
        require_own_permissions(call.principal, [Grant(frozenset({purpose.action}), scope)])
        lifetime = self._checked_lifetime(lifetime)
        if len(label) > MAX_LABEL_LENGTH or not label.isprintable():
            raise _invalid_field("label", f"A label has at most {MAX_LABEL_LENGTH} printable characters.")
        if purpose is SharePurpose.UPLOAD and scope.study is not None:
            raise _invalid_field("scope", "An upload link is for a whole partition.")
        if purpose is SharePurpose.READ:
            scope.require_study()
            if await self._index.state(scope) is None:
                raise await not_found(self._index, scope)
        created = self._now()
        expires = (created + lifetime).replace(microsecond=0)  # as in tokens
        link = ShareLink(secrets.token_hex(_ID_BYTES), purpose, scope, label, call.principal.id, created, expires)
        call.audit.note(share_link=link.id, share_purpose=purpose.name.lower(), share_expires=expires.isoformat())
        await self._record.add(link)
        return link, self._tokens.make(link)

    async def list(self, call: Call, *, page_size: int, token: str) -> tuple[Sequence[ShareLink], str]:
        """Return a page of the valid links, newest first, and the token of the next page, empty for the last one.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
            DicomStoreError: as `Access.permit_partitions`.
        """
        partitions = self._access.permit_partitions(call, Action.ADMINISTER)
        if not 0 <= page_size <= _MAX_PAGE_SIZE:
            raise _invalid_field("page_size", f"page_size must be between 1 and {_MAX_PAGE_SIZE}, or 0.")
        size = page_size or _DEFAULT_PAGE_SIZE
        found = await self._record.list(
            valid_at=self._now(),
            partitions=partitions,
            before=page_token.read(token, _PAGES) if token else None,
            limit=size + 1,
        )
        following = page_token.make(found[size - 1][0], _PAGES) if len(found) > size else ""
        return [link for _, link in found[:size]], following

    async def revoke(self, call: Call, link_id: str) -> None:
        """Revoke a link, so that calls with its token fail.

        Raises:
            NotFound: SHARE_LINK_NOT_FOUND.
            DicomStoreError: as `Access.permit_partitions`.
        """
        call.audit.note(share_link=link_id)
        partitions = self._access.permit_partitions(call, Action.ADMINISTER)
        call.audit.begin(call, Action.ADMINISTER)
        await call.audit.begun()
        if not await self._record.remove(link_id, partitions):
            raise _unknown()
        self._verifier.forget(link_id)

    async def own(self, call: Call) -> ShareLink:
        """Return the link with whose token a call is authenticated.

        Raises:
            NotFound: SHARE_LINK_NOT_FOUND, it is authenticated otherwise.
        """
        link_id = link_of(call.principal)
        link = await self._record.find(link_id) if link_id else None
        if link is None:
            raise _unknown()
        return link

    def _checked_lifetime(self, lifetime: timedelta | None) -> timedelta:
        if not self._max_lifetime:
            raise _invalid_field("lifetime", "This archive does not allow share links.")
        lifetime = min(DEFAULT_LIFETIME, self._max_lifetime) if lifetime is None else lifetime
        if not timedelta(seconds=1) <= lifetime <= self._max_lifetime:
            most = f"{self._max_lifetime / timedelta(days=1):g} days"
            raise _invalid_field("lifetime", f"The lifetime of a share link is between 1 s and {most}.")
        return lifetime


def _invalid() -> Unauthenticated:
    return invalid_credential("The share link is invalid: it has expired or was revoked, or is incomplete.")


def _unknown() -> NotFound:
    return NotFound(Reason.SHARE_LINK_NOT_FOUND, "There is no such share link.")


def _invalid_field(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
