"""`python -m tests.object_torture`: blobs in a bucket behind a proxy that breaks requests; fails if one was wrong.

Many tasks write, read and delete blobs. An operation may fail with STORAGE_UNAVAILABLE; then nothing must have
been acknowledged. What is read must be what was written. At the end, without faults, exactly the acknowledged blobs
exist.
"""

import asyncio
import ctypes
import gc
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import typer
from crc32c import crc32c as crc32c_of

from server.adapters.blobs.object_blobs.store import ObjectBlobs
from server.adapters.blobs.objects.client import ObjectClient
from server.model.errors import DataLoss, Unavailable
from tests.contract.blobs import RECEIPT, all_blobs, get
from tests.contract.test_object_blobs import opened
from tests.faulty_proxy import FaultyProxy, running_proxy
from tests.object_store import running_moto

_TASKS = 12
_MAX_BLOBS = 300


class Violation(Exception):
    """A guarantee was broken."""


@dataclass
class Run:
    """The state of a run: content of the acknowledged blobs as (seed, size), and what was counted."""

    blobs: dict[str, tuple[int, int]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    memory_kib: list[int] = field(default_factory=list)


async def torture(url: str, proxy: FaultyProxy, operations: int, *, rate: float, seed: int, cache: Path) -> Run:
    """Run so many operations with faults at a rate. Raises: Violation."""
    run = Run()
    choice = random.Random(seed)
    proxy.rate = rate
    left = iter(range(operations))
    async with AsyncExitStack() as stack:
        config = {"endpoint": proxy.endpoint}
        stores = []
        for number in range(2):  # as two processes
            client = ObjectClient(url, config=config, timeout_seconds=5)
            stores.append(await stack.enter_async_context(opened(client, cache / f"{number}", 20 << 20)))

        async def work() -> None:
            for number in left:
                if number % max(1, operations // 20) == 0:
                    run.memory_kib.append(_memory_kib())
                store = choice.choice(stores)
                try:
                    await _operation(run, store, choice, number)
                except Unavailable:
                    run.counts["unavailable"] += 1

        await asyncio.gather(*(work() for _ in range(_TASKS)))
        proxy.rate = 0
        await _check_end(run, stores)
    return run


async def _operation(run: Run, store: ObjectBlobs, choice: random.Random, number: int) -> None:
    free = sorted(run.blobs.keys() - run.busy)
    kind = choice.choices(["put", "read", "range", "delete"], [3, 4, 4, 2 if len(free) < _MAX_BLOBS else 8])[0]
    if kind == "put" or not free:
        size = (
            choice.choice([1, 3_000, 60_000, 300_000])
            if choice.random() < 0.95
            else choice.choice([1_500_000, 9_000_000])
        )
        body = _content(number, size)
        async with store.open_write(size) as writer:
            for start in range(0, size, 1 << 20):
                await writer.write(body[start : start + (1 << 20)])
            locator = await writer.commit(RECEIPT)
        run.blobs[locator] = number, size
        run.counts["put"] += 1
        await store.settle([locator])
        return
    locator = choice.choice(free)
    seed, size = run.blobs[locator]
    run.busy.add(locator)
    try:
        if kind == "delete":
            run.deleting.add(locator)
            await store.delete([locator])
            run.deleting.discard(locator)
            del run.blobs[locator]
        else:
            body = _content(seed, size)
            offset = choice.randrange(size) if kind == "range" else 0
            length = choice.randint(1, size - offset) if kind == "range" else size
            found = b"".join([piece async for piece in store.read(locator, offset, length, crc32c=crc32c_of(body))])
            if found != body[offset : offset + length]:
                raise Violation("wrong bytes were read")
        run.counts[kind] += 1
    except DataLoss as loss:
        if locator not in run.deleting:
            raise Violation(f"a stored blob is lost: {loss.reason}, {size} bytes, {kind}") from loss
    finally:
        run.busy.discard(locator)
        if locator in run.deleting:  # unknown whether it exists
            run.blobs.pop(locator, None)


async def _check_end(run: Run, stores: Sequence[ObjectBlobs]) -> None:
    for store in stores:
        await store.delete(sorted(run.deleting))
        async for _ in store.recover():
            raise Violation("blobs of a running process were handed out")
    if (found := await all_blobs(stores[0])) != {locator: size for locator, (_, size) in run.blobs.items()}:
        raise Violation(f"{len(found)} blobs exist, {len(run.blobs)} were acknowledged")
    for locator, (seed, size) in run.blobs.items():
        if await get(stores[0], locator) != _content(seed, size):
            raise Violation("a blob differs at the end")


def _content(seed: int, size: int) -> bytes:
    block = random.Random(seed).randbytes(min(size, 50_000))
    return (block * (size // len(block) + 1))[:size]


def _memory_kib() -> int:
    """Return the resident memory, without cycles and what the allocator keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


def main(operations: int = 10_000, rate: float = 0.1, seed: int = 1) -> None:
    """Break requests to moto's S3 server and print a summary."""
    cache = Path(tempfile.mkdtemp(prefix="dicomstore-torture-"))
    try:
        with running_moto() as server, running_proxy(server.endpoint) as proxy:
            os.environ.update(server.environment)
            run = asyncio.run(torture(server.bucket(), proxy, operations, rate=rate, seed=seed, cache=cache))
            typer.echo(f"{dict(run.counts)}, {proxy.requests} requests")
            typer.echo(", ".join(f"{count} {fault}" for fault, count in sorted(proxy.faults.items())))
            typer.echo(f"resident memory, MiB: {', '.join(str(kib // 1024) for kib in run.memory_kib)}")
    except Violation as violation:
        typer.echo(f"VIOLATED: {violation}", err=True)
        raise typer.Exit(1) from None
    finally:
        shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
