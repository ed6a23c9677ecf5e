"""Versions whose bytes are kept, also those that clients do not see."""

import enum
from dataclasses import dataclass

from server.model.instance import StoredInstance


class VersionState(enum.StrEnum):
    """What a version is: the current one of an instance, an earlier one, or one of a deleted instance."""

    CURRENT = "current"
    EARLIER = "earlier"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A version whose bytes are kept. Only current ones have recorded damage."""

    stored: StoredInstance
    state: VersionState
