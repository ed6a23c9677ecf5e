"""Limits of the concurrent work of a process."""

import pytest

from facade.serving.admission import ClientConnections


def test_addresses_have_separate_limits() -> None:
    connections = ClientConnections(2, "")
    assert [connections.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert connections.enter("192.0.2.2")
    connections.leave("192.0.2.1")
    assert connections.enter("192.0.2.1")


@pytest.mark.parametrize("other", ["2001:db8::2", "2001:db8:0:0:ffff::1"])
def test_addresses_of_one_ipv6_network_share_a_limit(other: str) -> None:
    connections = ClientConnections(1, "")
    assert connections.enter("2001:db8::1")
    assert not connections.enter(other)
    assert connections.enter("2001:db8:0:1::1")


def test_ipv4_addresses_on_a_socket_for_ipv6_have_separate_limits() -> None:
    connections = ClientConnections(1, "")
    assert connections.enter("::ffff:192.0.2.1")
    assert not connections.enter("192.0.2.1")
    assert connections.enter("::ffff:192.0.2.2")


def test_trusted_proxies_have_no_limit() -> None:
    connections = ClientConnections(1, "192.0.2.0/24")
    assert all(connections.enter("192.0.2.1") for _ in range(5))
