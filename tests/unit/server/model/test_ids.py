"""Addresses, as requests give them (server/model/ids.py)."""

import pytest

from server.model.errors import InvalidRequest, Reason
from server.model.ids import DEFAULT_PARTITION, NO_PARTITION, Address, InstanceId, Uid, parse_address

STUDY, SERIES, INSTANCE = Uid("1.2"), Uid("1.2.3"), Uid("1.2.3.4")


@pytest.mark.parametrize(
    ("texts", "address"),
    [
        (("",), Address(NO_PARTITION)),
        (("Microsoft.Default",), Address(DEFAULT_PARTITION)),
        (("", "1.2 "), Address(NO_PARTITION, STUDY)),
        (("", "1.2", "1.2.3"), Address(NO_PARTITION, STUDY, SERIES)),
        (("Microsoft.Default", "1.2", "1.2.3", "1.2.3.4"), Address(DEFAULT_PARTITION, STUDY, SERIES, INSTANCE)),
    ],
)
def test_an_address_has_what_is_given(texts: tuple[str, ...], address: Address) -> None:
    assert parse_address(*texts) == address


@pytest.mark.parametrize(
    ("texts", "reason", "field"),
    [
        (("a/b",), Reason.INVALID_PARTITION_NAME, "partition"),
        (("*",), Reason.INVALID_PARTITION_NAME, "partition"),
        (("", "x"), Reason.INVALID_UID, "study_instance_uid"),
        (("", "1.2", "1.2."), Reason.INVALID_UID, "series_instance_uid"),
        (("", "1.2", "1.2.3", "1" * 65), Reason.INVALID_UID, "sop_instance_uid"),
        (("", "", "1.2.3"), Reason.INVALID_FIELD, "study_instance_uid"),
        (("", "1.2", "", "1.2.3.4"), Reason.INVALID_FIELD, "series_instance_uid"),
    ],
)
def test_an_address_with_a_part_that_is_invalid_or_missing_is_refused(
    texts: tuple[str, ...], reason: Reason, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_address(*texts)
    assert (caught.value.reason, caught.value.metadata) == (reason, {"field": field})


def test_an_operation_can_require_a_study_or_an_instance() -> None:
    address = Address(DEFAULT_PARTITION, STUDY, SERIES, INSTANCE)
    address.require_study()
    assert address.instance_id() == InstanceId(DEFAULT_PARTITION, STUDY, SERIES, INSTANCE)
    with pytest.raises(InvalidRequest):
        Address(DEFAULT_PARTITION).require_study()
    with pytest.raises(InvalidRequest):
        Address(DEFAULT_PARTITION, STUDY, SERIES).instance_id()
