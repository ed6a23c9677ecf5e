"""Access tokens of identity providers: the principal and the roles that their claims describe."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cachetools import LRUCache

from server.domain.security.credentials import invalid_credential
from server.model.call import Principal
from server.model.security.archive_token import digest
from server.model.security.roles import Roles
from server.ports.security.identity import TokenIssuers, VerifiedToken

_CACHED = 4096
_MAX_TEXT_LENGTH = 256
_CLIENT_CLAIMS = ("azp", "appid", "client_id")
_NAME_CLAIMS = ("preferred_username", "upn", "name", *_CLIENT_CLAIMS)
_KEPT_CLAIMS = ("iss", "sub", "oid", "tid", *_NAME_CLAIMS, "jti")
"""Claims that `Principal.claims` has, if a token has them."""

_Entry = tuple[Principal, float, int]


class IdentityTokenVerifier:
    """Verifies access tokens of identity providers. Verified ones are cached until they expire."""

    def __init__(
        self, *, issuers: TokenIssuers, roles: Roles, role_claims: Sequence[str], now: Callable[[], float]
    ) -> None:
        """Create it with an empty cache.

        Args:
            role_claims: paths of the claims with names of roles; see `texts_at`.
            now: returns seconds since 1970.
        """
        self._issuers = issuers
        self._roles = roles
        self._role_claims = role_claims
        self._now = now
        self._cache: LRUCache[bytes, _Entry] = LRUCache(_CACHED)

    async def verify(self, credential: str) -> Principal:
        """See `Verifier`."""
        key = digest(credential)
        if (entry := self._cache.get(key)) is not None:
            principal, until, revision = entry
            if self._now() < until and revision == self._issuers.revision:
                return principal
            del self._cache[key]
        verified = await self._issuers.verify(credential)
        principal = self._principal(verified)
        self._cache[key] = (principal, verified.accepted_until, self._issuers.revision)
        return principal

    def _principal(self, verified: VerifiedToken) -> Principal:
        kept = {name: text for name in _KEPT_CLAIMS if (text := _text(verified.claims.get(name)))}
        client = next((kept[name] for name in _CLIENT_CLAIMS if name in kept), "")
        subject = kept.get("sub") or client
        if not subject:
            raise invalid_credential("The token has no subject.")
        names = {text for path in self._role_claims for text in texts_at(verified.claims, path)}
        roles = self._roles.known(names)
        return Principal(
            # Without spaces, so that it is one word in the log.
            id=f"{verified.issuer}#{quote(subject, safe=':@|/+=,;~')}",
            display_name=next((kept[name] for name in _NAME_CLAIMS if name in kept), subject),
            roles=roles,
            claims=kept,
            grants=self._roles.grants(roles),
        )


def texts_at(claims: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the texts at a path such as `roles` or `realm_access.roles`.

    A name may contain dots, as in `https://example.org/roles`. The value is a list of texts, or one text with spaces
    between them, as claim `scope` has.
    """
    for name, value in claims.items():
        if path == name:
            if isinstance(value, str):
                yield from value.split()
            elif isinstance(value, list):
                yield from (text for text in value if isinstance(text, str))
        elif path.startswith(f"{name}.") and isinstance(value, Mapping):
            yield from texts_at(value, path[len(name) + 1 :])


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= _MAX_TEXT_LENGTH and value.isprintable() else ""
