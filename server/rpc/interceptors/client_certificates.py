"""Authentication by the certificate of a client (mutual TLS)."""

from collections.abc import Collection, Mapping

from server.model.call import Principal
from server.model.security.roles import Roles
from server.rpc.interceptors.authentication import Authenticator
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.peer_certificates import PeerCertificates


class CertificateAuthenticator:
    """Authenticates clients whose certificates have roles; a call with a bearer credential is left to `other`.

    The principal's id is `certificate:` and the first name that has roles.

    Args:
        roles_of: names in certificates, and their roles.
    """

    def __init__(
        self,
        certificates: PeerCertificates,
        roles_of: Mapping[str, Collection[str]],
        roles: Roles,
        other: Authenticator,
    ) -> None:
        self._certificates = certificates
        self._roles_of = roles_of
        self._roles = roles
        self._other = other
        self._principals: dict[tuple[str, ...], Principal] = {}  # by the names with roles, which the settings limit

    async def is_open(self) -> bool:
        """See `Authenticator`."""
        return await self._other.is_open()

    async def authenticate(self, context: Context, *, required: bool) -> Principal:
        """See `Authenticator`."""
        if required and not any(key == "authorization" for key, _ in context.metadata):
            names = tuple(name for name in self._certificates.names(context) if name in self._roles_of)
            if names:
                return self._principals.get(names) or self._principal(names)
        return await self._other.authenticate(context, required=required)

    def _principal(self, names: tuple[str, ...]) -> Principal:
        roles = frozenset(role for name in names for role in self._roles_of[name])
        principal = Principal(
            id=f"certificate:{names[0]}",
            display_name=names[0].partition(":")[2],
            roles=roles,
            grants=self._roles.grants(roles),
        )
        self._principals[names] = principal
        return principal
