"""Trusted proxies, and what they say about a request."""

import pytest

from facade.proxies import is_trusted


@pytest.mark.parametrize("client", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fe80::1%eth0"])
def test_an_address_in_a_trusted_network_is_trusted(client: str) -> None:
    assert is_trusted(client, "10.0.0.0/8, fd00::/8, fe80::/10")


@pytest.mark.parametrize("client", ["11.1.2.3", "::ffff:11.1.2.3", "", "testclient", "fc00::1"])
def test_other_addresses_are_not_trusted(client: str) -> None:
    assert not is_trusted(client, "10.0.0.0/8, fd00::/8")


def test_a_star_trusts_everybody() -> None:
    assert is_trusted("192.0.2.1", "*")
