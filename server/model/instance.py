"""Stored instances, as the index and the blob store describe them."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from server.model.damage import NO_DAMAGE, Damage
from server.model.errors import NotFound, WrongState
from server.model.ids import InstanceId, Version
from server.model.lifecycle.version import NO_PROVENANCE, Provenance
from server.model.search.query_tag import NewTag, TagFault

Locator = str
"""Location of a blob. Opaque: assigned by the blob store, stored in the index, interpreted by the blob store only."""


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Location of the frames of an instance in its bytes.

    `offset` counts bytes from the start of the file; for deflated transfer syntaxes, from the start of the inflated
    file.

    Native: frame i (from 0) has `frame_bits` bits and starts `i * frame_bits` bits after `offset`; `table` is empty.
    Encapsulated: `table` has one record per frame, two little-endian uint64: the offset of the frame's first item tag
    and the offset after its last fragment. Between them are whole fragments, each after its 8-byte item header (PS3.5
    section A.4); a missing frame between others has a record of zeros. `frame_bits` is 0.

    number_of_frames: the frames that exist, whatever Number of Frames says; Number of Frames if the frames cannot be
        separated.
    bits_allocated: Bits Allocated; 0 if it is absent, or if native pixel data contradicts the Image Pixel attributes:
        then all of it counts as one frame, which is only returned as stored.
    """

    number_of_frames: int
    offset: int
    length: int
    bits_allocated: int
    frame_bits: int
    table: bytes = b""

    RECORD_BYTES = 16

    @property
    def is_encapsulated(self) -> bool:
        """The frames are fragments with item headers."""
        return self.frame_bits == 0

    @property
    def is_understood(self) -> bool:
        """The pixel format is known, or given by the codestreams."""
        return self.is_encapsulated or self.bits_allocated > 0


@dataclass(frozen=True, slots=True)
class BulkElement:
    """An element whose value is replaced by a BulkDataURI in metadata.

    `path` is tags and item numbers from 1, joined by "/". The range is defined like `PixelLayout.offset`; for
    encapsulated pixel data it spans all items including the Basic Offset Table.
    """

    path: str
    vr: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class LevelAttributes:
    """The attributes of a data set that the index stores at one level (study, series or instance).

    keys: search key (keyword) → normalised text (see `server.dicom.matching.attributes`); non-empty values only.
    elements: return keys, tag → DICOM JSON element; non-empty elements only.
    invalid: tags of those elements whose values are invalid or not comparable → the search keys made of them. At study
        and series level they never replace the value of another instance.
    """

    keys: Mapping[str, str]
    elements: Mapping[str, Any]
    invalid: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def without(self, tags: Iterable[str]) -> "LevelAttributes":
        """Return these attributes without the given invalid ones."""
        left_out = set(tags)
        keys = {key for tag in left_out for key in self.invalid[tag]}
        return LevelAttributes(
            {key: value for key, value in self.keys.items() if key not in keys},
            {tag: element for tag, element in self.elements.items() if tag not in left_out},
        )


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance whose blob is durable and that is to become visible.

    must_be_indexed: fail if the instance has a value for an extended query tag that cannot be indexed.
    invalid_tags: top-level attributes that were stored although their values are invalid. Extended query tags treat
        them as absent.
    is_mislabelled: see `StoredInstance`.
    may_replace: become a new version if an instance with this identity and other content exists. Equal sizes and
        checksums count as equal content.
    differs_from: a version of equal size and checksum whose content is known to be different or damaged.
    instance: the attributes at instance level; None if they are those of the version that it replaces.
    expires: when its study expires, also if it is stored already; None does not change the expiry of the study.
    trace: the trace of the change, as header `traceparent`; empty if it is not recorded.
    """

    id: InstanceId
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    crc32c: int
    locator: Locator
    dicom_json: bytes
    study: LevelAttributes
    series: LevelAttributes
    instance: LevelAttributes | None
    pixels: PixelLayout | None
    bulk: tuple[BulkElement, ...]
    must_be_indexed: bool = False
    invalid_tags: frozenset[str] = frozenset()
    is_mislabelled: bool = False
    provenance: Provenance = NO_PROVENANCE
    may_replace: bool = False
    differs_from: Version | None = None
    expires: datetime | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """A visible instance: its blob and the properties needed to read it.

    is_mislabelled: the data set, or an item in it, has implicit VR although the transfer syntax is explicit, or the
        reverse.
    damage: the known damage.
    """

    id: InstanceId
    version: Version
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    crc32c: int
    locator: Locator
    is_mislabelled: bool = False
    damage: Damage = NO_DAMAGE


@dataclass(frozen=True, slots=True)
class InstanceMetadata:
    """The canonical DICOM JSON of one instance."""

    id: InstanceId
    version: Version
    dicom_json: bytes


@dataclass(frozen=True, slots=True)
class Added:
    """The instance is now visible.

    replaced: the version that was the current one before; None if the instance is new.
    """

    version: Version
    replaced: Version | None = None


@dataclass(frozen=True, slots=True)
class InstanceVersion:
    """A version of an instance.

    replaced: time at which the next version replaced it; None for the current one.
    """

    id: InstanceId
    version: Version
    created: datetime
    replaced: datetime | None
    transfer_syntax_uid: str
    size_bytes: int
    crc32c: int
    locator: Locator
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class AlreadyStored:
    """An instance with this identity existed already; nothing was changed."""

    existing: StoredInstance


@dataclass(frozen=True, slots=True)
class Faulty:
    """The values for these extended query tags cannot be indexed, although they must be; nothing was changed."""

    faults: tuple[tuple[NewTag, TagFault], ...]


@dataclass(frozen=True, slots=True)
class OnHold:
    """The instance would replace another one that is on hold; nothing was changed."""

    error: WrongState


@dataclass(frozen=True, slots=True)
class PartitionGone:
    """The partition of the instance has been deleted; nothing was changed."""

    error: NotFound


AddOutcome = Added | AlreadyStored | Faulty | OnHold | PartitionGone


@dataclass(frozen=True, slots=True)
class ResourceState:
    """Changes whenever an instance is added to, updated in or deleted from a resource."""

    max_version: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule of the standard that one attribute violates.

    path: `AttributeFinding.path` of the contract; at the top level of the data set, the tag as eight hex digits.
    keyword: of the data dictionary, or "".
    message: contains no values.
    """

    path: str
    keyword: str
    vr: str
    message: str

    @property
    def tag(self) -> str:
        """The tag of the attribute itself, at any depth."""
        return self.path[-8:]


class ValidationMode(enum.Enum):
    """Treatment of invalid values; see `ValidationMode` in store_service.proto."""

    LENIENT = enum.auto()
    INDEXED_STRICT = enum.auto()
    STRICT = enum.auto()
