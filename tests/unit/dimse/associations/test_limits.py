"""Limits of associations (dimse/associations/limits.py)."""

import pytest

from dimse.associations.errors import Rejected
from dimse.associations.limits import AssociationCounts


def test_associations_are_limited_in_total_and_for_each_address() -> None:
    counts = AssociationCounts(3, 2)
    for address in ("10.0.0.1", "10.0.0.1"):
        assert counts.connect(address)
        counts.associate(address)
    assert counts.connect("10.0.0.1")
    with pytest.raises(Rejected) as error:
        counts.associate("10.0.0.1")
    assert (error.value.result, error.value.source, error.value.reason) == (2, 3, 2)
    assert counts.connect("10.0.0.2")
    counts.associate("10.0.0.2")
    assert counts.connect("10.0.0.3")
    with pytest.raises(Rejected):
        counts.associate("10.0.0.3")
    counts.disconnect("10.0.0.1", was_associated=True)
    counts.associate("10.0.0.3")


def test_connections_without_association_of_one_address_take_no_places_of_others() -> None:
    counts = AssociationCounts(30, 30)
    assert sum(counts.connect("10.0.0.1") for _ in range(100)) == 20
    assert counts.connect("10.0.0.2")
    counts.disconnect("10.0.0.1", was_associated=False)
    assert counts.connect("10.0.0.1")


def test_addresses_of_one_ipv6_network_are_one_host() -> None:
    counts = AssociationCounts(10, 1)
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
        assert counts.connect(address)
    counts.associate("2001:db8::1")
    with pytest.raises(Rejected):
        counts.associate("2001:db8::2")
    counts.associate("2001:db8:0:1::1")
