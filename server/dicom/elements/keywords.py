"""Attribute names in requests: keywords, tags and paths."""

import re

from pydicom.datadict import tag_for_keyword

Path = tuple[str, ...]
"""Tags from the outermost sequence to the attribute, eight upper-case hex digits each."""

_TAG = re.compile(r"[0-9A-Fa-f]{8}")


def path_of(attribute: str) -> Path | None:
    """Return the path for a keyword, a tag or a dotted path of either; None if any part is neither.

    Keywords are those of PS3.6 and case-sensitive; tags need not be in the dictionary, as for private attributes
    (PS3.18 section 8.3.4).
    """
    tags = [_tag_of(part) for part in attribute.split(".")]
    path = tuple(tag for tag in tags if tag is not None)
    return path if len(path) == len(tags) else None


def tags_of(keywords: str) -> frozenset[str]:
    """Return the tags of keywords separated by white space, for tables in code.

    Raises:
        KeyError: one is not in the dictionary.
    """
    tags = {keyword: _tag_of(keyword) for keyword in keywords.split()}
    if unknown := [keyword for keyword, tag in tags.items() if tag is None]:
        raise KeyError(*unknown)
    return frozenset(tag for tag in tags.values() if tag is not None)


def _tag_of(part: str) -> str | None:
    if _TAG.fullmatch(part):
        return part.upper()
    tag = tag_for_keyword(part)
    return None if tag is None or not part else f"{tag:08X}"
