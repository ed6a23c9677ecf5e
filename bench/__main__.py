"""`python -m bench`: start an archive, measure it, print a table."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench import memory, web
from bench.archive import running_archive
from bench.figures import GRPC_COLUMNS, MEMORY_COLUMNS, WEB_COLUMNS, Row, table, write_rows
from bench.rpc import core, ghz
from bench.rpc.scenarios import PARTITION, SCENARIOS
from bench.sets import Sets, store
from bench.workloads import WORKLOADS

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Names = Annotated[list[str] | None, typer.Argument(help="Workloads to measure; all by default.")]
Scale = Annotated[float, typer.Option(help="Size of the data; 1 is 7,005 instances, 1.3 GB.")]
Workers = Annotated[int | None, typer.Option(help="Number of serving processes, if not the default.")]
Output = Annotated[Path | None, typer.Option(help="Also write the rows to this file, as JSON lines.")]


@app.command("web")
def measure_web(
    names: Names = None,
    seconds: Annotated[float, typer.Option(help="Duration of each workload in seconds.")] = 3.0,
    scale: Scale = 1.0,
    workers: Workers = None,
    tls: Annotated[bool, typer.Option("--tls", help="With TLS.")] = False,
    output: Output = None,
) -> None:
    """Measure DICOMweb."""
    size = Sets(scale)
    chosen = [one for one in WORKLOADS if _is_named(one.name, names, [one.name for one in WORKLOADS])]
    with running_archive(workers, tls=tls) as archive:
        store(archive.core, "", size.instances())
        rows = [_said(web.measure(workload, archive, size, seconds)) for workload in chosen]
    _finish(rows, WEB_COLUMNS, output)


@app.command("grpc")
def measure_grpc(names: Names = None, scale: Scale = 1.0, workers: Workers = None, output: Output = None) -> None:
    """Measure every rpc of the contract with ghz."""
    size = Sets(scale)
    chosen = [one for one in SCENARIOS if _is_named(one.name, names, [one.name for one in SCENARIOS])]
    try:
        drive = ghz.driver(ghz.find())
    except ghz.NotInstalled as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(1) from exc
    with running_archive(workers, DICOMSTORE_PARTITIONS="true") as archive:
        store(archive.core, PARTITION, size.instances())
        rows = [_said(core.measure(scenario, archive, size, drive)) for scenario in chosen]
    _finish(rows, GRPC_COLUMNS, output)


@app.command("memory")
def measure_memory(
    megabytes: Annotated[int, typer.Option(help="Size of the large instance, MiB.")] = 400,
    instances: Annotated[int, typer.Option(help="Number of instances in the study.")] = 500,
    seconds: Annotated[float, typer.Option(help="Duration of the load peak and of the slow readers in seconds.")] = 5.0,
    workers: Workers = None,
    output: Output = None,
) -> None:
    """Measure the peak memory of each process."""
    size = memory.Size(megabytes=megabytes, instances=instances, seconds=seconds)
    _finish([_said(row) for row in memory.measure(size, lambda: running_archive(workers))], MEMORY_COLUMNS, output)


def _is_named(name: str, names: list[str] | None, known: list[str]) -> bool:
    unknown = set(names or []).difference(known)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return not names or name in names


def _said(row: Row) -> Row:
    typer.echo(json.dumps(row), err=True)
    return row


def _finish(rows: list[Row], columns: dict[str, str], output: Path | None) -> None:
    typer.echo("\n".join(table(rows, columns)))
    if output is not None:
        write_rows(output, rows)


if __name__ == "__main__":
    app()
