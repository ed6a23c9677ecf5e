"""`python -m bench.index.concurrent_writers`: processes that store in one PostgreSQL, each in its own study.

A proxy between the writers and the server (`delaying_proxy`) delays every commit by some milliseconds, also that of a
single writer. The index entries are those of `bench.index.data`, without blobs. Each process assigns numbers to entries
of the change feed as a core does.
"""

import asyncio
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Annotated, Self

import typer
from sqlalchemy import make_url

from bench.index.data import instances_of, study_facts
from server.adapters.sql import engine
from server.domain.sequencer import Sequencer
from server.model.ids import InstanceId, Uid
from server.model.instance import Added, NewInstance

app = typer.Typer(add_completion=False)

_WARM_UP = 20

_FORKED = multiprocessing.get_context("forkserver")
"""Forks from a process without threads. In the tests it has imported the index, which takes half a second."""


@contextmanager
def delayed(url: str, milliseconds: float) -> Iterator[str]:
    """Yield the URL of a database with delayed commits; `url` has a Unix socket as its host."""
    parsed = make_url(url)
    socket_path = Path(str(parsed.query["host"])) / f".s.PGSQL.{parsed.port or 5432}"
    command = [sys.executable, "-m", "bench.index.delaying_proxy", str(socket_path), str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            port = int(proxy.stdout.readline())
            yield parsed.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
        finally:
            proxy.terminate()


def _instances(writer: int) -> Iterator[NewInstance]:
    """Generate instances of one study."""
    (first, *_) = instances_of(study_facts(writer * 1_000_003 + 1))
    number = 0
    while True:
        number += 1
        id_ = InstanceId(first.id.partition, first.id.study, first.id.series, Uid(f"{first.id.series}.9.{number}"))
        yield replace(first, id=id_, locator=f"{writer}-{number}")


async def _write(url: str, writer: int, connection: Connection) -> None:
    """For each number of seconds received, store instances one by one; send their number and the time."""
    database = engine.open_database(url)
    instances = _instances(writer)
    sequencer = Sequencer(database.changes)
    sequencing = asyncio.create_task(sequencer.run())

    async def add() -> None:
        (outcome,) = await database.instances.add([next(instances)], datetime.now(UTC))
        sequencer.stored()
        if not isinstance(outcome, Added):
            raise AssertionError(outcome)

    for _ in range(_WARM_UP):
        await add()
    connection.send("ready")
    with suppress(EOFError):
        while seconds := await asyncio.to_thread(connection.recv):
            start, cpu, count = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() < start + seconds:
                await add()
                count += 1
            spent = time.perf_counter() - start
            connection.send({"count": count, "seconds": spent, "cpu": time.process_time() - cpu})
    sequencing.cancel()
    await asyncio.gather(sequencing, return_exceptions=True)
    await database.close()


def _run(url: str, writer: int, connection: Connection) -> None:
    """Run one writer."""
    with connection:
        asyncio.run(_write(url, writer, connection))


class Writers:
    """Processes that store in an empty database, each in its own study."""

    def __init__(self, url: str, count: int) -> None:
        self._connections: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for number in range(count):
            connection, its = multiprocessing.Pipe()
            with its:
                process = _FORKED.Process(target=_run, args=(url, number, its), daemon=True)
                process.start()
            self._connections.append(connection)
            self._processes.append(process)

    def __enter__(self) -> Self:
        try:
            for connection in self._connections:
                connection.recv()  # raises EOFError if the writer has failed
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join()
            process.close()

    def measure(self, writers: int, seconds: float) -> dict[str, float]:
        """Return the throughput of some of the writers together, in instances per second, and the CPU time of each
        instance."""
        chosen = self._connections[:writers]
        for connection in chosen:
            connection.send(seconds)
        results = [connection.recv() for connection in chosen]
        count = sum(result["count"] for result in results)
        return {
            "per_second": round(sum(result["count"] / result["seconds"] for result in results), 1),
            "cpu_ms": round(sum(result["cpu"] for result in results) / count * 1000, 3),
        }


@app.command()
def main(
    database: Annotated[str, typer.Option(help="SQLAlchemy URL of an empty PostgreSQL, by its Unix socket.")],
    writers: Annotated[int, typer.Option(help="Processes that write at the same time.")] = 8,
    seconds: Annotated[float, typer.Option(help="Time of each measurement.")] = 5.0,
    delay: Annotated[float, typer.Option(help="Milliseconds that each commit takes longer.")] = 5.0,
    rounds: Annotated[int, typer.Option(help="Repetitions; the best of each number of writers counts.")] = 3,
) -> None:
    """Measure one writer and several, alternately."""
    engine.migrate(database)
    best: dict[int, float] = {}
    with delayed(database, delay) as url, Writers(url, writers) as processes:
        for _ in range(rounds):
            for count in (1, writers):
                row = processes.measure(count, seconds)
                best[count] = max(best.get(count, 0), row["per_second"])
                typer.echo(json.dumps({"writers": count, **row}))
    typer.echo(f"{writers} writers: {best[writers] / best[1]:.1f} times one")


if __name__ == "__main__":
    app()
