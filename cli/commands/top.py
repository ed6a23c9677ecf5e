"""`dicomstore top`: what the processes of an archive are doing, live."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import grpc
import typer
from dicomstore.v1 import metrics_service_pb2 as pb
from dicomstore.v1 import metrics_service_pb2_grpc
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, target
from cli.errors import NOT_EXECUTED, Failure, fail, run
from cli.output import data, in_bytes, problems, table
from cli.results.facade_metrics import read_metrics
from cli.results.figures import Reading, figures
from common.addresses import is_loopback

_MOST_ROWS = 12


def top(
    ctx: typer.Context,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two readings.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show the figures of one interval, and end.")] = False,
    as_json: JsonOption = False,
    facades: Annotated[
        list[str] | None,
        typer.Option(
            "--facade",
            metavar="URL",
            help="Base URL of a facade that runs in a process of its own; can be given several times.",
        ),
    ] = None,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show requests, latencies, stored instances, queues, caches, operations and processes, until Ctrl-C.

    The figures are those of the node that answers, see docs/observability.md. Requires the action `monitor`.
    """
    chosen = target(ctx, core, None, quiet)
    urls = [_checked(url, has_token=bool(chosen.token)) for url in facades or ()]
    run(_top(chosen, urls, interval, once=once, as_json=as_json), core=chosen.core, interrupted=0)


def _checked(url: str, *, has_token: bool) -> str:
    """Return a base URL without a slash at the end."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fail(Failure(f"{url!r} is not a URL of a facade", exit_code=NOT_EXECUTED))
    if has_token and parts.scheme == "http" and not is_loopback(f"{parts.hostname}:{parts.port or 80}"):
        problems.print(f"[yellow]warning:[/] the access token is sent to {escape(parts.netloc)} without encryption")
    return url.rstrip("/")


async def _top(chosen: Target, facades: Sequence[str], interval: float, *, once: bool, as_json: bool) -> int:
    async with chosen.channel() as channel:
        before = await _read(chosen, channel, facades)
        if as_json or once or not data.is_terminal:
            while True:
                await asyncio.sleep(interval)
                after = await _read(chosen, channel, facades)
                found = figures(before, after)
                data.print(json.dumps(found) if as_json else rendered(found), soft_wrap=as_json, markup=False)
                if once:
                    return 0
                before = after
        with Live(console=data, screen=True, auto_refresh=False) as live:
            live.update(Text("Reading…"), refresh=True)
            while True:
                await asyncio.sleep(interval)
                after = await _read(chosen, channel, facades)
                live.update(rendered(figures(before, after)), refresh=True)
                before = after


async def _read(chosen: Target, channel: grpc.aio.Channel, facades: Sequence[str]) -> Reading:
    stub = metrics_service_pb2_grpc.MetricsServiceStub(channel)
    answer = await stub.GetMetrics(pb.GetMetricsRequest(), metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    found = await asyncio.gather(*(asyncio.to_thread(read_metrics, url, chosen.token) for url in facades))
    return Reading(answer, time.monotonic(), [family for families in found for family in families])


def rendered(found: Mapping[str, Any]) -> RenderableType:
    """Return the figures as tables."""
    return Group(
        _head(found),
        _processes(found["processes"]),
        _durations("Calls", "rpc", found["calls"]),
        _durations("HTTP requests", "route", found["routes"]),
        _durations("DIMSE requests", "service", found["dimse"]["requests"]),
        _durations("Index, blobs and pixels", "", {**found["index"], **_named(found)}),
        _states(found),
    )


def _head(found: Mapping[str, Any]) -> Text:
    stored = found["stored"]
    instances = stored.get("stored_per_second", 0.0) + stored.get("replaced_per_second", 0.0)
    parts = [
        f"{found['requests_per_second']:.1f} requests/s",
        f"{found['calls_per_second']:.1f} calls/s",
        f"{instances:.1f} instances/s stored ({in_bytes(stored['bytes_per_second'])}/s)",
        *(f"{in_bytes(value)} free ({place})" for place, value in found["disk_free_bytes"].items()),
    ]
    text = Text("  ·  ".join(parts), style="bold")
    if found["unhealthy"]:
        text.append(f"\nnot healthy: {', '.join(found['unhealthy'])}", style="bold red")
    return text


def _processes(processes: Mapping[str, Mapping[str, float]]) -> Table:
    columns = ("Process", "CPU %", "Memory", "Threads", "Files", "Pixel workers", "CPU %", "Memory")
    shown = table("", *columns)
    for name, one in processes.items():
        shown.add_row(
            name,
            f"{one.get('cpu_percent', 0):.1f}",
            in_bytes(one.get("memory_bytes", 0)),
            f"{one.get('threads', 0):.0f}",
            f"{one.get('open_files', 0):.0f}",
            f"{one.get('children', 0):.0f}",
            f"{one.get('children_cpu_percent', 0):.1f}",
            in_bytes(one.get("children_memory_bytes", 0)),
        )
    return shown


def _durations(title: str, heading: str, found: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Return a table of the busiest entries; those that were not used in the interval are omitted."""
    used = [(name, one) for name, one in found.items() if one["per_second"]]
    if not used:
        return Text()
    shown = table("", title if not heading else f"{title}, by {heading}", "per second", "p50 ms", "p99 ms", "failed/s")
    for name, one in sorted(used, key=lambda item: -item[1]["per_second"])[:_MOST_ROWS]:
        failed = one.get("failed_per_second")
        cells = (f"{one['per_second']:.1f}", _number(one["p50_ms"]), _number(one["p99_ms"]))
        shown.add_row(name, *cells, f"{failed:.1f}" if failed else "")
    return shown


