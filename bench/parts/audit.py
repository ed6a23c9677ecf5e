"""`python -m bench.parts.audit`: CPU time of the audit trail for each request.

The node measures the functions of its audit trail, see `bench.audited_node`. Each round ends when all of its records
and rows are written, so that they are counted with the requests that they belong to. The percentage is of the CPU time
of all processes of the archive; load of the machine makes both longer.

`python -m bench.parts.audit --switched` compares CPU time with and without the audit trail. The difference also
includes what the trail takes from the caches of the processor, but has a large error. One node runs, which records
calls or not, as `switched_node` says; each workload is measured with and without records in turn, in pairs, so that the
load of the machine affects both alike. It prints the median of their differences, and its standard error. After each
measurement the records are written once more, which takes as much CPU time as a hundred of them, so it needs some
thousand requests: 2 seconds for the fastest workloads.

`python -m bench.parts.audit --record` measures the CPU time of the records of one read and of one upload, in this
process: recording and encoding in the event loop, numbers, digest and writing in the thread. The record of an upload is
a row in the transaction of the index that stores the instance, so it is measured as the difference from such a
transaction without it.
"""

import asyncio
import gc
import json
import math
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from bench import web
from bench.archive import Archive, running_archive
from bench.figures import Row
from bench.index.data import instances_of, study_facts
from bench.sets import Sets, store
from bench.workloads import WORKLOADS, Workload
from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.adapters.sql import engine
from server.domain.audit.outbox import Outbox
from server.domain.audit.recorder import AuditRecorder, Source
from server.model.access import Action
from server.model.audit.call_audit import StoredItem
from server.model.audit.trail import AuditTrailSettings
from server.model.call import EVERYBODY, Call
from server.model.ids import Address, Uid, parse_address
from server.model.instance import NewInstance
from server.ports.index import InstanceIndex
from server.ports.outbox import OutboxChanges

