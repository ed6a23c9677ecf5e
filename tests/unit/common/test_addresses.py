"""Addresses of this machine, for programs that may be reached from it only."""

import socket

import pytest

from common.addresses import is_loopback, names_this_machine


@pytest.mark.parametrize(
    "address", ["127.0.0.1:80", "127.8.8.8:0", "localhost:1", "[::1]:80", "[::ffff:127.0.0.1]:80", "unix:/run/core"]
)
def test_addresses_of_this_machine_are_loopback(address: str) -> None:
    assert is_loopback(address)
    assert names_this_machine(address)


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
    assert not names_this_machine(address)


def test_a_name_that_a_name_server_has_resolved_to_loopback_does_not_name_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert is_loopback("core.example:1")
    assert not names_this_machine("core.example:1")
