"""Reading metrics: those of the processes of this node, and figures of the whole archive."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from common.telemetry.catalogue import METRICS_FAILURES
from common.telemetry.metrics import Sample, Series, Snapshot, merged, sampled
from server.domain.access import Access
from server.model.access import Action
from server.model.call import Call
from server.model.errors import DicomStoreError

ArchiveReading = Callable[[], Awaitable[Iterable[Sample]]]
"""Returns figures of the archive. Raises: DicomStoreError, OSError."""

_SECONDS = 2.0

_log = logging.getLogger("dicomstore.metrics")


class Metrics:
    """The metrics that a client reads.

    Args:
        processes: returns the snapshots of all processes of the node by their names.
        archive: figures of the whole archive, by a name for the log. Those that cannot be read are omitted.
    """

    def __init__(
        self,
        access: Access,
        processes: Callable[[], Awaitable[Sequence[tuple[str, Snapshot]]]],
        archive: Mapping[str, ArchiveReading],
    ) -> None:
        self._access = access
        self._processes = processes
        self._archive = archive

    async def read(self, call: Call) -> Mapping[str, Sequence[Series]]:
        """Return the series of all families, by the names of these.

        Raises:
            Forbidden: PERMISSION_DENIED.
        """
        await self._access.permit_archive(call, Action.MONITOR)
        of_archive = await read_all(self._archive)
        return merged([*await self._processes(), ("", of_archive)])


async def read_all(readings: Mapping[str, ArchiveReading]) -> Snapshot:
    """Return the values of all readings; those that fail or take more than two seconds are omitted and counted."""
    found = await asyncio.gather(*(_read(name, reading) for name, reading in readings.items()))
    return sampled(sample for samples in found for sample in samples)


async def _read(name: str, reading: ArchiveReading) -> Iterable[Sample]:
    try:
        async with asyncio.timeout(_SECONDS):
            return await reading()
    except (DicomStoreError, OSError, TimeoutError) as error:
        METRICS_FAILURES.of(name).value += 1
        _log.debug("figures of the archive could not be read name=%s error=%s", name, type(error).__name__)
        return ()
