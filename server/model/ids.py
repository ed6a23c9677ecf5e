"""Identifiers. Values of these types are valid by construction: they are parsed once and never checked again."""

import re
from dataclasses import dataclass
from typing import NewType

from server.model.errors import InvalidRequest, Reason

Uid = NewType("Uid", str)
"""A valid UID without padding."""

PartitionName = NewType("PartitionName", str)
"""A valid partition name, or `NO_PARTITION`, or `ALL_PARTITIONS`."""

Version = NewType("Version", int)
"""Version of a stored instance: ascends across the whole archive and is never reused."""

ORIGINAL = Version(-1)
"""In requests: the version before the first update, which is the last one that was stored."""

DEFAULT_PARTITION = PartitionName("Microsoft.Default")
"""The partition of all instances while partitions are disabled."""

NO_PARTITION = PartitionName("")
"""Of a request that names no partition. `Access` replaces it by the default partition, or refuses it."""

ALL_PARTITIONS = PartitionName("*")
"""Of the archive as a whole. No partition can have this name."""

_UID = re.compile(r"[0-9.]{0,63}[0-9]")
_PARTITION = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_uid(text: str) -> bool:
    """Return whether `text`, without padding, is a UID as this service accepts it.

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
    """The address of a partition, a study, a series or an instance; each identifier requires those of the levels above.

    Other kinds of entities, such as workitems, would have their own identifier here instead of these.
    """

    partition: PartitionName
    study: Uid | None = None
    series: Uid | None = None
    instance: Uid | None = None

    def require_study(self) -> None:
        """Raise InvalidRequest (INVALID_FIELD) if this is the address of a partition."""
        if self.study is None:
            raise _required("study_instance_uid")

    def instance_id(self) -> "InstanceId":
        """Return the identity of the instance. Raises InvalidRequest (INVALID_FIELD) if this is not that of one."""
        if self.study is None or self.series is None or self.instance is None:
            raise _required("sop_instance_uid")
        return InstanceId(self.partition, self.study, self.series, self.instance)


ARCHIVE = Address(ALL_PARTITIONS)
"""The archive as a whole: all partitions, and what belongs to none."""


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


def parse_address(partition: str, study: str = "", series: str = "", instance: str = "") -> Address:
    """Return the address that these texts are; empty ones are identifiers that are not given.

    Raises:
        InvalidRequest: INVALID_PARTITION_NAME; INVALID_UID; INVALID_FIELD, the study or series of what is given is not.
    """
    if series and not study:
        raise _required("study_instance_uid")
    if instance and not series:
        raise _required("series_instance_uid")
    return Address(
        parse_partition_name(partition) if partition else NO_PARTITION,
        parse_uid(study, "study_instance_uid") if study else None,
        parse_uid(series, "series_instance_uid") if series else None,
        parse_uid(instance, "sop_instance_uid") if instance else None,
    )


def _required(field: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, f"{field} is required.", field=field)
