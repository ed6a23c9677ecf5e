"""Whether the environment switches the export of traces and metrics on; OpenTelemetry is imported only then."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from common import collector
from common.process.release import release
from common.telemetry.metrics import Snapshot

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def is_exported(signal: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether `TRACES` or `METRICS` are exported: if the variables name the exporter `otlp` or an endpoint."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if exporter := environment.get(f"OTEL_{signal}_EXPORTER", ""):
        return exporter == "otlp"
    return bool(environment.get(_ENDPOINT) or environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))


@asynccontextmanager
async def exported(process: str, of_archive: Callable[[], Awaitable[Snapshot]] | None = None) -> AsyncIterator[None]:
    """Export traces and metrics of this process until the context is left, if the environment says so.

    Args:
        process: its name, see `common.telemetry.neighbours`.
        of_archive: returns figures of the whole archive, which are exported with the metrics.

    Raises:
        ValueError: a variable has a value that is not supported.
    """
    traces, metrics = is_exported("TRACES"), is_exported("METRICS")
    if not traces and not metrics:
        yield
        return
    with collector.paused():
        from common.telemetry import otlp

    async with otlp.exporting(
        process, release(), traces=traces, metrics=metrics, of_archive=of_archive or otlp.nothing
    ):
        yield
