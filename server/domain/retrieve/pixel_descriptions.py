"""What data sets say of their pixels, out of metadata that may have many megabytes."""

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
"""What `server.dicom.pixel_data.image_pixel_module` looks at."""

_PER_FRAME_GROUPS = b',"52009230":{"vr":"SQ","Value":['
_END_OF_SEQUENCE = b'}]},"'

_FIELDS = Fields(_TAGS, frozenset())
_MOST_KEPT = 1000
_LARGE_BYTES = 1 << 16


class PixelDescriptionReader:
    """Reads the elements that describe pixel data, and keeps those of the last instances, which never change.

    Metadata is read once for all calls that wait for it: a viewer retrieves many tiles of a slide at once. Use within
    one event loop.
    """

    def __init__(self, index: InstanceIndex) -> None:
        self._index = index
        self._kept: ByteCache[Version, Attributes] = ByteCache(2 * _MOST_KEPT, lambda _: 2)

    async def of(self, stored: StoredInstance) -> Attributes:
        """Return the elements of a data set that describe its pixel data.

        Raises:
            NotFound: INSTANCE_NOT_FOUND, the instance was deleted meanwhile.
        """
        return await self._kept.get(stored.version, lambda: self._find(stored))

    async def _find(self, stored: StoredInstance) -> Attributes:
        found = await self._index.metadata(stored.id.address, stored.version - 1, 1)
        if not found or found[0].version != stored.version:
            raise NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")
        metadata = found[0].dicom_json
        return await asyncio.to_thread(_picked, metadata) if len(metadata) > _LARGE_BYTES else _picked(metadata)


def _picked(metadata: bytes) -> Attributes:
    picked = _around_frames(metadata) or orjson.loads(_FIELDS.of(metadata))
    return {tag: element for tag, element in picked.items() if tag in _TAGS}


def _around_frames(metadata: bytes) -> dict[str, Any] | None:
    """Return a data set without the groups of single frames, which may be nearly all of it, and perhaps more without
    sequences next to them; None if it isn't cut so easily.

    Tags ascend, so what is wanted lies before and after. A cut within something else leaves what is no JSON.
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
