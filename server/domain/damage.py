"""Recording damage when it is found, so that later responses announce what they leave out."""

import logging

from server.model.damage import Damage
from server.model.errors import DataLoss, DicomStoreError, Reason
from server.model.instance import StoredInstance
from server.ports.index import InstanceIndex

_log = logging.getLogger("dicomstore.damage")


class DamageRecord:
    """Keeps what is known to be damaged in the index. Failing to do so is logged, and changes no response."""

    def __init__(self, index: InstanceIndex) -> None:
        self._index = index

    async def found(self, stored: StoredInstance, damage: Damage) -> None:
        """Record damage; what is known already costs nothing."""
        if stored.damage.with_more(damage) == stored.damage:
            return
        _log.warning("damage found version=%d instance=%s damage=%s", stored.version, stored.id.instance, damage.text())
        try:
            await self._index.add_damage(stored.version, damage)
        except DicomStoreError as error:
            _log.warning("could not record damage version=%d reason=%s", stored.version, error.reason)

    async def repaired(self, stored: StoredInstance, damage: Damage) -> None:
        """Forget damage that turned out to be repaired; what is not known costs nothing."""
        if stored.damage.without(damage) == stored.damage:
            return
        try:
            await self._index.remove_damage(stored.version, damage)
        except DicomStoreError as error:
            _log.warning("could not forget damage version=%d reason=%s", stored.version, error.reason)


def of_bytes(error: DataLoss) -> Damage:
    """Return what the bytes of an instance have when they fail with an error."""
    is_missing = error.reason is Reason.BLOB_MISSING
    return Damage(is_missing=is_missing, is_changed=not is_missing)


def of_frame(number: int) -> Damage:
    """Return what an instance has of which a frame, counted from 1, cannot be decoded."""
    return Damage(frames=frozenset({number}))


def of_rendering(number: int) -> Damage:
    """Return what an instance has of which a frame, counted from 1, cannot be rendered."""
    return Damage(renderings=frozenset({number}))
