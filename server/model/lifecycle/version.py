"""The origin of versions: who created a version of an instance, why, and by which kind of change."""

import enum
from dataclasses import dataclass


class VersionOrigin(enum.IntEnum):
    """The kind of change that created a version. The numbers are those of the contract.

    STORED: the instance was stored for the first time, or again after a deletion.
    REPLACED: a client stored other bytes with the same UIDs.
    UPDATED: attributes were changed.
    REVERTED: the content of an earlier version was made the current one.
    """

    STORED = 1
    REPLACED = 2
    UPDATED = 3
    REVERTED = 4


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who creates a version, and why.

    author: id of the principal; empty if unknown.
    reason: text of the client; empty for none. It may contain patient data: it is never logged.
    origin: a version that replaces another one is never STORED; the index records REPLACED instead.
    """

    author: str = ""
    reason: str = ""
    origin: VersionOrigin = VersionOrigin.STORED


NO_PROVENANCE = Provenance()
