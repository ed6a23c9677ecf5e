"""Recording detected damage, so that later responses announce the instances and frames that they leave out."""

import logging

from server.model.damage import Damage
from server.model.errors import DataLoss, DicomStoreError, Reason
from server.model.instance import StoredInstance
from server.ports.index import InstanceIndex

_log = logging.getLogger("dicomstore.damage")


class DamageRecord:
    """Records known damage in the index. A failure to do so is logged and does not affect responses."""

    def __init__(self, index: InstanceIndex) -> None:
        self._index = index

    async def found(self, stored: StoredInstance, damage: Damage) -> None:
        """Record damage, unless it is known already."""
        if stored.damage.with_more(damage) == stored.damage:
            return
        _log.warning("damage found version=%d instance=%s damage=%s", stored.version, stored.id.instance, damage.text())
        try:
            await self._index.add_damage(stored.version, damage)
        except DicomStoreError as error:
            _log.warning("could not record damage version=%d reason=%s", stored.version, error.reason)

    async def repaired(self, stored: StoredInstance, damage: Damage) -> None:
        """Remove recorded damage that has been repaired, if there is any."""
        if stored.damage.without(damage) == stored.damage:
            return
        try:
            await self._index.remove_damage(stored.version, damage)
        except DicomStoreError as error:
            _log.warning("could not remove damage version=%d reason=%s", stored.version, error.reason)


def of_bytes(error: DataLoss) -> Damage:
    """Return the damage that an error of reading the bytes shows."""
    is_missing = error.reason is Reason.BLOB_MISSING
    return Damage(is_missing=is_missing, is_changed=not is_missing)


def of_frame(number: int) -> Damage:
    """Return the damage of a frame, counted from 1, that cannot be decoded."""
    return Damage(frames=frozenset({number}))


def of_rendering(number: int) -> Damage:
    """Return the damage of a frame, counted from 1, that cannot be rendered."""
    return Damage(renderings=frozenset({number}))
