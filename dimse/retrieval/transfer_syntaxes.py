"""Transfer syntaxes of C-STORE sub-operations."""

import re
from collections.abc import Iterable

from dimse.associations.negotiation import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_LOSSLESS = (
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.5",
)
_ORDER = {uid: rank for rank, uid in enumerate((EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, *_LOSSLESS))}


def in_order(accepted: Iterable[str]) -> tuple[str, ...]:
    """Return transfer syntaxes in the order in which instances are re-encoded: uncompressed, lossless, others."""
    return tuple(sorted(accepted, key=lambda uid: (_ORDER.get(uid, len(_ORDER)), uid)))


def to_propose(stored: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the transfer syntaxes of the contexts to propose for a SOP class: an item for each context.

    The acceptor chooses one of each: each stored one has a context of its own, so that all that it accepts are known.
    """
    others = sorted({uid for uid in stored if uid != EXPLICIT_VR_LITTLE_ENDIAN and _UID.fullmatch(uid)})
    return [(EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN), *((uid,) for uid in others)]
