"""TLS of associations (PS3.15 Annex B: BCP 195 profiles), on the listener and to remotes."""

import socket
import ssl

from common.tls import TlsFiles, client_context, peer_names, server_context
from dimse.associations.errors import AssociationLost


class TlsListener:
    """The context for new connections; changed files are used once they are loaded.

    Args:
        files: with authorities, peers need a certificate.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self.refresh()

    def refresh(self) -> None:
        """Use the current content of the files."""
        content = self._files.content
        self._context = server_context(content, alpn=[], certificate_required=bool(content.ca))

    def handshake(self, connected: socket.socket) -> tuple[ssl.SSLSocket, list[str]]:
        """Return the connection with TLS, and the names in the certificate of the peer.

        Raises:
            AssociationLost: the handshake fails.
        """
        try:
            secured = self._context.wrap_socket(connected, server_side=True)
        except (OSError, ValueError) as error:
            raise AssociationLost(f"the TLS handshake failed: {_reason(error)}") from None
        return secured, peer_names(secured.getpeercert())


def connect_tls(connected: socket.socket, files: TlsFiles | None, host: str) -> ssl.SSLSocket:
    """Return a connection to a remote with TLS; its certificate must be for `host`.

    Raises:
        AssociationLost: the handshake fails.
    """
    try:
        return client_context(files.content if files else None).wrap_socket(connected, server_hostname=host)
    except (OSError, ValueError) as error:
        raise AssociationLost(f"the TLS handshake failed: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return "timeout" if isinstance(error, TimeoutError) else type(error).__name__
