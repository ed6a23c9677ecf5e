"""The standard gRPC health service, updated by probes of the dependencies of the core.

Names: "" and every service of the contract are SERVING while index and blobs can be read; "index" and "blobs" report
each alone. "writes" is SERVING while instances can be stored, "changes" while the archive is not read-only,
"operations" while operations make progress, "authentication" while the keys of all identity providers could be fetched
at the last attempt; everything else works without these four.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from common.telemetry.catalogue import COMPONENT_HEALTHY
from common.telemetry.metrics import Sample
from server.model.errors import DicomStoreError

NEEDED_SECONDS = 1.5
"""Time between two probes of what the services depend on."""

OTHER_SECONDS = 15.0
"""Time between two probes of the rest, one of which writes to the disk."""

PROBE_SECONDS = 2.0
"""Deadline of one probe. With the time between two and the facade's cache, clients hear of a fault within 5 s."""

_log = logging.getLogger("dicomstore.health")

Check = Callable[[], Coroutine[Any, Any, None]]


class Health:
    """Updates the health servicer."""

    def __init__(
        self, services: Sequence[str], needed: Mapping[str, Check], others: Mapping[str, Check], noticed: asyncio.Event
    ) -> None:
        """The services depend on the `needed` components. The `others` are probed at once when `noticed` is set."""
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined] # set at run time
        self._services = services
        self._needed = tuple(needed)
        self._others = tuple(others)
        self._noticed = noticed
        self._checks = {**needed, **others}
        self._healthy = dict.fromkeys(self._checks, True)
        self._running: dict[str, asyncio.Task[None]] = {}

    def samples(self) -> Iterator[Sample]:
        """Yield the results of the last probes."""
        return (Sample(COMPONENT_HEALTHY, healthy, (name,)) for name, healthy in self._healthy.items())

    async def check(self) -> None:
        """Probe all components once."""
        await self._probe(self._checks)

    async def run(self) -> None:
        """Probe periodically until cancelled."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._run_needed())
                both.create_task(self._run_others())
        finally:
            for task in self._running.values():
                task.cancel()

    async def leave(self) -> None:
        """Report NOT_SERVING from now on, so that load balancers send no new calls."""
        await self.servicer.enter_graceful_shutdown()

    async def _run_needed(self) -> None:
        while True:
            await asyncio.sleep(NEEDED_SECONDS)
            await self._probe(self._needed)

    async def _run_others(self) -> None:
        while True:
            all_well = all(self._healthy[name] for name in self._others)
            try:
                async with asyncio.timeout(OTHER_SECONDS if all_well else NEEDED_SECONDS):
                    await self._noticed.wait()
            except TimeoutError:
                pass
            self._noticed.clear()
            await self._probe(self._others)
            await asyncio.sleep(NEEDED_SECONDS)  # limits the probes when many uploads are refused

    async def _probe(self, names: Iterable[str]) -> None:
        await asyncio.gather(*map(self._probe_one, names))
        for service in ("", *self._services):
            await self._set(service, all(self._healthy[name] for name in self._needed))

    async def _probe_one(self, name: str) -> None:
        """Probe a component. Without a response in time it is down, and not probed again until it responds."""
        task = self._running.pop(name, None) or asyncio.create_task(self._checks[name]())
        await asyncio.wait([task], timeout=PROBE_SECONDS)
        fault = ""
        if not task.done():
            self._running[name] = task
            fault = f"reason=TIMEOUT detail=No answer within {PROBE_SECONDS:g} s."
        elif isinstance(error := task.exception(), DicomStoreError):
            fault = f"reason={error.reason} detail={error.message}"
        elif error is not None:
            raise error
        if fault and self._healthy[name]:
            _log.error("component is down name=%s %s", name, fault)
        if not fault and not self._healthy[name]:
            _log.info("component is back name=%s", name)
        self._healthy[name] = not fault
        await self._set(name, not fault)

    async def _set(self, service: str, healthy: bool) -> None:
        status = HealthCheckResponse.SERVING if healthy else HealthCheckResponse.NOT_SERVING
        await self.servicer.set(service, status)
