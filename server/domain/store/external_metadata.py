"""External metadata of an upload: set for every study of which an instance is stored."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from server.dicom.elements.external_metadata import invalid, names_of, vr_of
from server.model.ids import Address, PartitionName, Uid
from server.model.lifecycle.label import Labels, limited
from server.ports.lifecycle.labels import LabelRecord


class ExternalMetadata:
    """Sets the external metadata of one upload, once for each study.

    labels: as `server.dicom.elements.external_metadata.labels_of` returns them.
    now: the clock of receipts.
    """

    def __init__(
        self, record: LabelRecord, partition: PartitionName, labels: Labels, now: Callable[[], datetime]
    ) -> None:
        self._record = record
        self._partition = partition
        self._labels = labels
        self._now = now
        self._studies: set[Uid] = set()
        self._lock = asyncio.Lock()

    async def check(self) -> None:
        """Check that no tag is in use with another value representation in the partition.

        Raises:
            InvalidRequest: INVALID_LABEL.
        """
        possible = [name for own in self._labels for name in names_of(own[-8:]) if name not in self._labels]
        if other := sorted(await self._record.in_use(self._partition, possible)):
            raise invalid(f"The tag {other[0][-8:]} is in use with the value representation {vr_of(other[0])}.")

    async def attach(self, study: Uid) -> None:
        """Set the external metadata of a study of which an instance has just been stored. Raises: as the record."""
        async with self._lock:
            if study not in self._studies:
                await self._record.change(
                    Address(self._partition, study), lambda present: limited(self._added(present)), self._now()
                )
                self._studies.add(study)

    def _added(self, present: Labels) -> Labels:
        return {**present, **self._labels}
