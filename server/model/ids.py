"""Identifiers. Values of these types are valid by construction: they are parsed once and never checked again."""

import re
from dataclasses import dataclass
from typing import NewType

from server.model.errors import InvalidRequest, Reason

Uid = NewType("Uid", str)
"""A valid UID without padding."""

PartitionName = NewType("PartitionName", str)
"""A valid partition name; never empty."""

Version = NewType("Version", int)
"""Version of a stored instance: ascends across the whole archive and is never reused."""

DEFAULT_PARTITION = PartitionName("Microsoft.Default")
"""The partition of all instances while partitions are disabled."""

_UID = re.compile(r"[0-9.]{0,63}[0-9]")
_PARTITION = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_uid(text: str) -> bool:
    """Say whether `text`, without padding, is a UID as this service accepts it.

    At most 64 digits and dots, ending in a digit. Less strict than PS3.5 section 9: empty components and leading zeros
    occur in real archives and do no harm.
    """
    return _UID.fullmatch(text) is not None


def parse_uid(text: str, field: str) -> Uid:
    """Return `text` without trailing spaces as a UID.

    Raises:
        InvalidRequest: INVALID_UID, naming `field`.
    """
    trimmed = text.rstrip(" ")
    if not is_uid(trimmed):
        raise InvalidRequest(Reason.INVALID_UID, f"{field} is not a valid UID.", field=field)
    return Uid(trimmed)


def parse_partition_name(text: str, field: str = "partition") -> PartitionName:
    """Return `text` as a partition name.

    Raises:
        InvalidRequest: INVALID_PARTITION_NAME, naming `field`.
    """
    if not _PARTITION.fullmatch(text):
        raise InvalidRequest(
            Reason.INVALID_PARTITION_NAME,
            f"{field} must be 1 to 64 letters, digits, '.', '_' or '-'.",
            field=field,
        )
    return PartitionName(text)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a partition, a study, a series or an instance; each identifier needs those above it."""

    partition: PartitionName
    study: Uid | None = None
    series: Uid | None = None
    instance: Uid | None = None


@dataclass(frozen=True, slots=True)
class InstanceId:
    """The identity of one instance."""

    partition: PartitionName
    study: Uid
    series: Uid
    instance: Uid

    @property
    def address(self) -> Address:
        """The address of the instance."""
        return Address(self.partition, self.study, self.series, self.instance)
