"""`python -m bench.http_writers`: nodes that store over HTTP into one PostgreSQL, each as on a machine of its own.

As `bench.index.concurrent_writers`, from end to end: each node has a data directory of its own, all share the blobs,
and a proxy delays every commit. One client of each node stores instances of one study, one in a request, one after the
other. One node and all nodes are measured in turns. With all nodes on one machine, its processors are the limit.
"""

import asyncio
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Annotated
from urllib.parse import urlsplit

import typer

from bench.index.concurrent_writers import delayed
from server.adapters.sql.engine import migrate
from tests.data import new_uid, part10
from tests.e2e.nodes import Node

app = typer.Typer(add_completion=False)

_MARKER = "1.2.3.4.5." + "9" * 20


@app.command()
def main(
    database: Annotated[str, typer.Option(help="URL of an empty PostgreSQL database, by its Unix socket.")],
    nodes: int = 8,
    delay: Annotated[float, typer.Option(help="Milliseconds by which each commit takes longer.")] = 5,
    rounds: int = 7,
    seconds: float = 1,
) -> None:
    """Print the instances that one node and all nodes store per second, and their ratio."""
    migrate(database)
    with delayed(database, delay) as url, tempfile.TemporaryDirectory() as directory:
        all_nodes = [Node(Path(directory), f"node-{number}", url) for number in range(nodes)]
        try:
            with ThreadPoolExecutor(nodes) as starting:
                list(starting.map(Node.start, all_nodes))
            asyncio.run(_stored_per_second(all_nodes, seconds))  # everything has been used once
            measured = [
                (
                    asyncio.run(_stored_per_second(all_nodes[:1], seconds)),
                    asyncio.run(_stored_per_second(all_nodes, seconds)),
                )
                for _ in range(rounds)
            ]
        finally:
            for node in all_nodes:
                node.stop()
    one, all_ = (median(rates) for rates in zip(*measured, strict=True))
    load = os.getloadavg()[0]
    print(f"one node {one:.0f}/s, {nodes} nodes {all_:.0f}/s, {all_ / one:.1f} times; load of the machine {load:.0f}")


async def _stored_per_second(nodes: list[Node], seconds: float) -> float:
    start = time.perf_counter()
    counts = await asyncio.gather(*(_store(urlsplit(node.http).netloc, start + seconds) for node in nodes))
    return sum(counts) / (time.perf_counter() - start)


async def _store(address: str, end: float) -> int:
    """Store instances of one study until `end`; return their number."""
    body = part10(StudyInstanceUID=new_uid(), SeriesInstanceUID=new_uid(), SOPInstanceUID=_MARKER)
    head = (
        f"POST /v2/studies HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/dicom\r\n"
        f"Accept: application/dicom+json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    count = 0
    while time.perf_counter() < end:
        uid = f"1.2.3.4.5.{10**19 + count}"
        writer.write(head + body.replace(_MARKER.encode(), uid.encode()))
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        (length,) = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length.partition(b":")[2]))
        count += 1
    writer.close()
    await writer.wait_closed()
    return count


if __name__ == "__main__":
    app()
