"""The addresses to which webhooks and exports may connect.

Whoever may create them must not be able to make the archive send requests to services that trust its own machine: those
on loopback and link-local addresses, and metadata services of cloud providers; for exports also those in the same
private network. Addresses are checked for each connection, after the name of the host has been resolved, because its
resolution can change.
"""

import ipaddress
from collections.abc import Iterable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA_SERVICES = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
"""Metadata services of cloud providers with other than link-local addresses."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")


class PermittedAddresses:
    """The permitted addresses: all except those above, and those in `exceptions`.

    Args:
        only_public: addresses that are not globally reachable are not permitted either.
    """

    def __init__(self, exceptions: Iterable[Network] = (), *, only_public: bool = False) -> None:
        self._exceptions = tuple(exceptions)
        self._only_public = only_public

    def permits(self, address: Address) -> bool:
        """Return whether the program may connect to an address."""
        every = (address, *_embedded(address))
        if any(one in network for one in every for network in self._exceptions if network.version == one.version):
            return True
        return not any(_is_refused(one) or (self._only_public and not one.is_global) for one in every)

    def permits_host(self, host: str) -> bool:
        """Return whether the program may connect to the host of a URL: True for a name, which is not resolved."""
        try:
            return self.permits(ipaddress.ip_address(host))
        except ValueError:
            return True


def _embedded(address: Address) -> Iterator[Address]:
    """Yield the IPv4 addresses to which a translator or tunnel may forward an IPv6 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or address in _V4_COMPATIBLE:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


EVERYWHERE = PermittedAddresses((ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0")))
"""All addresses."""


def _is_refused(address: Address) -> bool:
    if address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast:
        return True
    if isinstance(address, ipaddress.IPv6Address):
        return address in METADATA_SERVICES or address in _SITE_LOCAL
    return address in METADATA_SERVICES or address in _THIS_NETWORK or address.is_reserved
