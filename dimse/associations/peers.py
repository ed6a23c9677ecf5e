"""Who is at the other end of an association, and which partition and credentials the gateway uses for it."""

import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import quote

from common.addresses import is_loopback
from common.settings import SecretText
from dimse.associations.errors import Rejected
from dimse.config import RemoteSettings, Settings

_log = logging.getLogger("dimse")


@dataclass(frozen=True, slots=True)
class Peer:
    """An application entity that is associated with the archive.

    ae_title: its AE title.
    called_ae_title: the AE title of the archive that it uses.
    address: its IP address.
    partition: the partition that it uses; empty while partitions are disabled.
    token: the access token with which the gateway calls the core for it; empty for none.
    name: its name in `[dimse.remotes]`; empty if it is not there.
    """

    ae_title: str
    called_ae_title: str
    address: str
    partition: str
    token: SecretText = field(repr=False)
    name: str = ""

    @property
    def uri(self) -> str:
        """Both AE titles as a URI, for the audit trail."""
        return f"dicom://{quote(self.ae_title)}@{quote(self.called_ae_title)}"


class Peers:
    """Decides which application entities may associate with the archive."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._accepts_all = is_loopback(settings.dimse)

    def identify(self, calling: str, called: str, address: str, names: Collection[str] | None) -> Peer:
        """Return the peer of an association request.

        Args:
            calling, called: AE titles of the request.
            address: IP address of the connection.
            names: names in the certificate of the peer, as `dns:ct1.example`; None without certificate.

        Raises:
            Rejected: the archive does not know the called or the calling AE title, or not from there.
        """
        settings = self._settings
        if called != settings.ae_title and called not in settings.ae_partitions:
            raise Rejected(1, 1, 7, "CALLED_AE_REJECTED", "the called AE title is not that of the archive")
        remotes = {name: remote for name, remote in settings.remotes.items() if remote.ae_title == calling}
        for name, remote in remotes.items():
            if _is_from(remote, address) and (not remote.certificate or remote.certificate in (names or ())):
                partition = settings.ae_partitions.get(called) or remote.partition or settings.dimse_partition
                token = remote.token if remote.token.get_secret_value() else settings.dimse_token
                return Peer(calling, called, address, partition, token, name)
        if remotes:
            text = "the address or the certificate is not that of the remote with this AE title"
            raise Rejected(1, 1, 3, "CALLING_AE_REJECTED", text)
        if not self._accepts_all:
            raise Rejected(1, 1, 3, "CALLING_AE_REJECTED", "no remote has this AE title")
        partition = settings.ae_partitions.get(called) or settings.dimse_partition
        return Peer(calling, called, address, partition, settings.dimse_token)


def _is_from(remote: RemoteSettings, address: str) -> bool:
    """Return whether a remote may connect from an address."""
    ip = ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if remote.networks:
        return any(ip.version == network.version and ip in network for network in remote.networks)
    if not remote.host:
        return True  # it has a certificate
    try:
        found = socket.getaddrinfo(remote.host, None, type=socket.SOCK_STREAM)
    except OSError:
        _log.warning("the host of a remote has no address: %s", remote.host)
        return False
    return any(ip == ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
