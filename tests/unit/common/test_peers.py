"""IP addresses of clients."""

import pytest

from common.peers import ip_address_of


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B::1%5D:4711", "::1"),
        ("ipv6:[2001:db8::1]:4711", "2001:db8::1"),
        ("unix:/run/core", ""),
        ("inproc", ""),
        ("", ""),
    ],
)
def test_the_address_of_a_peer_has_no_kind_and_no_port(peer: str, address: str) -> None:
    assert ip_address_of(peer) == address
