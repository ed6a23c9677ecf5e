"""Erasure of the bytes of deleted instances."""

from dataclasses import dataclass

from server.model.ids import InstanceId, Version
from server.model.instance import Locator


@dataclass(frozen=True, slots=True)
class ErasedVersion:
    """A version of a deleted instance, as it is recorded when its bytes are erased.

    author, reason: of the request for immediate erasure, if it was made after the deletion, otherwise of the deletion.
    """

    locator: Locator
    id: InstanceId
    version: Version
    size_bytes: int
    crc32c: int
    author: str
    reason: str
