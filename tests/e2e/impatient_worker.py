"""`python -m tests.e2e.impatient_worker STALE_SECONDS LOOK_SECONDS`: a worker that soon takes over from others."""

import asyncio
import sys

from server.bootstrap.working import working
from server.config import Settings
from server.jobs import engine as jobs


async def _work(stale_seconds: float) -> None:
    async with working(Settings(), stale_seconds=stale_seconds) as engine:
        print("works", file=sys.stderr, flush=True)
        await engine.run()


if __name__ == "__main__":
    jobs.LOOK_SECONDS = float(sys.argv[2])
    asyncio.run(_work(float(sys.argv[1])))
