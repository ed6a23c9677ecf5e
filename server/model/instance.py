"""What the store knows about an instance."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.model.ids import InstanceId, Version
from server.model.tag import NewTag, TagFault

Locator = str
"""Where a blob lies. Opaque: made by the blob store, kept by the index, understood by the blob store alone."""


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where the frames of an instance lie in its bytes.

    `offset` counts from the start of the file; for the deflated transfer syntax, from the start of the inflated file.

    Native: frame i (from 0) has `frame_bits` bits and starts `i * frame_bits` bits after `offset`. `table` is empty.
    Encapsulated: `table` has one record a frame, two little-endian uint64: offset of the frame's first item tag and
    offset after its last fragment. Between them lie whole fragments, each behind its 8-byte item header
    (PS3.5 section A.4). `frame_bits` is 0.
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
        """Frames are fragments behind item headers."""
        return self.frame_bits == 0


@dataclass(frozen=True, slots=True)
class BulkElement:
    """An element whose value metadata replaces by a BulkDataURI.

    `path` is tags and 1-based item numbers joined by "/". The range has the convention of `PixelLayout.offset`;
    for encapsulated pixel data it spans all items including the basic offset table.
    """

    path: str
    vr: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class LevelAttributes:
    """What the index keeps of a data set at one level (study, series or instance).

    keys: search key (keyword) → text to compare with, normalised by `server.dicom.attributes`; only non-empty ones.
    elements: tag → DICOM JSON element, as returned by searches; only non-empty ones.
    """

    keys: Mapping[str, str]
    elements: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance whose blob is durable and which is to become visible.

    must_be_indexed: not if it has something for an extended query tag that can't be indexed.
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
    instance: LevelAttributes
    pixels: PixelLayout | None
    bulk: tuple[BulkElement, ...]
    must_be_indexed: bool = False


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """A visible instance, as far as its bytes are concerned."""

    id: InstanceId
    version: Version
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    crc32c: int
    locator: Locator


@dataclass(frozen=True, slots=True)
class InstanceMetadata:
    """The canonical DICOM JSON of one instance."""

    id: InstanceId
    version: Version
    dicom_json: bytes


@dataclass(frozen=True, slots=True)
class Added:
    """The instance is visible now."""

    version: Version


@dataclass(frozen=True, slots=True)
class AlreadyStored:
    """An instance with this identity was there before; nothing changed."""

    existing: StoredInstance


@dataclass(frozen=True, slots=True)
class Faulty:
    """What the instance has for these extended query tags can't be indexed, and it must be; nothing changed."""

    faults: tuple[tuple[NewTag, TagFault], ...]


AddOutcome = Added | AlreadyStored | Faulty


@dataclass(frozen=True, slots=True)
class ResourceState:
    """Changes whenever an instance joins, changes in or leaves a resource."""

    max_version: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something noticed about one attribute: tag as eight hex digits, keyword or "", VR, and a text without values."""

    tag: str
    keyword: str
    vr: str
    message: str


class ValidationMode(enum.Enum):
    """How invalid values are treated; see `ValidationMode` in store_service.proto."""

    LENIENT = enum.auto()
    INDEXED_STRICT = enum.auto()
