"""VRs and keywords from pydicom's data dictionaries."""

from functools import lru_cache

from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, private_dictionary_VR
from pydicom.tag import BaseTag

US_OR_SS = "US or SS"
US_OR_OW = "US or OW"

_AMBIGUOUS = {
    US_OR_SS: US_OR_SS,
    "US or SS or OW": US_OR_SS,
    US_OR_OW: US_OR_OW,
    # With implicit VR it is OW where the dictionary allows a choice (PS3.5 section A.1).
    "OB or OW": "OW",
    "OB_OW": "OW",
}


def public_vr(tag: int) -> str | None:
    """Return the VR of a standard element; None if it is not in the dictionary.

    May be `US_OR_SS` or `US_OR_OW`, which depend on other elements.
    """
    try:
        vr = str(dictionary_VR(BaseTag(tag)))
    except KeyError:
        return None
    return None if vr == "NONE" else _AMBIGUOUS.get(vr, vr)


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """Return the VR of a private element of a private creator; UN if it is not in the private dictionary."""
    try:
        vr = str(private_dictionary_VR(BaseTag(tag), creator))
    except KeyError:
        return "UN"
    return _AMBIGUOUS.get(vr, vr)


@lru_cache(maxsize=8192)
def max_values(tag: int) -> int | None:
    """Return the largest number of values of a standard element (its VM); None without a limit or if it is unknown."""
    try:
        most = dictionary_VM(BaseTag(tag)).rpartition("-")[2]
    except KeyError:
        return None
    return int(most) if most.isdecimal() else None


def keyword(tag: str) -> str:
    """Return the keyword of a tag (eight hex digits), or ""."""
    return keyword_for_tag(int(tag, 16))
