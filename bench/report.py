"""`python -m bench.report RESULTS.jsonl ...`: tables in Markdown on stdout, plots as SVG in a folder.

Input: the output of `python -m bench … --output`, of `bench.index.scale --output`, and of a harness that compares two
servers. Rows of the latter have `server`, `workload`, `pair`, `per_s`, `srv_cpu_ms_per_unit`, `srv_peak_rss_mb` and
`errors`.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import plots
from bench.figures import GRPC_COLUMNS, MEMORY_COLUMNS, WEB_COLUMNS, Row, short, table

Rows = list[dict[str, Any]]


def markdown(rows: Rows, *, ours: str, figures: Path, link: str) -> list[str]:
    """Return the lines of all sections with rows; write the plots that they include."""
    lines: list[str] = []

    def section(heading: str, body: list[str]) -> None:
        lines.extend([f"## {heading}", "", *body, ""])

    def plot(name: str, svg: str, text: str) -> list[str]:
        figures.mkdir(parents=True, exist_ok=True)
        (figures / name).write_text(svg)
        return [f"![{text}]({link}/{name})", ""]

    compared = [row for row in rows if "server" in row]
    for other in sorted({row["server"] for row in compared if not row["server"].startswith(ours)}):
        if ratios := _ratios(compared, ours, other):
            bars = {
                ratio.workload: {"throughput": ratio.faster, "CPU for each unit": ratio.cheaper} for ratio in ratios
            }
            title = f"{ours} against {other}: ratio of throughput, and ratio of CPU time"
            svg = plots.ratio_bars(title, "times better (log scale); right of 1× is better", bars)
            section(f"Against {other}", plot(f"{other}.svg", svg, title) + _ratio_table(ratios, ours, other))
    if web := _last(rows, lambda row: "workload" in row and "server" not in row, "workload"):
        section("DICOMweb", table(web, WEB_COLUMNS))
    if grpc := _last(rows, lambda row: "scenario" in row, "scenario"):
        section("gRPC", table(grpc, GRPC_COLUMNS))
    if memory := _last(rows, lambda row: "memory" in row, "memory"):
        section("Memory", table(memory, MEMORY_COLUMNS))
    scaled = [row for row in rows if "kind" in row and "instances" in row]
    for database in sorted({str(row.get("database", "")) for row in scaled}):
        searches = _searches([row for row in scaled if str(row.get("database", "")) == database])
        title = f"Time of a search over the size of the index{f', {database}' if database else ''}"
        svg = plots.lines(title, "instances in the index (log scale)", "p50 of a search, ms (log scale)", searches)
        name = f"index-scale{f'-{database}' if database else ''}.svg"
        section(title, plot(name, svg, title) + _scale_table(searches, scaled, database))
    return lines


def read_rows(files: Sequence[Path]) -> Rows:
    """Return the rows of all files.

    Raises:
        ValueError: a line has an unknown format.
    """
    rows = []
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            row = json.loads(line)
            if not {"workload", "scenario", "memory", "kind"} & row.keys():
                raise ValueError(f"{file}:{number}: not a result row")
            rows.append(row)
    return rows


def _last(rows: Rows, wanted: Callable[[dict[str, Any]], bool], key: str) -> list[Row]:
    """Return the newest row per name."""
    return list({row[key]: row for row in rows if wanted(row)}.values())


@dataclass(frozen=True, slots=True)
class _Ratio:
    """Medians over the pairs of one workload."""

    workload: str
    unit: str
    theirs_per_s: float
    ours_per_s: float
    faster: float
    theirs_cpu: float
    ours_cpu: float
    cheaper: float
    theirs_mb: float
    ours_mb: float


def _ratios(rows: Rows, ours: str, other: str) -> list[_Ratio]:
    """Return medians over the pairs in which both servers had no errors."""
    found = []
    for workload in dict.fromkeys(row["workload"] for row in rows):
        good = [row for row in rows if row["workload"] == workload and not row.get("errors") and row.get("units")]
        mine = {row["pair"]: row for row in good if row["server"].startswith(ours)}
        theirs = {row["pair"]: row for row in good if row["server"] == other}
        pairs = [(mine[pair], theirs[pair]) for pair in mine.keys() & theirs.keys()]
        if pairs:
            found.append(_medians(workload, pairs))
    return found


def _medians(workload: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> _Ratio:
    def median(figure: Callable[[dict[str, Any], dict[str, Any]], float]) -> float:
        return float(statistics.median(figure(mine, theirs) for mine, theirs in pairs))

    cpu = "srv_cpu_ms_per_unit"
    return _Ratio(
        workload,
        pairs[0][0]["unit"],
        theirs_per_s=median(lambda _, theirs: theirs["per_s"]),
        ours_per_s=median(lambda mine, _: mine["per_s"]),
        faster=median(lambda mine, theirs: mine["per_s"] / theirs["per_s"]),
        theirs_cpu=median(lambda _, theirs: theirs[cpu]),
        ours_cpu=median(lambda mine, _: mine[cpu]),
        cheaper=median(lambda mine, theirs: theirs[cpu] / mine[cpu]),
        theirs_mb=median(lambda _, theirs: theirs["srv_peak_rss_mb"]),
        ours_mb=median(lambda mine, _: mine["srv_peak_rss_mb"]),
    )


def _ratio_table(ratios: Sequence[_Ratio], ours: str, other: str) -> list[str]:
    columns = {
        "workload": "workload",
        "unit": "unit",
        "theirs_per_s": f"{other}, per s",
        "ours_per_s": f"{ours}, per s",
        "faster": "times as fast",
        "theirs_cpu": f"{other}, CPU ms/unit",
        "ours_cpu": f"{ours}, CPU ms/unit",
        "cheaper": "times less CPU",
        "theirs_mb": f"{other}, peak MB",
        "ours_mb": f"{ours}, peak MB",
    }
    return table([asdict(ratio) for ratio in ratios], columns)


def _searches(rows: Rows, figure: str = "p50_ms") -> dict[str, list[tuple[float, float]]]:
    """Return a figure by number of instances, per kind of search; of equal sizes the newest."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        if figure in row:
            found.setdefault(row["kind"], {})[row["instances"]] = row[figure]
    return {kind: sorted(points.items()) for kind, points in found.items()}


