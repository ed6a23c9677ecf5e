"""Value representations and keywords that the file itself does not tell, from pydicom's dictionaries."""

from functools import lru_cache

from pydicom.datadict import dictionary_VR, keyword_for_tag, private_dictionary_VR
from pydicom.tag import BaseTag

US_OR_SS = "US or SS"
US_OR_OW = "US or OW"

_AMBIGUOUS = {
    US_OR_SS: US_OR_SS,
    "US or SS or OW": US_OR_SS,
    US_OR_OW: US_OR_OW,
    # Implicit VR is OW where the dictionary leaves the choice (PS3.5 section A.1).
    "OB or OW": "OW",
    "OB_OW": "OW",
}


def public_vr(tag: int) -> str | None:
    """Return the VR of a public element; None if the dictionary doesn't know it.

    May be `US_OR_SS` or `US_OR_OW`, which depend on other elements.
    """
    try:
        vr = str(dictionary_VR(BaseTag(tag)))
    except KeyError:
        return None
    return None if vr == "NONE" else _AMBIGUOUS.get(vr, vr)


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """Return the VR of a private element of a creator; UN if the private dictionary doesn't know it."""
    try:
        vr = str(private_dictionary_VR(BaseTag(tag), creator))
    except KeyError:
        return "UN"
    return _AMBIGUOUS.get(vr, vr)


def keyword(tag: str) -> str:
    """Return the keyword of a tag of eight hex digits, or ""."""
    return keyword_for_tag(int(tag, 16))
