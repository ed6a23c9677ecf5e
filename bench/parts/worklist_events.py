"""`python -m bench.parts.worklist_events`: event channels of many subscribers, and a node that is killed.

Each workitem has some subscribers, each with an event channel of its own. Workitems are updated at a constant rate;
each update has a number in its progress description, which the report has as well. The time of a delivery is from the
request of an update to the report in the client, so it includes the update. Then the node is killed (SIGKILL) and
restarted by its supervisor while updates go on. In the end each subscriber must have each update that was confirmed.
"""

import asyncio
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from bench.archive import Archive, running_archive
from bench.figures import Row, percentile_ms, table, write_rows
from bench.rpc.scenarios import WORKITEM

app = typer.Typer(add_completion=False)

_COLUMNS = {
    "subscribers": "subscribers",
    "events_per_s": "updates per s",
    "deliveries_per_s": "deliveries per s",
    "p50_ms": "delivery p50, ms",
    "p99_ms": "delivery p99, ms",
    "update_p50_ms": "update p50, ms",
    "cpu_percent": "CPU of the archive, %",
    "client_cpu_percent": "CPU of the clients, %",
    "node_mb": "node without channels, MB",
    "peak_mb": "node at most, MB",
    "kb_per_channel": "per channel, KB",
    "outage_s": "from the kill to the next delivery, s",
    "again": "delivered again",
    "missing": "missing",
}
_PROGRESS, _PROGRESS_TEXT = "00741002", "00741006"
_WRITERS = 32
_DRAIN_SECONDS = 60.0
_RETRY_SECONDS = 0.2
_IN_FLIGHT_SECONDS = 0.1
"""Time in which reports that were sent before the kill are read."""
_LIMIT = "20000"
_SETTINGS = {
    "DICOMSTORE_MAX_CLIENT_CONNECTIONS": _LIMIT,
    "DICOMSTORE_MAX_EVENT_STREAMS": _LIMIT,
    "DICOMSTORE_MAX_EVENT_CHANNELS": _LIMIT,
}


@dataclass(slots=True)
class Ledger:
    """What was sent and received.

    sent: by number of an update, when it was requested, and the number of its workitem.
    confirmed: numbers of the updates that were answered with success.
    received: by subscriber, the numbers of the reports.
    delays: times of deliveries.
    update_times: times of confirmed updates.
    again: number of reports that a subscriber had already.
    arrived: set when a new report is recorded.
    """

    sent: dict[int, tuple[float, int]] = field(default_factory=dict)
    confirmed: list[int] = field(default_factory=list)
    received: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    delays: list[float] = field(default_factory=list)
    update_times: list[float] = field(default_factory=list)
    again: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, subscriber: int, number: int) -> None:
        """Record a report."""
        if number in self.received[subscriber]:
            self.again += 1
            return
        self.received[subscriber].add(number)
        self.delays.append(time.monotonic() - self.sent[number][0])
        self.arrived.set()

    def missing(self, recipients: int) -> int:
        """Return the number of reports of confirmed updates that a subscriber does not have."""
        return sum(
            number not in self.received[subscriber]
            for number in self.confirmed
            for subscriber in _subscribers_of(self.sent[number][1], recipients)
        )


