"""Private extended query tags: server/dicom/tags.py."""

import orjson

from server.dicom.tags import extract, new_tag
from server.model.query import Level
from server.model.tag import QueryStatus, Tag, TagStatus, TagValue

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


def test_padding_of_a_private_creator_says_nothing() -> None:
    assert extracted(" ACME ") == TagValue("ours")
