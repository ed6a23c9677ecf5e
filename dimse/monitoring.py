"""The metrics, traces and log of a gateway process."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from common.process.release import release
from common.telemetry import catalogue
from common.telemetry.exports import exported
from common.telemetry.json_lines import JSON, CountedRecords, JsonFormatter
from common.telemetry.metrics import Sample, provided
from common.telemetry.neighbours import group_of, joined
from common.telemetry.process_figures import process_samples
from dimse.config import Settings

NODE = "DICOMSTORE_DIMSE_NODE"
"""Variable with the data directory of the node whose metrics include those of this process; not a setting."""

_LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"


def log_to_stderr(settings: Settings) -> None:
    """Write the log as `log_format` says, and count warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == JSON else logging.Formatter(_LINE))
    handler.addFilter(CountedRecords())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper())


@contextmanager
def monitored(settings: Settings, *, is_shared: bool) -> Iterator[None]:
    """Provide the metrics of this process to those of its node, and export metrics and traces, until the end.

    A thread with an event loop does so; it sleeps while nobody reads metrics and nothing is exported.

    Args:
        is_shared: the process is one of several that `dicomstore` supervises.

    Raises:
        ValueError: a variable of OpenTelemetry has a value that is not supported.
    """
    fixed = [
        Sample(catalogue.PROCESS_INFO, 1, (release(),)),
        Sample(catalogue.DIMSE_ASSOCIATIONS_LIMIT, settings.max_associations),
    ]
    node = os.environ.get(NODE)
    supervisor = os.getppid() if is_shared else os.getpid()
    group = group_of(Path(node)) if node else f"{settings.dimse} {supervisor}"
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()

    async def start() -> None:
        neighbours = await stack.enter_async_context(joined(group, "dimse"))
        await stack.enter_async_context(exported(neighbours.name))

    thread = threading.Thread(target=loop.run_forever, name="telemetry", daemon=True)
    thread.start()
    try:
        with provided(process_samples), provided(lambda: fixed):
            try:
                asyncio.run_coroutine_threadsafe(start(), loop).result()
                yield
            finally:
                asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
