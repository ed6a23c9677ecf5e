"""Access tokens of identity providers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """The content of a verified access token.

    issuer: URL of the identity provider.
    claims: all claims, as JSON values.
    accepted_until: time in seconds since 1970, which allows for differences between clocks.
    """

    issuer: str
    claims: Mapping[str, Any]
    accepted_until: float


class TokenIssuers(Protocol):
    """The identity providers of an archive."""

    @property
    def revision(self) -> int:
        """A number that changes when a key is withdrawn: tokens verified before must be verified again."""
        ...

    def challenge(self) -> Mapping[str, str]:
        """What a client without a token needs to get one: `authorization_uri`, `resource_id`."""
        ...

    async def verify(self, token: str) -> VerifiedToken:
        """Verify signature, issuer, audience, times and type of an access token.

        Raises:
            Unauthenticated: UNAUTHENTICATED, it is invalid.
            Unavailable: IDENTITY_PROVIDER_UNAVAILABLE, the keys of its issuer are not known.
        """
        ...
