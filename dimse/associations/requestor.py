"""Associations that the gateway opens, with remotes of the settings (PS3.8 section 7.1.1)."""

import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

from common.telemetry.catalogue import DIMSE_ASSOCIATION_REQUESTS
from common.telemetry.tracing import CLIENT, part
from common.tls import TlsFiles
from dimse.associations import pdus
from dimse.associations.association import REQUESTOR, Association, Context, Limits
from dimse.associations.connection import Connection
from dimse.associations.errors import AssociationLost, CannotConnect, ProtocolError
from dimse.associations.pdus import AbortSource, AssociationRequest, PduType, ProposedContext, Roles
from dimse.associations.peers import Peer
from dimse.associations.tls import connect_tls
from dimse.config import RemoteSettings, Settings

_MAX_ACCEPTANCE_BYTES = 1 << 20
_ACCEPTED = 0
_REJECTIONS = {
    (1, 3): ("the remote does not know the calling AE title", "CALLING_AE_REJECTED"),
    (1, 7): ("the remote does not have the called AE title", "CALLED_AE_REJECTED"),
    (3, 1): ("the remote is congested", "REMOTE_BUSY"),
    (3, 2): ("the remote has reached its limit of associations", "REMOTE_BUSY"),
}
"""By source and reason (PS3.8 Table 9-21): text and problem."""

Proposal = tuple[str, Sequence[str]]
"""An abstract syntax, and its transfer syntaxes, of which the peer chooses one."""


