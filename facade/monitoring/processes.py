"""The metrics of this facade, and of the others that serve the same address."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from common.process.release import release
from common.telemetry import catalogue
from common.telemetry.exports import exported
from common.telemetry.metrics import Sample, provided
from common.telemetry.neighbours import joined
from common.telemetry.process_figures import process_samples


@asynccontextmanager
async def monitored(app: Starlette, *, is_in_core: bool) -> AsyncIterator[None]:
    """Provide the metrics of an application until the context is left.

    Without a core in the same process, `app.state.neighbours` are the processes of this facade; otherwise None.
    """

    def samples() -> Iterator[Sample]:
        state = app.state
        yield Sample(catalogue.HTTP_LIMIT, state.settings.max_requests)
        yield Sample(catalogue.HTTP_STREAMS, state.event_streams.taken)
        yield from state.bodies.samples()

    info = Sample(catalogue.PROCESS_INFO, 1, (release(),))

    app.state.neighbours = None
    with provided(samples):
        if is_in_core:
            yield
            return
        settings = app.state.settings
        supervisor = os.getppid() if settings.processes > 1 else os.getpid()
        with provided(process_samples), provided(lambda: [info]):
            async with joined(f"{settings.http} {supervisor}", "facade") as neighbours, exported(neighbours.name):
                app.state.neighbours = neighbours
                yield
