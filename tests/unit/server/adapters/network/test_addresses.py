"""The addresses to which webhooks may connect (server/adapters/network/addresses.py)."""

from ipaddress import ip_address, ip_network

import pytest

from server.adapters.network.addresses import PermittedAddresses

REFUSED = (
    *("127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "0.1.2.3", "::"),
    *("169.254.1.1", "169.254.169.254", "fe80::1", "fe80::1%eth0", "fec0::1"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    *("224.0.0.1", "239.255.255.250", "ff02::1", "255.255.255.255", "240.0.0.1"),
    # addresses of IPv4 in those of IPv6
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
    "2001:0:7f00:1::",
)
PERMITTED = ("10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "8.8.8.8", "fd12::1", "2606:4700::1111")


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_of_the_own_machine_and_of_metadata_services_are_refused(address: str) -> None:
    addresses = PermittedAddresses()
    assert not addresses.permits(ip_address(address))
    assert not addresses.permits_host(address)


@pytest.mark.parametrize("address", PERMITTED)
def test_other_addresses_are_permitted_also_private_ones(address: str) -> None:
    assert PermittedAddresses().permits(ip_address(address))


def test_exceptions_are_permitted() -> None:
    addresses = PermittedAddresses([ip_network("127.0.0.0/30"), ip_network("fe80::/10")])
    for permitted in ("127.0.0.1", "fe80::1", "::ffff:127.0.0.2"):
        assert addresses.permits(ip_address(permitted))
    for refused in ("127.0.0.5", "169.254.169.254", "::1"):
        assert not addresses.permits(ip_address(refused))


def test_names_are_not_resolved_before_the_connection() -> None:
    assert PermittedAddresses().permits_host("localhost")
