"""Keywords of public attributes (PS3.6 chapter 6) for Native DICOM XML.

The table is generated from the data dictionary of the core (docs/generate.py) and loaded on first use.
"""

import re
from functools import cache, lru_cache
from importlib.resources import files


@lru_cache(4096)
def keyword_of(tag: str) -> str:
    """Return the keyword of a tag of eight upper-case hexadecimal digits; "" for private and unknown tags."""
    known, repeating = _table()
    if keyword := known.get(tag):
        return keyword
    return next((keyword for pattern, keyword in repeating if pattern.fullmatch(tag)), "")


@cache
def _table() -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """Return the keywords of single tags, and those of repeating groups with a pattern for their tags."""
    rows = [line.split(" ") for line in (files("facade.response") / "keywords.txt").read_text().splitlines()]
    known = {tag: keyword for tag, keyword in rows if "x" not in tag}
    # Groups repeat with even numbers (PS3.5 section 7.6).
    repeating = [
        (re.compile(re.sub("^(..)xx", r"\1[0-9A-F][02468ACE]", tag).replace("x", "[0-9A-F]")), keyword)
        for tag, keyword in rows
        if "x" in tag
    ]
    return known, repeating
