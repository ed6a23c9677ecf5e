"""Creating, listing and revoking archive tokens."""

from collections.abc import Callable, Sequence
from datetime import datetime

from server.domain.access import Access, denied
from server.domain.limits import page_size
from server.domain.partition_names import PartitionNames
from server.domain.search import page_token
from server.domain.security.credentials import AuthenticationState
from server.domain.security.token_verifier import TokenVerifier
from server.model.access import Action, Grant
from server.model.call import Call, Principal
from server.model.errors import InvalidRequest, NotFound, Reason
from server.model.ids import Address, PartitionName, parse_partition_name
from server.model.security.archive_token import ArchiveToken, digest, new_id, new_secret
from server.model.security.roles import Roles
from server.ports.security.archive_tokens import ArchiveTokens

_MAX_NAME_LENGTH = 128
_MAX_PARTITIONS = 100


class Tokens:
    """The archive tokens, from the administrator's view."""

    def __init__(
        self,
        *,
        access: Access,
        record: ArchiveTokens,
        roles: Roles,
        partitions: PartitionNames,
        verifier: TokenVerifier,
        state: AuthenticationState,
        now: Callable[[], datetime],
    ) -> None:
        self._access = access
        self._record = record
        self._roles = roles
        self._partitions = partitions
        self._verifier = verifier
        self._state = state
        self._now = now

    async def create(
        self,
        call: Call,
        *,
        name: str,
        roles: Sequence[str],
        partitions: Sequence[str],
        create_partitions: bool = False,
        expires: datetime,
    ) -> tuple[ArchiveToken, str]:
        """Create a token; return its record and its text, which is not stored.

        Args:
            partitions: to which its permissions are limited; empty means all.
            create_partitions: create those that do not exist.

        Raises:
            Forbidden: PERMISSION_DENIED, the token would have permissions that its creator does not have, or the
                creator may not create a partition.
            InvalidRequest: INVALID_FIELD, INVALID_PARTITION_NAME.
            NotFound: PARTITION_NOT_FOUND.
            WrongState: PARTITIONS_DISABLED.
        """
        call.audit.note(token_name=name, token_roles=list(roles), token_partitions=list(partitions))
        await self._access.permit_archive(call, Action.ADMINISTER)
        now = self._now()
        if not (0 < len(name) <= _MAX_NAME_LENGTH and name.isprintable()):
            raise _invalid("name", f"A name of 1 to {_MAX_NAME_LENGTH} printable characters is required.")
        if not roles:
            raise _invalid("roles", "At least one role is required.")
        if self._roles.unknown(roles):
            raise _invalid("roles", "There is no such role.")
        if len(partitions) > _MAX_PARTITIONS:
            raise _invalid("partitions", f"At most {_MAX_PARTITIONS} partitions are possible.")
        if expires <= now:
            raise _invalid("expire_time", "The time of expiry must be in the future.")
        names = tuple(sorted({parse_partition_name(partition, "partitions") for partition in partitions}))
        if names:
            self._partitions.require_enabled()
        require_own_permissions(call.principal, self._roles.grants(roles, names))
        await self._prepare_partitions(call, names, create=create_partitions)
        token = ArchiveToken(
            id=new_id(),
            name=name,
            roles=tuple(sorted(set(roles))),
            partitions=names,
            created=now,
            creator=call.principal.id,
            expires=expires,
        )
        secret = new_secret()
        call.audit.note(token=token.id)
        await self._record.add(token, digest(secret))
        await self._state.token_created()
        return token, secret

    async def _prepare_partitions(self, call: Call, names: Sequence[PartitionName], *, create: bool) -> None:
        if not create:
            for name in names:
                await self._partitions.require(name)
            return
        missing = [name for name in names if not await self._partitions.exists(name)]
        for name in missing:
            if not any(grant.covers(Address(name)) for grant in call.principal.grants_of(Action.WRITE)):
                raise denied(Action.WRITE)
        call.audit.note(created_partitions=missing)
        for name in missing:
            await self._partitions.create_missing(name)

    async def list(
        self, call: Call, *, size: int, token: str, include_invalid: bool
    ) -> tuple[Sequence[ArchiveToken], str]:
        """Return a page of tokens, newest first, and the page token of the next page, empty for the last one.

        Args:
            include_invalid: also those that were revoked or have expired.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        await self._access.permit_archive(call, Action.ADMINISTER)
        query = f"archive tokens {include_invalid}".encode()
        limit = page_size(size)
        before = page_token.read(token, query) if token else None
        valid_at = None if include_invalid else self._now()
        found = await self._record.list(valid_at=valid_at, before=before, limit=limit + 1)
        following = page_token.make(found[limit - 1][0], query) if len(found) > limit else ""
        return [token for _, token in found[:limit]], following

    async def revoke(self, call: Call, token_id: str) -> ArchiveToken:
        """Revoke a token, in this process at once. A revoked token stays as it is.

        Raises:
            NotFound: TOKEN_NOT_FOUND.
        """
        call.audit.note(token=token_id)
        await self._access.permit_archive(call, Action.ADMINISTER)
        token = await self._record.revoke(token_id, self._now())
        if token is None:
            raise NotFound(Reason.TOKEN_NOT_FOUND, "The specified token does not exist.")
        self._verifier.forget(token_id)
        return token


def require_own_permissions(creator: Principal, grants: Sequence[Grant]) -> None:
    """Raise Forbidden if the creator of a token or share link lacks a permission that it would give."""
    for grant in grants:
        for action in sorted(grant.actions, key=lambda action: action.value):
            if not any(own.covers(grant.scope) for own in creator.grants_of(action)):
                raise denied(action)


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
