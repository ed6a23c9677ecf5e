"""The gRPC server: its options, its interceptors, and the address it listens on."""

import logging
from collections.abc import Sequence

import grpc

from common.telemetry import tracing
from common.tls import TlsContent, TlsFiles
from server.config import Settings
from server.domain.audit.recorder import AuditRecorder
from server.domain.limits import MAX_MESSAGE_BYTES
from server.opening import StartError
from server.rpc.interceptors.access_log import AccessLog
from server.rpc.interceptors.admission import Admission
from server.rpc.interceptors.auditing import Auditing, TrustedFacades
from server.rpc.interceptors.authentication import Authentication, Authenticator
from server.rpc.interceptors.call_context import CallContext
from server.rpc.interceptors.error_translation import ErrorTranslation
from server.rpc.interceptors.peer_certificates import PeerCertificates
from server.rpc.interceptors.principal_limits import PrincipalLimits
from server.rpc.interceptors.surround import Chain, Surround
from server.rpc.interceptors.tracing import Tracing

MAX_RECEIVED_BYTES = MAX_MESSAGE_BYTES + (1 << 20)
"""The longest message of the contract, plus protocol overhead."""

_OPTIONS = (
    # A peer that disappeared without notice is detected within 80 s, and its calls end.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Peers that ping more often than this are disconnected after two warnings.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
    # An idle connection is closed eventually; its peer reconnects on demand. The age of a connection is not limited,
    # because an upload may take any time.
    ("grpc.max_connection_idle_ms", 600_000),
    # gRPC buffers this much of each stream before it is read. The default is a megabyte and more per stream, outside
    # the ingest budget. A message that is being read gets as large a window as it needs.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 << 10),
    # The metadata of a call include an access token, and the URI and the audit headers of an HTTP request.
    ("grpc.max_metadata_size", 64 << 10),
    ("grpc.absolute_max_metadata_size", 96 << 10),
    ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
)

_CALLS_BESIDES = 20
"""Calls of the health and reflection services on one connection, in addition to those of the contract."""


class CancelledResponses(logging.Filter):
    """Drops gRPC's tracebacks for responses that the client cancelled while a message was being sent.

    The access log has a line for each of these calls.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return false for these messages."""
        return record.exc_info is None or type(record.exc_info[1]).__name__ != "ExecuteBatchError"


logging.getLogger("grpc._cython.cygrpc").addFilter(CancelledResponses())


def options(settings: Settings) -> list[tuple[str, int]]:
    """Return the options of the server."""
    return [
        *_OPTIONS,
        # Otherwise two cores accidentally on one port would share its calls, and both would seem to work.
        ("grpc.so_reuseport", int(settings.share_ports)),
        # Calls beyond this limit wait at the client. It is larger than the limit of `Admission`, which refuses with a
        # reason.
        ("grpc.max_concurrent_streams", 2 * _most_calls(settings) + _CALLS_BESIDES),
    ]


def _most_calls(settings: Settings) -> int:
    return settings.max_calls + settings.max_watches + settings.max_event_channels


def interceptors(
    settings: Settings, authenticator: Authenticator, recorder: AuditRecorder | None
) -> Sequence[Surround]:
    """Return the interceptors of every call. Without a recorder, calls are not audited."""
    return [
        Chain(
            [
                CallContext(),
                ErrorTranslation(),
                *([Tracing()] if tracing.is_on() else []),
                Auditing(recorder, _facades(settings)) if recorder else AccessLog(),
                Authentication(authenticator),
                PrincipalLimits(settings.max_calls_per_principal, settings.max_call_rate_per_principal),
                Admission(settings.max_calls, settings.max_watches, settings.max_event_channels),
            ]
        )
    ]


def _facades(settings: Settings) -> TrustedFacades:
    return TrustedFacades(settings.trusted_facades, PeerCertificates(settings.facade_names))


def credentials(tls: TlsFiles, *, client_required: bool) -> grpc.ServerCredentials:
    """Return credentials for new connections that follow the changes of certificate files.

    Args:
        client_required: clients without a certificate are refused; otherwise no certificate is requested.
    """
    used = tls.content

    def changed() -> grpc.ServerCertificateConfiguration | None:  # called for each connection, in a thread of gRPC
        nonlocal used
        if tls.content is used:
            return None
        used = tls.content
        return _configuration(used)

    # The type stubs do not know that None means "unchanged".
    return grpc.dynamic_ssl_server_credentials(_configuration(used), changed, client_required)  # type: ignore[arg-type]


def _configuration(content: TlsContent) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(content.key, content.certificate)], content.ca or None)


def bind(server: grpc.aio.Server, address: str, tls: grpc.ServerCredentials | None = None) -> str:
    """Listen on HOST:PORT and return it with the real port. Port 0 takes any free one. Raises StartError."""
    try:
        port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"Cannot listen on {address}: the address may be in use.") from error
    return f"{address.rpartition(':')[0]}:{port}"