def _named(found: Mapping[str, Any]) -> dict[str, Any]:
    blobs = {f"blob {name}": one for name, one in found["blobs"].items()}
    objects = {f"object store {name}": one for name, one in found["objects"].items()}
    return {**blobs, **objects, **{f"pixel job {name}": one for name, one in found["pixel_jobs"].items()}}


def _states(found: Mapping[str, Any]) -> Text:
    queues = found["queues"]
    caches = (f"{name} {rate:.0%}" for name, rate in found["caches"].items() if rate is not None)
    operations = (f"{name}: {count:.0f}" for name, count in found["operations"].items())
    waiting = (
        f"{queues['uploads_waiting']:.0f} uploads",
        f"{queues['index_waiting']:.0f} transactions",
        f"{queues['pixel_jobs_waiting']:.0f} pixel jobs",
    )
    lines = [
        f"Waiting: {', '.join(waiting)}; {queues['calls_in_progress']:.0f} calls in progress, "
        f"{in_bytes(queues['ingest_memory_bytes'])} of received data in memory",
        f"Change feed: slowest consumer {queues['change_feed_lag']:.0f} entries behind; "
        f"webhooks: {_listed(f'{count:.0f} {name}' for name, count in queues['webhook_events'].items())}",
        f"Cache hits: {_listed(caches)}",
        f"Operations: {_listed(operations)}",
    ]
    dimse = found["dimse"]
    if dimse["associations"]:
        open_ones = (f"{count:.0f} as {role}" for role, count in dimse["associations"].items())
        rates = (
            f"{rate:.1f} {direction.removesuffix('_per_second')}/s ({in_bytes(dimse['bytes'].get(direction, 0))}/s)"
            for direction, rate in dimse["instances"].items()
        )
        transfers = (f"{count:.0f} {state}" for state, count in dimse["transfers"].items() if count)
        lines.append(
            f"DIMSE: associations {_listed(open_ones)}; instances {_listed(rates)}; transfers {_listed(transfers)}"
        )
        if dimse["problems"]:
            names = (name.removesuffix("_per_second") for name in dimse["problems"])
            lines.append(f"Associations not accepted: {_listed(names)}")
    if throttled := found["object_retries"].get("throttled_per_second"):
        lines.append(f"Object store: {throttled:.1f} requests/s throttled")
    return Text("\n".join(lines))


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts) or "none"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
