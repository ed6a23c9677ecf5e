"""The metrics of a process that uses the archive."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from common.process.release import release
from common.telemetry import catalogue
from common.telemetry.exports import exported
from common.telemetry.metrics import Sample, provided
from common.telemetry.neighbours import Neighbours, group_of, joined
from common.telemetry.process_figures import process_samples
from server.bootstrap.archive_components import ArchiveComponents
from server.bootstrap.components import IndexComponents, now
from server.domain.flow.byte_cache import cache_samples
from server.domain.monitoring.archive_figures import ArchiveFigures
from server.domain.monitoring.metrics import Metrics, read_all


@asynccontextmanager
async def monitored(components: IndexComponents, kind: str) -> AsyncIterator[Neighbours]:
    """Provide the metrics of this process to the processes that use the same data directory.

    Args:
        kind: see `common.telemetry.neighbours`.
    """

    info = Sample(catalogue.PROCESS_INFO, 1, (release(),))

    def samples() -> Iterator[Sample]:
        yield info
        yield from components.database.samples()
        if isinstance(components, ArchiveComponents):
            budget = components.ingest_budget
            yield Sample(catalogue.INGEST_USED, budget.used_bytes)
            yield Sample(catalogue.INGEST_LIMIT, budget.capacity_bytes)
            yield Sample(catalogue.INGEST_WAITING, budget.waiting)
            yield Sample(catalogue.RESPONSES, components.response_budget.responses)
            yield from components.workers.samples()
            if components.supervisor.gateways:
                yield Sample(catalogue.DIMSE_PROCESSES, components.supervisor.gateways)

    with provided(process_samples), provided(cache_samples), provided(samples):
        async with joined(group_of(components.settings.data), kind) as neighbours:
            figures = _figures(components).readings() if isinstance(components, ArchiveComponents) else {}
            async with exported(neighbours.name, lambda: read_all(figures)):
                yield neighbours


def metrics_of(components: ArchiveComponents, neighbours: Neighbours) -> Metrics:
    """Return the metrics that clients read."""
    return Metrics(components.access, neighbours.snapshots, _figures(components).readings())


def _figures(components: ArchiveComponents) -> ArchiveFigures:
    database = components.database
    return ArchiveFigures(
        changes=database.changes,
        consumers=database.consumers,
        webhooks=database.webhooks,
        transfers=database.transfers,
        operations=database.operations,
        blobs=components.blobs,
        data=components.settings.data,
        now=now,
    )
