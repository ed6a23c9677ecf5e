"""Policies for instances whose UIDs are stored already, by their names for people."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from dicomstore.v1.resources_pb2 import DuplicatePolicy


class Duplicates(StrEnum):
    """The policies; `default` is that of the partition or the setting `duplicates`."""

    REJECT = "reject"
    NEW_VERSION = "new-version"
    DEFAULT = "default"


POLICIES: Mapping[Duplicates, DuplicatePolicy] = MappingProxyType(
    {
        Duplicates.REJECT: DuplicatePolicy.DUPLICATE_POLICY_REJECT,
        Duplicates.NEW_VERSION: DuplicatePolicy.DUPLICATE_POLICY_NEW_VERSION,
        Duplicates.DEFAULT: DuplicatePolicy.DUPLICATE_POLICY_UNSPECIFIED,
    }
)
