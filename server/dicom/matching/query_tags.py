"""Extended query tags: validation of new tags, and extraction of their values from a data set."""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson

from server.dicom.elements import dictionary, vr_rules
from server.dicom.elements.keywords import path_of
from server.dicom.matching import normalise
from server.dicom.matching.attributes import SearchKey, joined_name, search_key
from server.dicom.matching.matching import NUMBER_VRS
from server.model.errors import InvalidRequest, Reason
from server.model.search.query import Level, TagKey
from server.model.search.query_tag import NewTag, Tag, TagFault, TagValue

TEXT_VRS = frozenset({"AE", "AS", "CS", "LO", "SH", "UI", "PN"})
DATE_TIME_VRS = frozenset({"DA", "DT", "TM"})
TAG_VRS = TEXT_VRS | DATE_TIME_VRS | NUMBER_VRS
"""VRs supported as extended query tags."""

_US_OR_SS = frozenset({"US", "SS"})
_FIRST_BLOCK = "10"
_LAST_BLOCK = 0xFF
PrivateTag = tuple[str, str]
"""A private tag, eight hex digits with any block number, and its private creator."""

_GroupCreator = tuple[str, str]
"""A group and a private creator."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_EARLIEST = {"DA": normalise.day, "TM": normalise.first_time, "DT": normalise.first_instant}


def tag_of_path(path: str) -> str:
    """Return the tag (eight hex digits) of a path.

    Raises:
        InvalidRequest: INVALID_TAG, the path is not an attribute, or is inside a sequence.
    """
    found = path_of(path) if path else None
    if found is None:
        raise _invalid("The path is not the keyword or the eight hex digits of an attribute.", "path")
    if len(found) > 1:
        raise _invalid("Attributes inside a sequence can't be extended query tags.", "path")
    return found[0]


def registered_tag(path: str) -> str:
    """Return the tag (eight hex digits) of a path that may be an extended query tag.

    Raises:
        InvalidRequest: INVALID_TAG, as for `tag_of_path`, and for sequences.
    """
    tag = tag_of_path(path)
    if dictionary.public_vr(int(tag, 16)) == "SQ":
        raise _invalid("Sequences can't be extended query tags.", "path")
    return tag


def new_tag(path: str, vr: str, private_creator: str, level: Level) -> NewTag:
    """Return a validated tag to add.

    Raises:
        InvalidRequest: INVALID_TAG.
    """
    tag, private_creator = tag_of_path(path), private_creator.strip(" ")
    number = int(tag, 16)
    is_private, is_creator = bool(number >> 16 & 1), number >> 16 & 1 and number & 0xFFFF <= _LAST_BLOCK
    if private_creator and (not is_private or is_creator):
        raise _invalid("Only private attributes have a private creator.", "private_creator")
    if is_private and not is_creator and not private_creator:
        raise _invalid("A private attribute needs its private creator.", "private_creator")
    if private_creator and (vr_rules.STRICT["LO"](private_creator) or "\\" in private_creator):
        raise _invalid("The private creator is not a valid LO value.", "private_creator")
    known = _known_vr(number, private_creator, is_private=is_private, is_creator=bool(is_creator))
    if search_key(tag) is not None:
        raise _invalid("The attribute is searchable without an extended query tag.", "path")
    if not vr and known is None:
        raise _invalid("The VR is missing, and the attribute is not in the data dictionary.", "vr")
    if vr and known is not None and vr != known and not (known == dictionary.US_OR_SS and vr in _US_OR_SS):
        raise _invalid(f"The VR of the attribute is {known}, not {_shown(vr)}.", "vr")
    wanted = vr or known or ""
    if wanted not in TAG_VRS:
        possible = ", ".join(sorted(TAG_VRS))
        raise _invalid(f"Attributes of VR {_shown(wanted)} are not searchable. Searchable VRs: {possible}.", "vr")
    return NewTag(tag, dictionary.keyword(tag), wanted, private_creator, level)


def _shown(vr: str) -> str:
    return ascii(vr[:16])


def _known_vr(number: int, creator: str, *, is_private: bool, is_creator: bool) -> str | None:
    if is_creator:
        return "LO"
    if is_private:  # the dictionary of private attributes is not authoritative
        return None
    return dictionary.public_vr(number)


def key_of(tag: Tag) -> SearchKey:
    """Return the search key for terms about a registered tag."""
    return SearchKey(
        tag.new.keyword or tag.new.tag,
        (tag.new.tag,),
        tag.new.vr,
        tag.new.level,
        tag_key=TagKey(tag.key, tag.new.level),
    )


def extract(
    dicom_json: bytes, tags: Sequence[Tag], invalid_tags: frozenset[str] = frozenset()
) -> Mapping[int, TagValue | TagFault]:
    """Return the values of a data set for tags, by `Tag.key`; see `server.ports.tags.Extract`."""
    elements: dict[str, Any] = orjson.loads(dicom_json)
    for actual in invalid_tags:
        elements.pop(actual, None)
    found: dict[int, TagValue | TagFault] = {}
    blocks = _blocks(elements) if any(tag.new.private_creator for tag in tags) else {}
    for tag in tags:
        element = _element(tag.new, elements, blocks)
        if element is not None and (value := _value(tag.new.vr, element)) is not None:
            found[tag.key] = value
    return found


def _blocks(elements: Mapping[str, Any]) -> Mapping[_GroupCreator, Sequence[str]]:
    """Return the blocks that each private creator reserves in a group of a data set (PS3.5 section 7.8.1)."""
    blocks: dict[_GroupCreator, list[str]] = {}
    for actual, element in elements.items():
        if actual[4:6] == "00" and actual[6:] >= _FIRST_BLOCK:
            creator = (element.get("Value") or [None])[0]
            if isinstance(creator, str):
                blocks.setdefault((actual[:4], creator.strip(" \0")), []).append(actual[6:])
    return blocks


def is_private(tag: str) -> bool:
    """Return whether a tag (eight hex digits) is a private data element in a creator's block (PS3.5 section 7.8.1)."""
    return bool(int(tag[3], 16) % 2) and tag[4:6] != "00"


