"""Storage SOP classes and transfer syntaxes of the standard (PS3.4 section B.5, PS3.5 section 10), also retired."""

from collections.abc import Mapping

from pydicom._uid_dict import UID_dictionary
from pynetdicom import sop_class

_NOT_STORAGE = frozenset(
    {
        "1.2.840.10008.1.3.10",  # Media Storage Directory
        "1.2.840.10008.1.20.1",  # Storage Commitment Push Model
        "1.2.840.10008.1.20.2",  # Storage Commitment Pull Model
    }
)

_NOT_OF_A_PATIENT = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
    }
)
"""Objects without study (PS3.4 Annex GG), which the archive does not store."""

_NOT_OF_FILES = frozenset(
    {
        "1.2.840.10008.1.2.6.1",  # RFC 2557 MIME encapsulation
        "1.2.840.10008.1.2.6.2",  # XML Encoding
        "1.2.840.10008.1.2.7.1",  # real-time video (PS3.22)
        "1.2.840.10008.1.2.7.2",
        "1.2.840.10008.1.2.7.3",
        "1.2.840.10008.1.20",  # Papyrus 3
    }
)


def _of_kind(kind: str) -> dict[str, str]:
    return {uid: str(entry[0]) for uid, entry in UID_dictionary.items() if entry[1] == kind}


def _known_to_pynetdicom() -> dict[str, str]:
    return {str(uid): keyword for keyword, uid in sop_class._STORAGE_CLASSES.items()}


STORAGE_SOP_CLASSES: Mapping[str, str] = {
    uid: name
    for uid, name in sorted((_known_to_pynetdicom() | _of_kind("SOP Class")).items())
    if (uid in _known_to_pynetdicom() or "Storage" in name) and uid not in _NOT_STORAGE | _NOT_OF_A_PATIENT
}
"""Their names by UID."""

TRANSFER_SYNTAXES: Mapping[str, str] = {
    uid: name for uid, name in _of_kind("Transfer Syntax").items() if uid not in _NOT_OF_FILES
}
"""Their names by UID."""