class Client:
    """A connection for requests, which is opened again after an error."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, content: Any = None) -> int:
        """Send a request; return the status of its response. Raises: OSError, IncompleteReadError."""
        body = b"" if content is None else json.dumps(content).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom+json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = answer.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            raise
        return int(answer.split()[1])

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@app.command()
def main(
    subscribers: Annotated[int, typer.Option(help="Number of subscribers.")] = 1000,
    rate: Annotated[int, typer.Option(help="Updates per second.")] = 200,
    recipients: Annotated[int, typer.Option(help="Subscribers of each workitem.")] = 5,
    seconds: Annotated[float, typer.Option(help="Duration before the kill, and again after it.")] = 20.0,
    output: Annotated[Path | None, typer.Option(help="Also write the row to this file, as JSON lines.")] = None,
) -> None:
    """Measure deliveries, memory, and what a kill loses."""
    with running_archive(1, tls=False, **_SETTINGS) as archive:
        row = asyncio.run(_measured(archive, subscribers, rate, recipients, seconds))
    for line in table([row], _COLUMNS):
        typer.echo(line)
    if output is not None:
        write_rows(output, [row])
    if row["missing"]:
        raise typer.Exit(1)


async def _measured(archive: Archive, subscribers: int, rate: int, recipients: int, seconds: float) -> Row:
    ledger, workitems = Ledger(), subscribers // recipients
    await _create(archive, workitems, recipients)
    archive.reset_peaks()
    before = _node_mb(archive)
    async with _channels(archive, ledger, workitems * recipients):
        connected = _node_mb(archive)
        cpu, client_cpu, began = archive.cpu_seconds(), time.process_time(), time.monotonic()
        await _update(archive, ledger, 0, workitems, rate, seconds)
        await _drained(ledger, recipients)
        elapsed = time.monotonic() - began
        cpu, client_cpu = archive.cpu_seconds() - cpu, time.process_time() - client_cpu
        delays, updates = sorted(ledger.delays), sorted(ledger.update_times)
        peak = max(size for name, size in archive.peaks() if name == "node")
        updating = asyncio.create_task(_update(archive, ledger, len(ledger.sent), workitems, rate, seconds))
        await asyncio.sleep(seconds / 2)
        [node] = archive.pids("node")
        killed = time.monotonic()
        os.kill(node, signal.SIGKILL)
        await asyncio.sleep(_IN_FLIGHT_SECONDS)
        ledger.arrived.clear()
        await ledger.arrived.wait()
        outage = time.monotonic() - killed
        await updating
        await _drained(ledger, recipients)
    return {
        "subscribers": workitems * recipients,
        "events_per_s": round(len(updates) / elapsed),
        "deliveries_per_s": round(len(delays) / elapsed),
        "p50_ms": percentile_ms(delays, 50),
        "p99_ms": percentile_ms(delays, 99),
        "update_p50_ms": percentile_ms(updates, 50),
        "cpu_percent": round(100 * cpu / elapsed),
        "client_cpu_percent": round(100 * client_cpu / elapsed),
        "node_mb": before,
        "peak_mb": peak,
        "kb_per_channel": round((connected - before) * 1e3 / subscribers),
        "outage_s": round(outage, 2),
        "again": ledger.again,
        "missing": ledger.missing(recipients),
    }


async def _create(archive: Archive, workitems: int, recipients: int) -> None:
    async def of_writer(first: int) -> None:
        client = Client(archive.http_port)
        for workitem in range(first, workitems, _WRITERS):
            await _require(client, 201, "POST", f"/v2/workitems?{_uid(workitem)}", [WORKITEM])
            for subscriber in _subscribers_of(workitem, recipients):
                path = f"/v2/workitems/{_uid(workitem)}/subscribers/{_title(subscriber)}"
                await _require(client, 201, "POST", path)
        client.close()

    await asyncio.gather(*map(of_writer, range(_WRITERS)))


async def _require(client: Client, status: int, *request: Any) -> None:
    if (found := await client.call(*request)) != status:
        raise RuntimeError(f"status {found} for {request[:2]}")


@asynccontextmanager
async def _channels(archive: Archive, ledger: Ledger, subscribers: int) -> AsyncIterator[None]:
    """Open all channels, and keep them open."""
    opened = asyncio.Semaphore(0)

    async def follow(subscriber: int) -> None:
        url = f"ws://127.0.0.1:{archive.http_port}/v2/subscribers/{_title(subscriber)}"
        is_first = True
        while True:
            with suppress(OSError, WebSocketException):
                async with connect(url, compression=None, proxy=None, ping_interval=None) as channel:
                    if is_first:
                        opened.release()
                        is_first = False
                    async for message in channel:
                        report = json.loads(message)
                        if report["00001002"]["Value"] == [3]:
                            [item] = report[_PROGRESS]["Value"]
                            ledger.take(subscriber, int(item[_PROGRESS_TEXT]["Value"][0]))
            await asyncio.sleep(_RETRY_SECONDS)

    following = [asyncio.create_task(follow(subscriber)) for subscriber in range(subscribers)]
    try:
        for _ in following:
            await opened.acquire()
        yield
    finally:
        for task in following:
            task.cancel()
        await asyncio.wait(following)


async def _update(archive: Archive, ledger: Ledger, first: int, workitems: int, rate: int, seconds: float) -> None:
    """Update workitems in turn at a rate. Updates of one workitem follow each other."""
    began, count = time.monotonic(), round(rate * seconds)

    async def of_writer(writer: int) -> None:
        client = Client(archive.http_port)
        for at in range(writer, count, _WRITERS):
            await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
            number, workitem = first + at, at % workitems
            item = {_PROGRESS_TEXT: {"vr": "ST", "Value": [str(number)]}}
            content = [{_PROGRESS: {"vr": "SQ", "Value": [item]}}]
            requested = time.monotonic()
            ledger.sent[number] = requested, workitem
            with suppress(OSError, asyncio.IncompleteReadError):
                if await client.call("POST", f"/v2/workitems/{_uid(workitem)}", content) == 200:
                    ledger.confirmed.append(number)
                    ledger.update_times.append(time.monotonic() - requested)
        client.close()

    await asyncio.gather(*map(of_writer, range(_WRITERS)))


async def _drained(ledger: Ledger, recipients: int) -> None:
    """Wait until nothing is missing, or nothing has arrived for a time."""
    with suppress(TimeoutError):
        while ledger.missing(recipients):
            ledger.arrived.clear()
            async with asyncio.timeout(_DRAIN_SECONDS):
                await ledger.arrived.wait()
            await asyncio.sleep(_RETRY_SECONDS)


def _node_mb(archive: Archive) -> float:
    return max(size for name, size in archive.sizes() if name == "node")


def _subscribers_of(workitem: int, recipients: int) -> range:
    return range(workitem * recipients, (workitem + 1) * recipients)


def _uid(workitem: int) -> str:
    return f"2.25.88.{workitem + 1}"


def _title(subscriber: int) -> str:
    return f"SUB{subscriber}"


if __name__ == "__main__":
    app()
