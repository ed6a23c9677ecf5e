"""Private extended query tags: server/dicom/matching/query_tags.py."""

import orjson

from server.dicom.matching.query_tags import extract, new_tag
from server.model.search.query import Level
from server.model.search.query_tag import QueryStatus, Tag, TagStatus, TagValue

DATA = orjson.dumps(
    {
        "00910010": {"vr": "LO", "Value": ["OTHER"]},
        "00911003": {"vr": "SH", "Value": ["theirs"]},
        "00910011": {"vr": "LO", "Value": ["ACME"]},
        "00911103": {"vr": "SH", "Value": ["ours"]},
    }
)


def extracted(creator: str) -> TagValue:
    new = new_tag("00911003", "SH", creator, Level.INSTANCE)
    found = extract(DATA, [Tag(1, new, TagStatus.READY, QueryStatus.ENABLED, 0, "")])[1]
    assert isinstance(found, TagValue)
    return found


def test_a_private_value_is_taken_from_the_block_of_its_creator() -> None:
    assert extracted("ACME") == TagValue("ours")


def test_padding_of_a_private_creator_is_ignored() -> None:
    assert extracted(" ACME ") == TagValue("ours")


def test_a_block_reserved_by_another_creator_is_ignored() -> None:
    tag = new_tag("00911003", "SH", "ACME", Level.INSTANCE)
    data = orjson.dumps(
        {
            "00910010": {"vr": "LO", "Value": ["OTHER"]},
            "00911003": {"vr": "SH", "Value": ["theirs"]},
            "00910011": {"vr": "LO", "Value": ["THIRD"]},
            "00911103": {"vr": "SH", "Value": ["theirs too"]},
            "00930012": {"vr": "LO", "Value": ["ACME"]},
            "00911203": {"vr": "SH", "Value": ["nobody's"]},
        }
    )
    assert extract(data, [Tag(1, tag, TagStatus.READY, QueryStatus.ENABLED, 0, "")]) == {}


def test_a_creator_may_have_several_blocks() -> None:
    tag = new_tag("00911003", "SH", "ACME", Level.INSTANCE)
    data = orjson.dumps(
        {
            "00910010": {"vr": "LO", "Value": ["ACME"]},
            "009100FF": {"vr": "LO", "Value": ["ACME"]},
            "0091FF03": {"vr": "SH", "Value": ["ours"]},
        }
    )
    assert extract(data, [Tag(1, tag, TagStatus.READY, QueryStatus.ENABLED, 0, "")]) == {1: TagValue("ours")}


def test_blocks_without_a_creator_are_ignored() -> None:
    tag = new_tag("00911003", "SH", "ACME", Level.INSTANCE)
    data = orjson.dumps({"00910010": {"vr": "LO"}, "00911003": {"vr": "SH", "Value": ["x"]}})
    assert extract(data, [Tag(1, tag, TagStatus.READY, QueryStatus.ENABLED, 0, "")]) == {}
