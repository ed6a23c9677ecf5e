"""The faults: each is a coroutine that returns when the fault is over. Clients continue unless it pauses them."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.torture.checks import Consumer, check_holdings, check_read_only
from tests.torture.databases import Postgres, Sqlite
from tests.torture.installation import RECOVERY_SECONDS, Installation
from tests.torture.ledger import Ledger, State, Violation
from tests.torture.traffic import Traffic

FULL_BYTES = 200_000
FROZEN_SECONDS = 7
"""Long enough for health to say so, which it must within 5 s."""


@dataclass
class Scene:
    """The participants of a run."""

    installation: Installation
    database: Sqlite | Postgres
    ledger: Ledger
    traffic: Traffic
    consumer: Consumer
    rng: random.Random
    starts: tuple[int, ...] = (2,)
    """How often in a row it may be killed while it starts."""

    async def at_rest(self) -> None:
        """Pause the clients and let the consumer of the change feed catch up, without any fault in effect."""
        await self.traffic.pause()
        await self.installation.until("Healthy")
        await self.consumer.catch_up()


async def kill_all(scene: Scene) -> None:
    """`kill -9` of every process at a random moment."""
    scene.installation.kill_all()
    scene.installation.start()


async def kill_node(scene: Scene) -> None:
    """`kill -9` of one node."""
    await scene.installation.kill_one("node", scene.rng)


async def kill_worker(scene: Scene) -> None:
    """Start an operation, and `kill -9` the worker that was started for it."""
    async with httpx.AsyncClient(base_url=scene.installation.url, timeout=90) as http:
        await http.delete("/v2/extendedquerytags/StationName")
        await http.post("/v2/extendedquerytags", json=[{"path": "StationName", "level": "series"}])
    with contextlib.suppress(TimeoutError):  # another event may have ended what would start it
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not scene.installation.processes("server work"):  # noqa: ASYNC110 - nothing tells of a new process
                await asyncio.sleep(0.05)
    await scene.installation.kill_one("server work", scene.rng)


async def kill_supervisor(scene: Scene) -> None:
    """`kill -9` of `dicomstore up` itself; its child processes must end, too."""
    scene.installation.kill_supervisor()
    scene.installation.start()


async def kill_while_starting(scene: Scene) -> None:
    """`kill -9` of all processes during their start, several times in a row."""
    scene.installation.kill_all()
    for _ in range(scene.rng.choice(scene.starts)):
        scene.installation.start()
        await asyncio.sleep(scene.rng.uniform(0.2, 2.5))
        scene.installation.kill_all()
    scene.installation.start()


async def stop_and_start(scene: Scene) -> None:
    """SIGTERM while clients work."""
    await asyncio.to_thread(scene.installation.stop)
    scene.installation.start()


async def memory(scene: Scene) -> None:
    """Render large images, and kill the workers as the kernel does when memory is short."""
    async with httpx.AsyncClient(base_url=scene.installation.url, timeout=90) as http:
        large = [one for one in scene.ledger.stored if one.size > 100_000][:16]
        pictures = asyncio.gather(
            *(http.get(f"{one.path}/rendered", headers={"Accept": "*/*"}) for one in large), return_exceptions=True
        )
        for _ in range(5):
            await asyncio.sleep(0.2)
            for process in scene.installation.processes("adapters.workers.process"):
                scene.installation.kill(process)
        for answer in await pictures:
            if isinstance(answer, BaseException) or answer.status_code not in (
                200,
                404,
                503,
            ):  # 404: deleted in between
                raise Violation(f"/rendered is answered {answer}")


async def full_disk(scene: Scene) -> None:
    """No file can grow. Reads continue: the archive is degraded, not down."""
    scene.installation.limit_files(FULL_BYTES)
    try:
        await asyncio.sleep(scene.rng.uniform(1, 3))
        if instance := scene.ledger.pick(State.STORED):
            async with httpx.AsyncClient(base_url=scene.installation.url, timeout=90) as http:
                answer = await http.get(instance.path)
            if answer.status_code != 200 and instance.state is State.STORED:
                raise Violation(f"reading is {answer.status_code} while the disk is full")
    finally:
        scene.installation.limit_files(-1)


async def outage(scene: Scene) -> None:
    """The database is shut down (on SQLite: locked by another process) and becomes available again."""
    await scene.database.outage(scene.rng.uniform(1, 4))


async def frozen_database(scene: Scene) -> None:
    """The database does not respond; health must report it within 5 s."""
    assert isinstance(scene.database, Postgres)
    freezing = asyncio.create_task(scene.database.freeze(FROZEN_SECONDS))
    await asyncio.sleep(FROZEN_SECONDS - 1.5)
    async with httpx.AsyncClient(base_url=scene.installation.url, timeout=5) as http:
        status = (await http.get("/health/check")).status_code
    await freezing
    if status != 503:
        raise Violation(f"health is {status} while the database is frozen")


async def damaged_blob(scene: Scene) -> None:
    """Change a stored byte on disk. It must be reported, must not affect other instances, and can be repaired."""
    await scene.at_rest()
    instance = scene.rng.choice(scene.ledger.stored or [scene.ledger.new()])
    if instance.state is not State.STORED:
        await scene.traffic.store([instance])
    body = instance.body()
    where = len(body) - instance.size + scene.rng.randrange(instance.size)
    if not await asyncio.to_thread(_flip, scene.installation.data, body, where):
        raise Violation(f"{instance.path} is nowhere on disk")
    instance.is_damaged = True
    # The first reader may detect the damage during its response; later readers are refused at once.
    async with httpx.AsyncClient(base_url=scene.installation.url, timeout=90) as http:
        try:
            answer = await http.get(instance.path)
            if answer.status_code == 200:
                raise Violation(f"{instance.path} is damaged and is answered 200")
        except httpx.RemoteProtocolError:
            pass
    await check_holdings(scene.installation, scene.ledger)
    await scene.traffic.delete(instance)
    await scene.consumer.catch_up()
    scene.ledger.instances[instance.uid] = instance
    instance.state, instance.is_damaged = State.MAY_BE_STORED, False
    await scene.traffic.store([instance])


async def damaged_log(scene: Scene) -> None:
    """Change a byte of SQLite's write-ahead log while stopped; lost rows are recovered from the blobs."""
    await scene.at_rest()
    scene.installation.kill_all()
    log = scene.installation.data / "index.db-wal"
    if log.exists() and (content := bytearray(log.read_bytes())):
        content[scene.rng.randrange(len(content))] ^= 0xFF
        log.write_bytes(content)
    await scene.installation.recover()
    scene.consumer.begins_anew()
    scene.installation.start()


