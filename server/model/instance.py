"""What the store knows about an instance."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.model.damage import NO_DAMAGE, Damage
from server.model.ids import InstanceId, Version
from server.model.search.query_tag import NewTag, TagFault

Locator = str
"""Where a blob lies. Opaque: made by the blob store, kept by the index, understood by the blob store alone."""


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Where the frames of an instance lie in its bytes.

    `offset` counts from the start of the file; for the deflated transfer syntax, from the start of the inflated file.

    Native: frame i (from 0) has `frame_bits` bits and starts `i * frame_bits` bits after `offset`. `table` is empty.
    Encapsulated: `table` has one record a frame, two little-endian uint64: offset of the frame's first item tag and
    offset after its last fragment. Between them lie whole fragments, each behind its 8-byte item header
    (PS3.5 section A.4); a frame that is missing between others has a record of zeros. `frame_bits` is 0.

    number_of_frames: those that exist, whatever the data set says; where frames can't be told apart, what it says.
    bits_allocated: of a sample; 0 if it isn't said, and if native pixel data contradicts what describes it: then all of
        it is one frame, which is only returned as it is stored.
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

    @property
    def is_understood(self) -> bool:
        """What the pixels are is known, or is a matter of their codestreams."""
        return self.is_encapsulated or self.bits_allocated > 0


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

    keys: search key (keyword) → normalised text (see `server.dicom.matching.attributes`); only non-empty ones.
    elements: tag → DICOM JSON element, as returned by searches; only non-empty ones.
    invalid: tags of those elements whose values are invalid, or can't be compared → the keys made of them. At study
        and series level they never replace what another instance has.
    """

    keys: Mapping[str, str]
    elements: Mapping[str, Any]
    invalid: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def without(self, tags: Iterable[str]) -> "LevelAttributes":
        """Return these without some of the invalid ones."""
        left_out = set(tags)
        keys = {key for tag in left_out for key in self.invalid[tag]}
        return LevelAttributes(
            {key: value for key, value in self.keys.items() if key not in keys},
            {tag: element for tag, element in self.elements.items() if tag not in left_out},
        )


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance whose blob is durable and which is to become visible.

    must_be_indexed: not if it has something for an extended query tag that can't be indexed.
    invalid_tags: top-level attributes that were stored although their values are invalid. Extended query tags take
        them for absent.
    is_mislabelled: see `StoredInstance`.
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
    invalid_tags: frozenset[str] = frozenset()
    is_mislabelled: bool = False


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """A visible instance, as far as its bytes are concerned.

    is_mislabelled: the data set, or an item in it, has implicit VR where the transfer syntax says explicit, or the
        reverse.
    damage: what is known.
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
    """Something wrong with one attribute.

    path: `AttributeFinding.path` of the contract; at the top level of the data set, the tag as eight hex digits.
    keyword: or "". message: has no values in it.
    """

    path: str
    keyword: str
    vr: str
    message: str

    @property
    def tag(self) -> str:
        """The attribute itself, wherever it is."""
        return self.path[-8:]


class ValidationMode(enum.Enum):
    """How invalid values are treated; see `ValidationMode` in store_service.proto."""

    LENIENT = enum.auto()
    INDEXED_STRICT = enum.auto()
    STRICT = enum.auto()