def _scale_table(searches: dict[str, list[tuple[float, float]]], rows: Rows, database: str) -> list[str]:
    sizes = sorted({size for points in searches.values() for size, _ in points})
    slow = _searches([row for row in rows if str(row.get("database", "")) == database], "p95_ms")
    columns = {
        "kind": "search",
        **{f"{size} {name}": f"{size:,}: {name}, ms" for size in sizes for name in ("p50", "p95")},
        "growth": "p50, largest / smallest",
    }
    body: list[Row] = [
        {
            "kind": kind,
            **{f"{size} p50": p50 for size, p50 in points},
            **{f"{size} p95": p95 for size, p95 in slow.get(kind, [])},
            "growth": points[-1][1] / points[0][1],
        }
        for kind, points in searches.items()
    ]
    added = {
        row["instances"]: row["per_second"]
        for row in rows
        if row["kind"] == "add" and "per_second" in row and str(row.get("database", "")) == database
    }
    said = [f"- {size:,} instances: {short(float(rate))} added a second." for size, rate in sorted(added.items())]
    return [*table(body, columns), *(["", *said] if said else [])]


def main(
    results: Annotated[list[Path], typer.Argument(help="Files of JSON lines.", exists=True)],
    figures: Annotated[Path, typer.Option(help="Folder of the plots.")] = Path("docs/figures"),
    link: Annotated[str, typer.Option(help="Path of that folder in links.")] = "figures",
    ours: Annotated[str, typer.Option(help="Prefix of this server's name.")] = "dicomstore",
) -> None:
    """Convert results to tables and plots."""
    typer.echo("\n".join(markdown(read_rows(results), ours=ours, figures=figures, link=link)))


if __name__ == "__main__":
    typer.run(main)
