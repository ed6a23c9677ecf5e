"""The standard health service, fed by looking at what the core depends on.

Names: "" and every service of ours are SERVING when index and blobs are; "index" and "blobs" stand for themselves.
So do "operations" and "changes" (whether the archive may be changed), without which everything else goes on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from server.model.errors import DicomStoreError

CHECK_SECONDS = 15.0
_log = logging.getLogger("dicomstore.health")

Check = Callable[[], Awaitable[None]]


class Health:
    """Keeps the health servicer true."""

    def __init__(self, services: Sequence[str], checks: Mapping[str, Check], others: Mapping[str, Check]) -> None:
        """Begin; the services depend on the `checks`, not on the `others`."""
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined] # set at run time
        self._services = services
        self._needed = tuple(checks)
        self._checks = {**checks, **others}
        self._healthy = dict.fromkeys(self._checks, True)

    async def check(self) -> None:
        """Look at everything once."""
        for name, look in self._checks.items():
            try:
                await look()
                healthy = True
            except DicomStoreError as error:
                healthy = False
                if self._healthy[name]:
                    _log.error("component is down name=%s reason=%s detail=%s", name, error.reason, error.message)
            if healthy and not self._healthy[name]:
                _log.info("component is back name=%s", name)
            self._healthy[name] = healthy
            await self._set(name, healthy)
        for service in ("", *self._services):
            await self._set(service, all(self._healthy[name] for name in self._needed))

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.check()

    async def leave(self) -> None:
        """Say NOT_SERVING from now on, so that balancers send nothing new."""
        await self.servicer.enter_graceful_shutdown()

    async def _set(self, service: str, healthy: bool) -> None:
        status = HealthCheckResponse.SERVING if healthy else HealthCheckResponse.NOT_SERVING
        await self.servicer.set(service, status)
