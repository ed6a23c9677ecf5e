"""Addresses of this machine, for programs that may be reached from it only."""

import pytest

from common.addresses import is_loopback


@pytest.mark.parametrize(
    "address", ["127.0.0.1:80", "127.8.8.8:0", "localhost:1", "[::1]:80", "[::ffff:127.0.0.1]:80", "unix:/run/core"]
)
def test_addresses_of_this_machine_are_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0:80",
        "[::]:80",
        ":80",
        "10.0.0.1:80",
        "[2001:db8::1]:80",
        "[::ffff:10.0.0.1]:80",
        "no.such.host.invalid:1",
    ],
)
def test_other_and_unknown_addresses_are_not(address: str) -> None:
    assert not is_loopback(address)
