"""Reading the attributes that describe pixel data from metadata, which may have many megabytes."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from server.dicom.elements.fields import Fields
from server.domain.flow.byte_cache import ByteCache
from server.model.errors import NotFound, Reason
from server.model.ids import Version
from server.model.instance import StoredInstance
from server.ports.index import InstanceIndex

Attributes = Mapping[str, Any]
"""Elements of DICOM JSON by tag."""

_TAGS = frozenset(
    [
        *("00280002", "00280004", "00280006", "00280008", "00280010", "00280011"),
        *("00280100", "00280101", "00280102", "00280103", "00282110", "00282112", "00282114"),
        *("7FE00001", "7FE00002", "7FE00008", "7FE00009", "7FE00010"),
        *(f"60{group:02X}{element}" for group in range(0, 0x20, 2) for element in ("0100", "3000")),
    ]
)
"""Attributes that `server.dicom.pixel_data.image_pixel_module` uses."""

_PER_FRAME_GROUPS = b',"52009230":{"vr":"SQ","Value":['
_END_OF_SEQUENCE = b'}]},"'

_FIELDS = Fields(_TAGS, frozenset())
_MAX_CACHED = 1000
_LARGE_BYTES = 1 << 16


class PixelDescriptionReader:
    """Reads the elements that describe pixel data, and caches them, because a stored version never changes.

    Concurrent calls share one read of the metadata, as when a viewer retrieves many tiles of a slide. For use within
    one event loop.
    """

    def __init__(self, index: InstanceIndex) -> None:
        self._index = index
        self._cache: ByteCache[Version, Attributes] = ByteCache(
            "pixelDescriptions", 2 * _MAX_CACHED, lambda _: 2, has_size=False
        )

    async def of(self, stored: StoredInstance) -> Attributes:
        """Return the elements of a data set that describe its pixel data.

        Raises:
            NotFound: INSTANCE_NOT_FOUND, the instance was deleted in between.
        """
        return await self._cache.get(stored.version, lambda: self._find(stored))

    async def _find(self, stored: StoredInstance) -> Attributes:
        metadata = await self._index.dicom_json(stored.id, stored.version)
        if metadata is None:
            raise NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")
        return await asyncio.to_thread(_selected, metadata) if len(metadata) > _LARGE_BYTES else _selected(metadata)


def _selected(metadata: bytes) -> Attributes:
    selected = _around_frames(metadata) or orjson.loads(_FIELDS.of(metadata))
    return {tag: element for tag, element in selected.items() if tag in _TAGS}


def _around_frames(metadata: bytes) -> dict[str, Any] | None:
    """Return a data set without Per-Frame Functional Groups, its largest part, and possibly without adjacent sequences;
    None if they cannot be cut out without parsing.

    Tags ascend, so the wanted elements are before and after. A cut at a wrong place leaves invalid JSON.
    """
    start, stop = metadata.find(_PER_FRAME_GROUPS), metadata.rfind(_END_OF_SEQUENCE)
    if not 0 <= start < stop:
        return None
    try:
        before: dict[str, Any] = orjson.loads(metadata[:start] + b"}")
        after: dict[str, Any] = orjson.loads(b"{" + metadata[stop + len(_END_OF_SEQUENCE) - 1 :])
    except orjson.JSONDecodeError:
        return None
    return before | after
