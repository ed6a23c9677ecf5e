"""Which application entities may associate, and what the gateway uses for them (dimse/associations/peers.py)."""

from typing import Any

import pytest
from pydantic import ValidationError

from dimse.associations.errors import Rejected
from dimse.associations.peers import Peer, Peers
from dimse.config import Settings

REMOTES: dict[str, Any] = {
    "CT1": {"host": "10.0.0.21"},
    "ward": {
        "ae_title": "WS1",
        "addresses": ["10.1.0.0/16", "fd00::/8"],
        "partition": "research",
        "token": "ward-token",
    },
    "cloud": {"ae_title": "CLOUD", "certificate": "dns:cloud.example"},
}


def identify(calling: str, address: str, called: str = "ARCHIVE", names: list[str] | None = None, **more: Any) -> Peer:
    settings: dict[str, Any] = {"dimse": "0.0.0.0:104", "ae_title": "ARCHIVE", "remotes": REMOTES}
    return Peers(Settings(**(settings | more))).identify(calling, called, address, names)


@pytest.mark.parametrize(
    ("calling", "address", "names", "name"),
    [
        ("CT1", "10.0.0.21", None, "CT1"),
        ("CT1", "::ffff:10.0.0.21", None, "CT1"),
        ("WS1", "10.1.2.3", None, "ward"),
        ("WS1", "fd00::7", None, "ward"),
        ("CLOUD", "192.0.2.1", ["dns:cloud.example"], "cloud"),
    ],
)
def test_a_remote_is_known_by_its_ae_title_and_its_address_or_certificate(
    calling: str, address: str, names: list[str] | None, name: str
) -> None:
    assert identify(calling, address, names=names).name == name


@pytest.mark.parametrize(
    ("calling", "address", "names"),
    [
        ("CT1", "10.0.0.22", None),
        ("WS1", "10.2.0.1", None),
        ("CLOUD", "192.0.2.1", None),
        ("CLOUD", "192.0.2.1", ["dns:other.example"]),
        ("OTHER", "10.0.0.21", None),
        ("ct1", "10.0.0.21", None),
        ("OTHER", "127.0.0.1", None),
    ],
)
def test_others_are_rejected_as_unknown_calling_ae_titles(calling: str, address: str, names: list[str] | None) -> None:
    with pytest.raises(Rejected) as error:
        identify(calling, address, names=names)
    assert (error.value.result, error.value.source, error.value.reason) == (1, 1, 3)


def test_on_a_loopback_address_every_calling_ae_title_is_accepted_but_a_configured_one_from_its_address_only() -> None:
    assert identify("OTHER", "127.0.0.1", dimse="127.0.0.1:104").name == ""
    with pytest.raises(Rejected):
        identify("CT1", "127.0.0.1", dimse="127.0.0.1:104")


def test_the_called_ae_title_must_be_one_of_the_archive_and_may_select_a_partition() -> None:
    partitions = {"RESEARCH": "trial"}
    assert identify("WS1", "10.1.2.3", dimse_partition="default").partition == "research"
    assert identify("CT1", "10.0.0.21", dimse_partition="default").partition == "default"
    assert identify("WS1", "10.1.2.3", called="RESEARCH", ae_partitions=partitions).partition == "trial"
    with pytest.raises(Rejected) as error:
        identify("WS1", "10.1.2.3", called="OTHER", ae_partitions=partitions)
    assert error.value.reason == 7


def test_a_remote_uses_its_token_or_that_of_the_gateway() -> None:
    assert identify("WS1", "10.1.2.3", dimse_token="gateway-token").token.get_secret_value() == "ward-token"
    assert identify("CT1", "10.0.0.21", dimse_token="gateway-token").token.get_secret_value() == "gateway-token"
    assert "token" not in repr(identify("WS1", "10.1.2.3"))


@pytest.mark.parametrize(
    "remote",
    [
        {},
        {"port": 104},
        {"host": "a", "ae_title": "TOO LONG AN AE TITLE"},
        {"host": "a", "ae_title": "A\\B"},
        {"addresses": ["10.0.0.300"]},
        {"certificate": "cloud.example"},
        {"host": "a", "token": "x", "token_file": "y"},
        {"host": "a", "prot": 104},
    ],
)
def test_an_invalid_remote_is_an_error_of_the_settings(remote: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(remotes={"REMOTE": remote})
