"""Associations that the gateway opens, with remotes of the settings (PS3.8 section 7.1.1)."""

import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from common.tls import TlsFiles
from dimse.associations import pdus
from dimse.associations.association import Association, Context, Limits
from dimse.associations.connection import Connection
from dimse.associations.errors import AssociationLost, CannotConnect, ProtocolError
from dimse.associations.pdus import AbortSource, AssociationRequest, PduType, ProposedContext, Roles
from dimse.associations.peers import Peer
from dimse.associations.tls import connect_tls
from dimse.config import RemoteSettings, Settings

_MAX_ACCEPTANCE_BYTES = 1 << 20
_ACCEPTED = 0

Proposal = tuple[str, Sequence[str]]
"""An abstract syntax, and its transfer syntaxes, of which the peer chooses one."""


class Requestor:
    """Opens associations with remotes."""

    def __init__(self, settings: Settings, limits: Limits, tls_files: TlsFiles | None) -> None:
        """`tls_files`: the certificate of the gateway, and the authorities of remotes."""
        self._settings = settings
        self._limits = limits
        self._tls_files = tls_files

    def remote(self, ae_title: str) -> RemoteSettings | None:
        """Return the remote with an AE title, to which the gateway can connect; None if there is none."""
        found = (one for one in self._settings.remotes.values() if one.ae_title == ae_title and one.host)
        return next(found, None)

    def open(
        self,
        remote: RemoteSettings,
        proposals: Iterable[Proposal],
        *,
        calling: str = "",
        roles: Mapping[str, Roles] = MappingProxyType({}),
    ) -> Association:
        """Open an association.

        Args:
            proposals: the presentation contexts, at most 128.
            calling: AE title of the archive; empty means that of the settings.
            roles: by SOP class, for those in which this side is not only SCU.

        Raises:
            CannotConnect: there is no connection, or the remote rejects the association.
        """
        calling = calling or self._settings.ae_title
        contexts = tuple(
            ProposedContext(2 * number + 1, abstract_syntax, tuple(syntaxes))
            for number, (abstract_syntax, syntaxes) in enumerate(proposals)
        )
        request = AssociationRequest(remote.ae_title, calling, contexts, self._limits.max_pdu_bytes, roles)
        try:
            connected = socket.create_connection((remote.host, remote.port), self._limits.end_seconds)
        except OSError as error:
            raise CannotConnect(f"no connection: {error.strerror or type(error).__name__}") from None
        connection = Connection(connected)
        try:
            if remote.tls:
                connection = Connection(connect_tls(connected, self._tls_files, remote.host))
            return self._negotiated(connection, request, self._peer(remote, calling, connected))
        except (AssociationLost, ProtocolError, OSError) as error:
            connection.close()
            raise CannotConnect(str(error)) from None
        except CannotConnect:
            connection.close()
            raise

    def _negotiated(self, connection: Connection, request: AssociationRequest, peer: Peer) -> Association:
        connection.set_timeout(self._limits.end_seconds)
        connection.send(pdus.encode_request(request))
        head = connection.read(6)
        length = int.from_bytes(head[2:], "big")
        if length > _MAX_ACCEPTANCE_BYTES:
            raise ProtocolError("the PDU is too large")
        data = head + connection.read(length)
        if head[0] == PduType.ASSOCIATE_RJ:
            result, source, reason = pdus.decode_rejection(data)
            raise CannotConnect(
                f"the remote rejects the association: result {result}, source {source}, reason {reason}"
            )
        if head[0] != PduType.ASSOCIATE_AC:
            raise CannotConnect("the remote aborts the association")
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
        return Association(connection, peer, contexts, self._limits, acceptance.max_pdu_bytes, roles=acceptance.roles)

    def _peer(self, remote: RemoteSettings, calling: str, connected: socket.socket) -> Peer:
        settings = self._settings
        name = next((name for name, one in settings.remotes.items() if one is remote), "")
        token = remote.token if remote.token.get_secret_value() else settings.dimse_token
        partition = remote.partition or settings.dimse_partition
        return Peer(remote.ae_title, calling, connected.getpeername()[0], partition, token, name)
