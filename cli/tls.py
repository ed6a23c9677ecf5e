"""Whether a server uses TLS, for messages about failed connections."""

import socket
import ssl

_SECONDS = 1.0


def speaks_tls(host: str, port: int) -> bool:
    """Return whether a server answers a TLS handshake, be it with a refusal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent to it
    try:
        with (
            socket.create_connection((host, port), timeout=_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
