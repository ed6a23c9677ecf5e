"""`python -m bench`: start an archive, measure it, print a table."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.archive import Archive, PeakMemory, running_archive
from bench.workloads import WORKLOADS, Workload, load, run

app = typer.Typer(add_completion=False)


def measure(workload: Workload, archive: Archive, seconds: float) -> dict[str, float | str]:
    """Return one row: units a second, CPU for each unit over all processes, largest process."""
    cpu = archive.cpu_seconds()
    with PeakMemory(archive) as memory:
        units, taken = run(workload, archive, seconds)
    cpu = archive.cpu_seconds() - cpu
    return {
        "workload": workload.name,
        "unit": workload.unit,
        "clients": workload.clients,
        "per_second": round(units / taken, 1),
        "cpu_ms_per_unit": round(cpu / units * 1000, 3),
        "peak_rss_mb": round(memory.peak_bytes / 1e6, 1),
    }


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Workloads; all if none is named.")] = None,
    seconds: Annotated[float, typer.Option(help="Time of each workload.")] = 3.0,
    workers: Annotated[int, typer.Option(help="Processes of the facade.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Also write the rows here, a JSON object a line.")] = None,
) -> None:
    """Measure an archive on embedded defaults: SQLite, files, everything synced before it is acknowledged."""
    rows = []
    with running_archive(workers) as archive:
        load(archive)
        for workload in WORKLOADS:
            if not names or workload.name in names:
                rows.append(measure(workload, archive, seconds))
                typer.echo(json.dumps(rows[-1]), err=True)
    typer.echo("| workload | unit | clients | per second | CPU ms/unit | largest process, MB |")
    typer.echo("|---|---|--:|--:|--:|--:|")
    for row in rows:
        typer.echo("| " + " | ".join(str(value) for value in row.values()) + " |")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    app()
