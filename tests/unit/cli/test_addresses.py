"""Parsing of HOST:PORT: cli/addresses.py."""

import socket

import pytest

from cli.addresses import Address, claim, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:50051", Address("127.0.0.1", 50051)),
        ("core.example:1", Address("core.example", 1)),
        ("[::1]:8080", Address("::1", 8080)),
        (":8080", Address("", 8080)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_addresses_are_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "8080", "host", "host:", "host:http", "host:65536", "host:-1", "::1:8080", "host:٣"]
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:1", "name:1"])
def test_an_address_is_formatted_as_it_was_parsed(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("listens_on", "connect_to"),
    [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), (":80", "127.0.0.1:80"), ("10.0.0.1:80", "10.0.0.1:80")],
)
def test_a_server_on_all_interfaces_is_reached_by_loopback(listens_on: str, connect_to: str) -> None:
    assert str(parse_address(listens_on).to_connect()) == connect_to


def test_port_0_becomes_a_free_port() -> None:
    claimed = claim(Address("127.0.0.1", 0))
    with socket.socket() as server:
        server.bind((claimed.host, claimed.port))


def test_a_port_in_use_cannot_be_claimed() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(OSError, match="in use"):
            claim(Address("127.0.0.1", server.getsockname()[1]))