async def damaged_index(scene: Scene) -> None:
    """Overwrite the SQLite file: the start is refused, then the index is rebuilt."""
    await scene.at_rest()
    scene.installation.kill_all()
    (scene.installation.data / "index.db").write_bytes(b"not a database" * 1000)
    await scene.installation.is_refused("not an SQLite database")
    scene.database.lose()
    await scene.installation.recover()
    scene.consumer.begins_anew()
    scene.installation.start()


async def lost_index(scene: Scene) -> None:
    """Remove or empty the index: the start is refused, then the index is rebuilt."""
    await scene.at_rest()
    scene.installation.kill_all()
    scene.database.lose()
    await scene.installation.is_refused("dicomstore recover")
    await scene.installation.recover()
    scene.consumer.begins_anew()
    scene.installation.start()


async def older_index(scene: Scene) -> None:
    """Replace the index by an older copy: read-only. Then restore the right one, or complete the copy."""
    await scene.at_rest()
    is_postgres = isinstance(scene.database, Postgres)
    if is_postgres:
        await asyncio.to_thread(scene.installation.stop)
    scene.database.copy()
    if is_postgres:
        scene.installation.start()
        await scene.installation.until("Healthy")
    known = {instance.uid for instance in scene.ledger.stored}
    scene.traffic.resume()
    await asyncio.sleep(1)
    await scene.at_rest()
    await scene.traffic.store([scene.ledger.new()])  # so that the copy is certainly older
    await scene.consumer.catch_up()
    scene.installation.kill_all()
    scene.database.use_copy()
    scene.installation.start()
    await scene.installation.until("Degraded", may_restart=False)
    await check_read_only(scene.installation, [one for one in scene.ledger.stored if one.uid in known])
    await asyncio.to_thread(scene.installation.stop)
    if scene.rng.random() < 0.5:
        scene.database.use_right()
    else:
        await scene.installation.recover()
        scene.database.keep()
        scene.consumer.begins_anew()
    scene.installation.start()


Event = Callable[[Scene], Awaitable[None]]

KILLS: list[Event] = [kill_all, kill_node, kill_worker, kill_supervisor, kill_while_starting]
OTHERS: list[Event] = [stop_and_start, memory, full_disk, outage, damaged_blob, lost_index, older_index]
OF_SQLITE: list[Event] = [damaged_log, damaged_index]
OF_POSTGRES: list[Event] = [frozen_database]


def events_for(kind: str) -> list[Event]:
    """Return one event of each kind that applies to a database."""
    return KILLS + OTHERS + (OF_SQLITE if kind == "sqlite" else OF_POSTGRES)


def _flip(folder: Path, body: bytes, where: int) -> int:
    """Change a byte of each copy of a blob; return the number of copies."""
    flipped = 0
    for path in [*folder.glob("blobs/**/*"), *folder.glob("segments/**/*")]:
        if path.is_file() and path.stat().st_size >= len(body) and (at := path.read_bytes().find(body)) >= 0:
            with open(path, "r+b") as file:
                file.seek(at + where)
                file.write(bytes([body[where] ^ 0xFF]))
            flipped += 1
    return flipped