class Requestor:
    """Opens associations with remotes."""

    def __init__(self, settings: Settings, limits: Limits, tls_files: TlsFiles | None) -> None:
        """`tls_files`: the certificate of the gateway, and the authorities of remotes."""
        self._settings = settings
        self._limits = limits
        self._tls_files = tls_files

    def remote_name(self, ae_title: str) -> str | None:
        """Return the name of the remote with an AE title, to which the gateway can connect; None if there is none."""
        return next(
            (name for name, one in self._settings.remotes.items() if one.ae_title == ae_title and one.host), None
        )

    def remote(self, ae_title: str) -> RemoteSettings | None:
        """Return the remote with an AE title, to which the gateway can connect; None if there is none."""
        name = self.remote_name(ae_title)
        return None if name is None else self._settings.remotes[name]

    def open(
        self,
        remote: RemoteSettings,
        proposals: Iterable[Proposal],
        *,
        calling: str = "",
        roles: Mapping[str, Roles] = MappingProxyType({}),
        silent_seconds: float = 0,
    ) -> Association:
        """Open an association.

        Args:
            proposals: the presentation contexts, at most 128.
            calling: AE title of the archive; empty means that of the settings.
            roles: by SOP class, for those in which this side is not only SCU.
            silent_seconds: time for which the remote may be silent before a response, if that is longer than usual.

        Raises:
            CannotConnect: there is no connection, or the remote rejects the association.
        """
        calling = calling or self._settings.ae_title
        contexts = tuple(
            ProposedContext(2 * number + 1, abstract_syntax, tuple(syntaxes))
            for number, (abstract_syntax, syntaxes) in enumerate(proposals)
        )
        limits = replace(self._limits, silent_seconds=max(self._limits.silent_seconds, silent_seconds))
        request = AssociationRequest(remote.ae_title, calling, contexts, limits.max_pdu_bytes, roles)
        try:
            with part("associate", {}, CLIENT):
                association = self._opened(remote, calling, request, limits)
        except CannotConnect as error:
            DIMSE_ASSOCIATION_REQUESTS.of(REQUESTOR, error.problem).value += 1
            raise
        DIMSE_ASSOCIATION_REQUESTS.of(REQUESTOR, "ACCEPTED").value += 1
        return association

    def _opened(self, remote: RemoteSettings, calling: str, request: AssociationRequest, limits: Limits) -> Association:
        connected = self._connected(remote)
        connection = Connection(connected)
        try:
            association = self._negotiated(connection, request, self._peer(remote, calling, connected), limits)
        except (AssociationLost, ProtocolError, OSError) as error:
            connection.close()
            problem = "TIMEOUT" if "timeout" in str(error) else "NOT_DICOM"
            raise CannotConnect(f"the remote does not answer the association request: {error}", problem) from None
        except CannotConnect:
            connection.close()
            raise
        if not association.contexts:
            association.release()
            raise CannotConnect("the remote accepts no presentation context", "NO_CONTEXT")
        return association

    def _connected(self, remote: RemoteSettings) -> socket.socket:
        if not remote.host:
            raise CannotConnect("the settings have no host for the remote", "NO_HOST")
        try:
            connected = socket.create_connection((remote.host, remote.port), self._limits.end_seconds)
        except OSError as error:
            raise _not_connected(error) from None
        if not remote.tls:
            return connected
        try:
            return connect_tls(connected, self._tls_files, remote.host)
        except AssociationLost as error:
            connected.close()
            raise CannotConnect(str(error), "TLS_FAILED") from None

    def _negotiated(
        self, connection: Connection, request: AssociationRequest, peer: Peer, limits: Limits
    ) -> Association:
        connection.set_timeout(limits.end_seconds)
        connection.send(pdus.encode_request(request))
        head = connection.read(6)
        length = int.from_bytes(head[2:], "big")
        if length > _MAX_ACCEPTANCE_BYTES:
            raise ProtocolError("the PDU is too large")
        data = head + connection.read(length)
        if head[0] == PduType.ASSOCIATE_RJ:
            raise _rejected(*pdus.decode_rejection(data))
        if head[0] == PduType.ABORT:
            raise CannotConnect("the remote aborts the association", "ABORTED")
        if head[0] != PduType.ASSOCIATE_AC:
            raise ProtocolError("an unexpected PDU")
        try:
            acceptance = pdus.decode_acceptance(data)
        except ProtocolError:
            with suppress(AssociationLost):
                connection.send(pdus.abort(AbortSource.SERVICE_PROVIDER))
            raise
        chosen = {one.context_id: one.transfer_syntax for one in acceptance.results if one.result == _ACCEPTED}
        contexts = {
            one.context_id: Context(one.context_id, one.abstract_syntax, chosen[one.context_id])
            for one in request.contexts
            if chosen.get(one.context_id) in one.transfer_syntaxes
        }
        maximum, roles = acceptance.max_pdu_bytes, acceptance.roles
        return Association(connection, peer, contexts, limits, maximum, role=REQUESTOR, roles=roles)

    @property
    def ae_title(self) -> str:
        """AE title of the archive."""
        return self._settings.ae_title

    def partition_of(self, remote: RemoteSettings) -> str:
        """Return the partition that a remote uses."""
        return remote.partition or self._settings.dimse_partition

    def _peer(self, remote: RemoteSettings, calling: str, connected: socket.socket) -> Peer:
        settings = self._settings
        name = next((name for name, one in settings.remotes.items() if one is remote), "")
        token = remote.token if remote.token.get_secret_value() else settings.dimse_token
        return Peer(remote.ae_title, calling, connected.getpeername()[0], self.partition_of(remote), token, name)


def _not_connected(error: OSError) -> CannotConnect:
    """Return why there is no connection."""
    if isinstance(error, TimeoutError):
        return CannotConnect("the host does not accept the connection: timeout", "TIMEOUT")
    if isinstance(error, ConnectionRefusedError):
        return CannotConnect("the connection is refused: nothing listens on the port", "CONNECTION_REFUSED")
    if isinstance(error, socket.gaierror):
        return CannotConnect("the host of the remote has no address", "UNKNOWN_HOST")
    return CannotConnect(f"no connection: {error.strerror or type(error).__name__}", "UNREACHABLE")


def _rejected(result: int, source: int, reason: int) -> CannotConnect:
    """Return why the remote rejects the association."""
    text = f"the remote rejects the association: result {result}, source {source}, reason {reason}"
    return CannotConnect(*_REJECTIONS.get((source, reason), (text, "REJECTED")))
