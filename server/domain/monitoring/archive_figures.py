"""Figures of the whole archive, read from the index and the blob store."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from common.telemetry import catalogue
from common.telemetry.metrics import Sample
from server.domain.monitoring.metrics import ArchiveReading
from server.model.lifecycle.transfer import TransferState
from server.ports.blobs import BlobStore
from server.ports.consumers import Consumers
from server.ports.events.webhooks import Webhooks
from server.ports.index import ChangeLog
from server.ports.lifecycle.transfers import TransferRecord
from server.ports.operations import Operations

_MAX_CONSUMERS = 1000
_UNLIMITED_BYTES = 1 << 60


class ArchiveFigures:
    """The readings; see `catalogue` for their meaning."""

    def __init__(
        self,
        *,
        changes: ChangeLog,
        consumers: Consumers,
        webhooks: Webhooks,
        transfers: TransferRecord,
        operations: Operations,
        blobs: BlobStore,
        data: Path,
        now: Callable[[], datetime],
    ) -> None:
        self._changes = changes
        self._consumers = consumers
        self._webhooks = webhooks
        self._transfers = transfers
        self._operations = operations
        self._blobs = blobs
        self._data = data
        self._now = now

    def readings(self) -> Mapping[str, ArchiveReading]:
        """Return the readings by name."""
        return {
            "changeFeed": self._change_feed,
            "webhooks": self._webhook_events,
            "transfers": self._transfer_states,
            "operations": self._unfinished_operations,
            "disk": self._disk,
            "blobs": self._blob_space,
        }

    async def _change_feed(self) -> Iterable[Sample]:
        latest = await self._changes.latest(metadata=False)
        consumers = await self._consumers.list(None, "", _MAX_CONSUMERS)
        sequence = latest.sequence if latest else 0
        slowest = min((consumer.sequence for consumer in consumers), default=sequence)
        return [
            Sample(catalogue.CHANGE_FEED_SEQUENCE, sequence),
            Sample(catalogue.CHANGE_FEED_LAG, max(sequence - slowest, 0)),
            Sample(catalogue.CHANGE_FEED_CONSUMERS, len(consumers)),
        ]

    async def _webhook_events(self) -> Iterable[Sample]:
        backlogs = list((await self._webhooks.backlogs()).values())
        return [
            Sample(catalogue.WEBHOOK_EVENTS, sum(backlog.waiting for backlog in backlogs), ("waiting",)),
            Sample(catalogue.WEBHOOK_EVENTS, sum(backlog.dead for backlog in backlogs), ("dead",)),
        ]

    async def _transfer_states(self) -> Iterable[Sample]:
        numbers = await self._transfers.numbers()
        states = (TransferState.WAITING, TransferState.RUNNING, TransferState.FAILED)
        return [Sample(catalogue.TRANSFERS, numbers.get(state, 0), (state.name.lower(),)) for state in states]

    async def _unfinished_operations(self) -> Iterable[Sample]:
        unfinished = await self._operations.unfinished()
        numbers = Counter((operation.type, operation.state.name.lower()) for operation in unfinished)
        now = self._now()
        # A paused operation, such as an import that looks for new files each hour, has nothing to do.
        running = [one for one in unfinished if one.resumes is None or one.resumes <= now]
        idle = max(((now - max(one.updated, one.resumes or one.updated)).total_seconds() for one in running), default=0)
        counted = [Sample(catalogue.OPERATIONS, number, labels) for labels, number in numbers.items()]
        return [*counted, Sample(catalogue.OPERATION_AGE, max(idle, 0))]

    async def _disk(self) -> Iterable[Sample]:
        found = await asyncio.to_thread(os.statvfs, self._data)
        return [
            Sample(catalogue.DISK_FREE, found.f_bavail * found.f_frsize, ("data",)),
            Sample(catalogue.DISK_SIZE, found.f_blocks * found.f_frsize, ("data",)),
        ]

    async def _blob_space(self) -> Iterable[Sample]:
        free = await self._blobs.free_bytes()
        return [Sample(catalogue.DISK_FREE, free, ("blobs",))] if free < _UNLIMITED_BYTES else []