_WRITING_SECONDS = 0.1
_WRITTEN_SECONDS = 1.3


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Workloads; all by default.")] = None,
    seconds: Annotated[float, typer.Option(help="Duration of each measurement in seconds.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=2, help="Number of measurements or pairs.")] = 5,
    scale: Annotated[float, typer.Option(help="Size of the data; 1 is 7,005 instances.")] = 0.05,
    record: Annotated[bool, typer.Option("--record", help="Measure only records.")] = False,
    switched: Annotated[bool, typer.Option("--switched", help="Compare with the same without it.")] = False,
) -> None:
    """Print a line for each workload."""
    if record:
        gc.collect()
        gc.freeze()  # as the programs do
        loop, thread = asyncio.run(_record_microseconds())
        typer.echo(f"{loop + thread:.1f} µs of CPU time for a read, {thread:.1f} of it in the thread that writes")
        with_records, without, difference = asyncio.run(_upload_microseconds())
        typer.echo(
            f"{difference:.1f} µs of CPU time for an upload; {with_records:.1f} µs with its rows in the index, "
            f"{without:.1f} µs for these alone"
        )
        return
    if switched:
        compare("bench.parts.switched_node", names, seconds, rounds, scale)
    else:
        _measure_steps(names, seconds, rounds, scale)


def _measure_steps(names: Sequence[str] | None, seconds: float, rounds: int, scale: float) -> None:
    size = Sets(scale)
    with tempfile.TemporaryDirectory() as folder:
        steps = Path(folder, "steps.json")
        with running_archive(None, tls=False, node="bench.audited_node", options=(), BENCH_STEPS=str(steps)) as archive:
            store(archive.core, "", size.instances())
            names_of_steps = list(_steps(archive, steps))
            columns = " | ".join(f"{name}, µs" for name in names_of_steps)
            typer.echo(f"| workload | µs a request | {columns} | together, µs | % | lowest to highest |")
            typer.echo(f"|---|{'--:|' * (len(names_of_steps) + 4)}")
            for workload in [one for one in WORKLOADS if not names or one.name in names]:
                found = [_round(workload, archive, size, seconds, steps) for _ in range(rounds + 1)][1:]
                typer.echo(_steps_line(workload.name, found))


def _round(
    workload: Workload, archive: Archive, size: Sets, seconds: float, steps: Path
) -> tuple[float, dict[str, float]]:
    """Return the CPU time per request, and that of each step, in microseconds."""
    requests_ = workload.requests(archive, size)  # may store what it needs, which is not measured
    _steps(archive, steps)
    row = web.measure(replace(workload, requests=lambda *_: requests_), archive, size, seconds)
    ended = archive.cpu_seconds()
    time.sleep(_WRITTEN_SECONDS)
    written = archive.cpu_seconds() - ended
    requests, cpu = row["requests"], row["cpu_ms_per_request"]
    assert isinstance(requests, int)
    assert isinstance(cpu, float)
    found = {name: nanoseconds / requests / 1e3 for name, nanoseconds in _steps(archive, steps).items()}
    return cpu * 1e3 + written / requests * 1e6, found


def _steps(archive: Archive, steps: Path) -> dict[str, float]:
    """Return the nanoseconds of each step since the last call."""
    steps.unlink(missing_ok=True)
    os.kill(archive.pid, signal.SIGUSR1)
    while not steps.exists():
        time.sleep(0.01)
    found: dict[str, float] = {}
    for name, (_, nanoseconds) in json.loads(steps.read_text()).items():
        step, _, _ = name.partition(":")
        found[step] = found.get(step, 0) + nanoseconds
    return found


def _steps_line(name: str, found: Sequence[tuple[float, dict[str, float]]]) -> str:
    cpu = statistics.median(cpu for cpu, _ in found)
    medians = [statistics.median(steps[step] for _, steps in found) for step in found[0][1]]
    together = statistics.median(sum(steps.values()) for _, steps in found)
    shares = sorted(sum(steps.values()) / cpu * 100 for cpu, steps in found)
    figures = " | ".join(f"{one:.1f}" for one in medians)
    return (
        f"| {name} | {cpu:.0f} | {figures} | {together:.1f} | {statistics.median(shares):.1f} | "
        f"{shares[0]:.1f} to {shares[-1]:.1f} |"
    )


def compare(
    node: str,
    names: Sequence[str] | None,
    seconds: float,
    rounds: int,
    scale: float,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print the CPU time of workloads with and without what a node switches on and off.

    Args:
        node: module of the node, which SIGUSR1 and SIGUSR2 switch on and off.
        names, seconds, rounds, scale: as options of `main`.
        variables: of its environment.
    """
    size = Sets(scale)
    chosen = [one for one in WORKLOADS if not names or one.name in names]
    with running_archive(None, tls=False, node=node, options=(), **variables) as archive:
        store(archive.core, "", size.instances())
        typer.echo(
            "| workload | µs a request without | median of differences, µs | % | error, % | ratio of the lowest |\n"
            "|---|--:|--:|--:|--:|--:|"
        )
        for workload in chosen:
            typer.echo(_line(workload.name, *_measured(workload, archive, size, seconds, rounds)))


def _line(name: str, on: list[float], off: list[float]) -> str:
    without, differences = statistics.median(off), [one - other for one, other in zip(on, off, strict=True)]
    median = statistics.median(differences)
    # Of a median of values that are distributed normally but for outliers.
    deviation = 1.4826 * statistics.median(abs(one - median) for one in differences)
    error = 1.2533 * deviation / math.sqrt(len(differences))
    return (
        f"| {name} | {without:.0f} | {median:.1f} | {median / without * 100:.1f} | {error / without * 100:.1f} | "
        f"{min(on) / min(off):.3f} |"
    )


def _measured(
    workload: Workload, archive: Archive, size: Sets, seconds: float, rounds: int
) -> tuple[list[float], list[float]]:
    """Return the CPU times per request with records, and without."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds + 1):
        for is_on in (True, False) if number % 2 else (False, True):
            _switch(archive, is_on)
            row: Row = web.measure(workload, archive, size, seconds)
            ended = archive.cpu_seconds()
            _switch(archive, is_on)
            written = archive.cpu_seconds() - ended  # what was pending
            requests, cpu = row["requests"], row["cpu_ms_per_request"]
            assert isinstance(requests, int)
            assert isinstance(cpu, float)
            if number:  # the first one fills caches
                found[is_on].append(cpu * 1e3 + written / requests * 1e6)
    return found[True], found[False]


def _switch(archive: Archive, is_on: bool) -> None:
    os.kill(archive.pid, signal.SIGUSR1 if is_on else signal.SIGUSR2)
    time.sleep(_WRITING_SECONDS)


async def _record_microseconds(reads: int = 50_000) -> tuple[float, float]:
    """Return the CPU time of a record in the event loop, and in the thread that writes."""
    uid = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
    address = parse_address("ward", f"{uid}.1", f"{uid}.2", f"{uid}.3")
    uri = f"http://127.0.0.1:8080/v2/studies/{uid}.1/series/{uid}.2/instances/{uid}.3/frames/1"
    with tempfile.TemporaryDirectory() as folder:
        settings = AuditTrailSettings(Path(folder, "key.pem"))
        began, loop_began = time.process_time(), time.thread_time()
        async with FileAuditTrail(Path(folder)).open(settings) as log:
            recorder = AuditRecorder(log)
            for number in range(reads):
                source = Source("inproc", "127.0.0.1", "GET", uri)
                audit = recorder.call("RetrieveService/RetrieveFrames", "read", source)
                call = Call("0123456789abcdef0123456789abcdef", EVERYBODY, None, audit)
                audit.accesses(call, address)
                await audit.complete(call, "OK", "")
                if number % 100 == 0:
                    await asyncio.sleep(0)
        loop = time.thread_time() - loop_began
        return loop / reads * 1e6, (time.process_time() - began - loop) / reads * 1e6


async def _upload_microseconds(uploads: int = 100, rounds: int = 15) -> tuple[float, float, float]:
    """Return the CPU time of an upload of one instance after another: index and records, index alone, records alone.

    The first two are the lowest of all rounds, which alternate; the third one is the median of the differences.
    """
    [first, *_] = instances_of(study_facts(1))
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        url = f"sqlite:///{folder}/index.db"
        engine.migrate(url)
        database = engine.open_database(url)
        trail = FileAuditTrail(Path(folder))
        async with trail.open(AuditTrailSettings(Path(folder, "key.pem"))) as log:
            with trail.process() as process:
                outbox = Outbox(log, trail, process)
                recorder = AuditRecorder(log, outbox=outbox)
                found: list[list[float]] = [[], []]
                for number in range(2 * rounds + 2):
                    began = time.process_time()
                    for one in range(uploads):
                        uid = Uid(f"{first.id.series}.{number}.{one}")
                        new = replace(first, id=replace(first.id, instance=uid), locator=f"{number}-{one}")
                        if number % 2:
                            await database.instances.add([new], datetime.now(UTC))
                        else:
                            await _recorded_upload(database.instances, new, outbox, recorder)
                    if number > 1:  # the first ones fill caches
                        found[number % 2].append((time.process_time() - began) / uploads * 1e6)
                await outbox.close(database.outbox)
        await database.close()
    differences = [on - off for on, off in zip(*found, strict=True)]
    return min(found[0]), min(found[1]), statistics.median(differences)


async def _recorded_upload(index: InstanceIndex, new: NewInstance, outbox: Outbox, recorder: AuditRecorder) -> None:
    source = Source("inproc", "127.0.0.1", "POST", "http://127.0.0.1:8080/v2/studies")
    audit = recorder.call("StoreService/StoreInstances", "write", source)
    call = Call("0123456789abcdef0123456789abcdef", EVERYBODY, None, audit)
    audit.accesses(call, Address(new.id.partition))
    audit.begin(call, Action.WRITE, uses_outbox=True)
    await audit.begun()
    id_ = new.id
    item = StoredItem(id_.study, id_.series, id_.instance, new.sop_class_uid, "stored", new.size_bytes)
    made: list[OutboxChanges] = []

    def records_of(_: object) -> OutboxChanges:
        made.append(outbox.changes([(audit, item)]))
        return made[-1]

    await index.add([new], datetime.now(UTC), records_of)
    outbox.committed(made[-1])
    await audit.stored(call, [item])
    await audit.complete(call, "OK", "")


if __name__ == "__main__":
    typer.run(main)