def actual_tags(owned: Collection[PrivateTag], elements: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tags under which a data set contains private attributes, and those of their Private Creator
    elements."""
    blocks = _blocks(elements)
    for tag, creator in owned:
        actual = _actual_tag(tag, creator, elements, blocks)
        if actual is not None:
            yield actual
            yield f"{actual[:4]}00{actual[4:6]}"


def _element(tag: NewTag, elements: Mapping[str, Any], blocks: Mapping[_GroupCreator, Sequence[str]]) -> Any:
    """Return the element of a data set for a tag; None if it is absent."""
    if not tag.private_creator:
        return elements.get(tag.tag)
    actual = _actual_tag(tag.tag, tag.private_creator, elements, blocks)
    return None if actual is None else elements[actual]


def _actual_tag(
    tag: str, creator: str, elements: Mapping[str, Any], blocks: Mapping[_GroupCreator, Sequence[str]]
) -> str | None:
    """Return the actual tag of a private attribute: in a block that its creator reserves in this data set."""
    group, element = tag[:4], tag[6:]
    possible = (f"{group}{block}{element}" for block in blocks.get((group, creator), ()))
    return next((actual for actual in possible if actual in elements), None)


def _value(vr: str, element: Mapping[str, Any]) -> TagValue | TagFault | None:
    """Return the first value of an element; None if it has no value."""
    if element.get("vr") != vr:
        return TagFault(f"The value representation is {element.get('vr')}, not {vr}.")
    if "BulkDataURI" in element:
        return TagFault("The value is not a finite number.")
    first = (element.get("Value") or [None])[0]
    if first is None or first == "":
        return None
    if vr in NUMBER_VRS:
        return _number(vr, first)
    text = joined_name(first) if vr == "PN" else str(first)
    if not text.strip(" \0"):
        return None
    rule = vr_rules.STRICT.get(vr)
    if rule is not None and (broken := rule(text.strip(" \0") if vr == "UI" else text)):
        return TagFault(f"{broken[0].upper()}{broken[1:]}".rstrip(".") + ".")
    normal = _normal(vr, text)
    return TagValue(normal) if normal else None


def _normal(vr: str, text: str) -> str | None:
    if vr in _EARLIEST:
        return _EARLIEST[vr](text)
    if vr == "PN":
        return normalise.name(text)
    return normalise.uid(text) if vr == "UI" else normalise.text(text)


def _number(vr: str, value: Any) -> TagValue | TagFault:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return TagFault("The value is not a number.")
    if not math.isfinite(number):
        return TagFault("The value is not a finite number.")
    if vr == "IS" and not _INTEGER.fullmatch(str(value).strip()):
        return TagFault("The value is not an integer.")
    return TagValue("", number)


def _invalid(message: str, field: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_TAG, message, field=field)
