"""Trusted proxies, and what they say about a request."""

import pytest

from facade.proxies import forwarded, is_host, is_trusted


@pytest.mark.parametrize("client", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fe80::1%eth0"])
def test_an_address_in_a_trusted_network_is_trusted(client: str) -> None:
    assert is_trusted(client, "10.0.0.0/8, fd00::/8, fe80::/10")


@pytest.mark.parametrize("client", ["11.1.2.3", "::ffff:11.1.2.3", "", "testclient", "fc00::1"])
def test_other_addresses_are_not_trusted(client: str) -> None:
    assert not is_trusted(client, "10.0.0.0/8, fd00::/8")


def test_a_star_trusts_everybody() -> None:
    assert is_trusted("192.0.2.1", "*")


@pytest.mark.parametrize("host", ["pacs", "pacs.example:8443", "127.0.0.1:80", "[::1]", "[fe80::1]:65535", "a_b-c.d"])
def test_names_and_addresses_with_or_without_port_are_hosts(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "a@b", "a:", "a:99999", "::1", "[::1127.0.0.1]", "[1:2]", "[::1", "[::1]x", "a,b", "ä"]
)
def test_other_texts_are_not_hosts(host: str) -> None:
    assert not is_host(host)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('for="[2001:db8::1]:4711"; proto=https ;host="a.example:8443";', {"proto": "https", "host": "a.example:8443"}),
        ('for="x;host=evil.example;y";host=a.example', {"host": "a.example"}),
        ("nonsense; host=a.example", {}),
        ("proto=https;;host=a.example", {"proto": "https"}),
        ("host=a.example, host=b.example", {"host": "a.example"}),
    ],
)
def test_the_parameters_of_the_outermost_proxy_count_up_to_a_malformed_one(text: str, found: dict[str, str]) -> None:
    parameters = forwarded({"forwarded": text})
    assert {name: parameters[name] for name in ("proto", "host") if name in parameters} == found
