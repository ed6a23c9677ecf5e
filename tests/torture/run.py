"""One run: events in random order, and after each of them all the checks."""

import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.checks import Consumer, check_holdings
from tests.torture.databases import database
from tests.torture.events import KILLS, Event, Scene, events_for
from tests.torture.installation import Installation
from tests.torture.ledger import Ledger, Violation
from tests.torture.traffic import Traffic

_KILLS_AMONG_EVENTS = 0.7
_STARTS = (2, 4, 8)


@dataclass
class Summary:
    """Figures of a run."""

    kind: str
    seed: int
    events: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    stores: int = 0
    deletes: int = 0
    requests: int = 0
    checks: int = 0
    compared: int = 0
    seconds: float = 0

    def __str__(self) -> str:
        """Return one paragraph."""
        events = ", ".join(f"{name} {count}" for name, count in sorted(self.events.items()))
        return (
            f"{self.kind}, seed {self.seed}, {self.seconds:.0f} s: {self.kills} kills; events: {events}; "
            f"{self.requests} requests, {self.stores} stores and {self.deletes} deletes acknowledged; "
            f"{self.checks} checks, {self.compared} instances compared"
        )


def torture(
    kind: str, seed: int, seconds: float, events: list[Event] | None = None, pause_seconds: float = 0
) -> Summary:
    """Run each of the events once, then random ones until the time is up.

    With a pause between the requests of a client, other programs get more of the processors.

    The seed determines events, sizes and requests; their timing depends on the machine.

    Raises:
        Violation: a guarantee was broken; the message has the seed and the location of data and log.
    """
    folder = Path(tempfile.mkdtemp(prefix="dicomstore-torture-"))
    installation = Installation(folder / "data", "")
    summary = Summary(kind, seed)
    began = time.monotonic()
    try:
        with database(kind, installation) as index:
            rng = random.Random(seed)
            ledger = Ledger(rng)
            traffic = Traffic(installation.url, ledger, rng, pause_seconds)
            scene = Scene(installation, index, ledger, traffic, Consumer(installation, ledger), rng)
            try:
                asyncio.run(_run(scene, summary, began + seconds, events or events_for(kind)))
            finally:
                installation.end()
    except BaseException as error:
        found = _violation_in(error)
        if found is None:
            shutil.rmtree(folder)
            raise
        raise Violation(
            f"{kind}, seed {seed}, after {dict(summary.events)}: {found}\nData and log are kept in {folder}.\n"
            f"The log ends with:\n{installation.log()[-1500:]}"
        ) from error
    shutil.rmtree(folder)
    summary.kills, summary.requests = installation.kills, traffic.requests
    summary.stores, summary.deletes = ledger.acknowledged["stores"], ledger.acknowledged["deletes"]
    summary.seconds = time.monotonic() - began
    return summary


def _violation_in(error: BaseException) -> BaseException | None:
    """Return the violation in a group of exceptions, otherwise its first error; None for an interrupt."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_violation_in, error.exceptions)), None)
    return error if isinstance(error, Exception) else None


async def _run(scene: Scene, summary: Summary, until: float, events: list[Event]) -> None:
    scene.installation.data.mkdir(parents=True)
    await scene.database.prepare()
    scene.installation.start()
    await scene.installation.until("Healthy")
    once = list(events)
    scene.rng.shuffle(once)
    async with scene.traffic.running():
        while once or time.monotonic() < until:
            scene.traffic.resume()
            await asyncio.sleep(scene.rng.uniform(0.2, 0.8))
            if once:
                event = once.pop()
            else:
                scene.starts = _STARTS
                kills = [event for event in events if event in KILLS]
                event = scene.rng.choice(kills if kills and scene.rng.random() < _KILLS_AMONG_EVENTS else events)
            summary.events[event.__name__] += 1
            scene.traffic.is_disturbed = True
            try:
                await event(scene)
                await scene.installation.until("Healthy")
            finally:
                await scene.traffic.pause()
                scene.traffic.is_disturbed = False
            await scene.installation.until("Healthy")  # a fault such as the end of a node may be noticed late
            summary.compared += await check_holdings(scene.installation, scene.ledger)
            await scene.consumer.catch_up()
            summary.checks += 1
        await scene.installation.audit()
        await asyncio.to_thread(scene.installation.stop)
