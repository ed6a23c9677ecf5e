"""Authentication with the token of a share link."""

from server.domain.security.share_links import ShareLinkVerifier
from server.model.call import Principal
from server.model.errors import Unauthenticated
from server.model.security.share_link import PREFIX
from server.rpc.interceptors.authentication import Authenticator, bearer_credential
from server.rpc.interceptors.call_context import Context


class ShareLinkAuthenticator:
    """Verifies the token of a share link, also while authentication is off; `others` verifies everything else.

    So a call with such a token never has more permissions than the link.
    """

    def __init__(self, verifier: ShareLinkVerifier, others: Authenticator) -> None:
        self._verifier = verifier
        self._others = others

    async def is_open(self) -> bool:
        """See `Authenticator`."""
        return await self._others.is_open()

    async def authenticate(self, context: Context, *, required: bool) -> Principal:
        """See `Authenticator`."""
        if required and (token := _token(context)):
            return await self._verifier.verify(token)
        return await self._others.authenticate(context, required=required)


def _token(context: Context) -> str | None:
    """Return the token of a share link with which a call is made; None if it has none, or several credentials."""
    if all(name != "authorization" for name, _ in context.metadata):  # while authentication is off, usually
        return None
    try:
        credential = bearer_credential(context.metadata)
    except Unauthenticated:
        return None
    return credential if credential.startswith(PREFIX) else None
