"""`python -m bench.http_writers`: nodes that store over HTTP into one PostgreSQL, each as on a machine of its own.

As `bench.index.concurrent_writers`, from end to end: each node has a data directory of its own, all share the blobs,
and every transaction that stores takes longer. Each writer is a client that stores instances of one study, one in a
request, one after the other; the writers use the nodes in turn. One writer and all writers are measured in turns. With
all nodes on one machine, its processors are the limit; the processor time of an instance says how many it would need,
and how many times one writer these would allow if they did nothing else and never waited.

PostgreSQL itself delays transactions, by a deferred trigger that sleeps at their end: a proxy would need as much
processor time as the server. Each transaction sleeps once, whether it is alone or not and whatever it stores, as with a
slow disk or replica.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated
from urllib.parse import urlsplit

import psycopg
import typer

from bench.archive import cpu_seconds
from bench.client import Connection, request
from server.adapters.sql.engine import migrate
from tests.data import new_uid, part10
from tests.e2e.nodes import Node

app = typer.Typer(add_completion=False)

_MARKER = "1.2.3.4.5." + "9" * 20
_HEAD = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}


@contextmanager
def slow_transactions(database: str, milliseconds: float) -> Iterator[int]:
    """Let each transaction that stores an instance take longer; return the process id of the server."""
    with psycopg.connect(database.replace("postgresql+psycopg:", "postgresql:"), autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION bench_sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF current_setting('bench.slept', true) IS DISTINCT FROM pg_current_xact_id()::text THEN"
            "  PERFORM set_config('bench.slept', pg_current_xact_id()::text, true);"
            f"  PERFORM pg_sleep({milliseconds / 1000:f});"
            " END IF; RETURN NULL; END $$".encode()
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER bench_sleep AFTER INSERT ON instances DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION bench_sleep()"
        )
        try:
            yield _parent(connection.info.backend_pid)
        finally:
            connection.execute("DROP FUNCTION bench_sleep CASCADE")


@app.command()
def main(
    database: Annotated[str, typer.Option(help="URL of an empty PostgreSQL database of this machine.")],
    nodes: int = 8,
    writers: int = 8,
    delay: Annotated[float, typer.Option(help="Milliseconds by which each transaction takes longer.")] = 5,
    rounds: int = 7,
    seconds: float = 1,
) -> None:
    """Print the instances that one and all writers store per second, their ratio, processor time, and its limit."""
    migrate(database)
    with slow_transactions(database, delay) as server, tempfile.TemporaryDirectory() as directory:
        all_nodes = [Node(Path(directory), f"node-{number}", database) for number in range(nodes)]
        try:
            with ThreadPoolExecutor(nodes) as starting:
                list(starting.map(Node.start, all_nodes))
            used_by = [all_nodes[number % nodes] for number in range(writers)]
            _store_all(used_by, seconds)  # everything has been used once
            ones, alls = zip(
                *((_store_all(used_by[:1], seconds), _store_all(used_by, seconds)) for _ in range(rounds)),
                strict=True,
            )
            used, stored = _cpu_of_all(all_nodes, server), _store_all(used_by, 3 * seconds)
            cpu = {name: (value - used[name]) * 1000 for name, value in _cpu_of_all(all_nodes, server).items()}
        finally:
            for node in all_nodes:
                node.stop()
    one, all_ = (median(count / spent for count, spent in rates) for rates in (ones, alls))
    load = os.getloadavg()[0]
    print(f"one writer {one:.0f}/s, {writers} on {nodes} nodes {all_:.0f}/s, {all_ / one:.1f} times; load {load:.0f}")
    print("CPU of an instance, ms:", ", ".join(f"{name} {value / stored[0]:.2f}" for name, value in cpu.items()))
    processors, each = len(os.sched_getaffinity(0)), sum(cpu.values()) / stored[0]
    print(f"{processors} processors allow {processors * 1000 / each / one:.1f} times one writer")


def _store_all(nodes: Sequence[Node], seconds: float) -> tuple[int, float]:
    """Store by one client of each node at the same time; return the number of instances and the time."""
    start = time.perf_counter()
    with ThreadPoolExecutor(len(nodes)) as clients:
        count = sum(clients.map(lambda node: _store(urlsplit(node.http).port or 80, start + seconds), nodes))
    return count, time.perf_counter() - start


def _store(port: int, end: float) -> int:
    """Store instances of one study until `end`; return their number."""
    body = part10(StudyInstanceUID=new_uid(), SeriesInstanceUID=new_uid(), SOPInstanceUID=_MARKER)
    head = request("POST", "/v2/studies", _HEAD, len(body))
    count = 0
    with Connection(port) as connection:
        while time.perf_counter() < end:
            uid = f"1.2.3.4.5.{10**19 + count}"
            answer = connection.exchange([head + body.replace(_MARKER.encode(), uid.encode())])
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {answer.head.decode()}")
            count += 1
    return count


def _cpu_of_all(nodes: Sequence[Node], server: int) -> dict[str, float]:
    """Return the processor time so far, in seconds."""
    return {
        "nodes": sum(cpu_seconds(node.pid) for node in nodes),
        "PostgreSQL": sum(
            cpu_seconds(int(path.name)) for path in Path("/proc").glob("[0-9]*") if _parent(path) == server
        ),
        "clients": time.process_time(),
    }


def _parent(process: int | Path) -> int:
    """Return the process id of the parent of a process; 0 if it has ended."""
    try:
        return int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    app()
