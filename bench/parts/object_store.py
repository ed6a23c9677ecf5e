"""`python -m bench.parts.object_store`: an archive with its blobs in a bucket beside one with local files.

Each call of the object store takes longer by a delay, in the archive itself (`delayed_calls`) or, with `--proxy`, by a
proxy before the S3 server. Both archives are measured in turn, several times; the ratios of their medians say more than
the rates, because the client, both archives, the S3 server and the proxy share the machine. The proxy takes as much of
it as the S3 server. With `--apart` the S3 server has one processor, and client and archive another one, as if the
bucket were on another machine.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from bench import web
from bench.archive import Archive, running_archive
from bench.parts.delayed_calls import sitecustomize as delayed_calls
from bench.sets import SERIES, Sets, store
from bench.workloads import WORKLOADS, Request, Workload, get_study
from tests.object_store import running_moto, running_versitygw

_MEASURED = ("stow_small_batch", "stow_small_1", "stow_ct_batch")
_CACHED = ("frame_1", "frames_wsi", "wado_instance")


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Workloads to measure; all by default.")] = None,
    delay_ms: Annotated[float, typer.Option(help="Added to each request to the bucket.")] = 20,
    seconds: Annotated[float, typer.Option(help="Duration of each measurement.")] = 3,
    rounds: Annotated[int, typer.Option(help="Number of measurements of each archive.")] = 3,
    scale: Annotated[float, typer.Option(help="Size of the data; 1 is 7,005 instances, 1.3 GB.")] = 0.2,
    server: Annotated[str, typer.Option(help="versitygw (`make clients`) or moto.")] = "versitygw",
    proxy: Annotated[bool, typer.Option("--proxy", help="Delay by a proxy.")] = False,
    cold: Annotated[bool, typer.Option("--cold", help="Local studies are not in the page cache either.")] = False,
    apart: Annotated[bool, typer.Option("--apart", help="One processor for the server, one for the rest.")] = False,
) -> None:
    """Measure storing, retrieval of studies that are not cached, and frames that are."""
    size = Sets(scale)

    def is_chosen(name: str) -> bool:
        return not names or name in names

    first, *others = sorted(os.sched_getaffinity(0))
    with (
        _on([first] if apart else [first, *others]),
        (running_versitygw if server == "versitygw" else running_moto)() as s3,
        _on(others[:1] if apart else [first, *others]),
        _delayed(s3.endpoint, delay_ms, proxy=proxy) as delay,
    ):
        settings = {**s3.environment, **delay, "DICOMSTORE_BLOBS": s3.bucket()}
        with running_archive() as local, running_archive(None, tls=False, **settings) as remote:
            for archive in (local, remote):
                store(archive.core, "", size.instances())
            typer.echo(f"{'workload':28} {'unit':10} {'local/s':>9} {'bucket/s':>9} {'ratio':>6} {'CPU ms/unit':>13}")
            for name in filter(is_chosen, _MEASURED):
                _compare(_named(name), local, remote, size, seconds, rounds)
            study = Workload("wado_study", "instances", 1, _studies_once)
            if is_chosen(study.name):
                _compare(study, local, remote, size, 600, rounds, before=partial(_empty_caches, local, remote, cold))
            for name in filter(is_chosen, _CACHED):
                workload = _named(name)
                web.measure(workload, remote, size, seconds)  # fills the cache
                _compare(workload, local, remote, size, seconds, rounds)


@contextmanager
def _on(processors: Sequence[int]) -> Iterator[None]:
    """Use these processors, also for the programs that are started meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _delayed(server: str, delay_ms: float, *, proxy: bool) -> Iterator[Mapping[str, str]]:
    """Return the variables of an archive whose calls of an S3 server are delayed."""
    if not proxy:
        path = os.pathsep.join([str(Path(delayed_calls.__file__).parent), os.environ.get("PYTHONPATH", "")])
        yield {delayed_calls.VARIABLE: str(delay_ms), "PYTHONPATH": path}
        return
    port = server.rpartition(":")[2]
    command = [sys.executable, "-m", "bench.parts.delaying_proxy", port, str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        try:
            yield {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(started.stdout.readline())}"}
        finally:
            started.terminate()


def _named(name: str) -> Workload:
    return next(one for one in WORKLOADS if one.name == name)


def _studies_once(_: Archive, size: Sets) -> Iterator[Request]:
    return (get_study(study, len(SERIES) * len(size.slices)) for study in size.ct_studies)


def _compare(
    workload: Workload,
    local: Archive,
    remote: Archive,
    size: Sets,
    seconds: float,
    rounds: int,
    before: Callable[[], None] = lambda: None,
) -> None:
    rates: dict[int, list[float]] = {0: [], 1: []}
    cpu_ms: dict[int, list[float]] = {0: [], 1: []}
    for number in range(2 * rounds):
        before()
        row = web.measure(workload, (local, remote)[number % 2], size, seconds)
        rates[number % 2].append(float(str(row["per_s"])))
        cpu_ms[number % 2].append(float(str(row["cpu_ms_per_unit"])))
    one, other = median(rates[0]), median(rates[1])
    typer.echo(
        f"{workload.name:28} {workload.unit:10} {one:9.1f} {other:9.1f} {other / one:6.2f}"
        f" {median(cpu_ms[0]):6.2f} {median(cpu_ms[1]):6.2f}"
    )


def _empty_caches(local: Archive, remote: Archive, cold: bool) -> None:
    """Set the cache aside. Files that were deleted a moment ago make new ones several times as expensive (ext4).

    cold: local files leave the page cache as well.
    """
    with suppress(FileNotFoundError):
        (remote.data / "blob-cache").rename(remote.data / f"blob-cache-{uuid.uuid4().hex}")
    if cold:
        for path in (local.data / "segments").rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    typer.run(main)
