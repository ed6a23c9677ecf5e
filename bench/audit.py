"""`python -m bench.audit`: CPU time for each operation with the audit trail, compared with an archive without it.

Both archives run at the same time; each workload is measured on one and the other in turn, in pairs, so that the load
of the machine affects both alike. The table has the lowest CPU time of all rounds, because other load on the machine
only adds to it, and the ratio of the medians for comparison.
"""

import statistics
from contextlib import ExitStack
from typing import Annotated

import typer

from bench import web
from bench.archive import Archive, running_archive
from bench.figures import Row
from bench.sets import Sets, store
from bench.workloads import WORKLOADS, Workload

_OFF = {"DICOMSTORE_AUDIT": "false"}


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Workloads; all by default.")] = None,
    seconds: Annotated[float, typer.Option(help="Duration of each measurement in seconds.")] = 2.0,
    rounds: Annotated[int, typer.Option(help="Number of pairs.")] = 6,
    scale: Annotated[float, typer.Option(help="Size of the data; 1 is 7,005 instances.")] = 0.1,
    workers: Annotated[int | None, typer.Option(help="Number of serving processes, if not the default.")] = None,
) -> None:
    """Print a line for each workload."""
    size = Sets(scale)
    chosen = [one for one in WORKLOADS if not names or one.name in names]
    with ExitStack() as stack:
        archives = [stack.enter_context(running_archive(workers, **options)) for options in ({}, _OFF)]
        for archive in archives:
            store(archive.core, "", size.instances())
        typer.echo("| workload | CPU ms with | without | ratio | ratio of medians |\n|---|--:|--:|--:|--:|")
        for workload in chosen:
            on, off = _measured(workload, archives, size, seconds, rounds)
            medians = statistics.median(on) / statistics.median(off)
            typer.echo(
                f"| {workload.name} | {min(on):.4f} | {min(off):.4f} | {min(on) / min(off):.3f} | {medians:.3f} |"
            )


def _measured(
    workload: Workload, archives: list[Archive], size: Sets, seconds: float, rounds: int
) -> list[list[float]]:
    found: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        order = (0, 1) if number % 2 else (1, 0)
        for index in order:
            row: Row = web.measure(workload, archives[index], size, seconds)
            if number:  # the first one fills caches
                found[index].append(float(row["cpu_ms_per_unit"]))
    return found


if __name__ == "__main__":
    typer.run(main)
