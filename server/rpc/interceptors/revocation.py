"""The check whether the certificate of a client is revoked, on each call: gRPC does not check it in the handshake."""

from common.tls import TlsFiles
from server.domain.security.credentials import invalid_credential
from server.model.call import Principal
from server.rpc.interceptors.authentication import Authenticator
from server.rpc.interceptors.call_context import Context

_CERTIFICATE = "x509_pem_cert"


class NotRevoked:
    """An `Authenticator` that refuses calls of clients with a revoked certificate, whatever else they present.

    Args:
        then: authenticates the others.
        tls: files with the revocation lists.
    """

    def __init__(self, then: Authenticator, tls: TlsFiles) -> None:
        self._then = then
        self._tls = tls

    async def is_open(self) -> bool:
        """See `Authenticator`."""
        return await self._then.is_open()

    async def authenticate(self, context: Context, *, required: bool) -> Principal:
        """See `Authenticator`."""
        lists = self._tls.revocation
        if lists is not None:
            for certificate in context.tls.get(_CERTIFICATE, ())[:1]:
                if fault := lists.fault_of(certificate):
                    raise invalid_credential(f"The certificate of the client is not accepted: {fault}.")
        return await self._then.authenticate(context, required=required)
