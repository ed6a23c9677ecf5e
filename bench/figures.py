"""Result rows: JSON lines in files, tables in Markdown."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

Row = dict[str, str | int | float | list[tuple[str, float]]]
"""One measurement; each key includes its unit."""

WEB_COLUMNS = {
    "workload": "workload",
    "unit": "unit",
    "clients": "clients",
    "per_s": "per s",
    "mb_s": "MB/s",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "first_byte_p50_ms": "first byte p50 ms",
    "cpu_ms_per_unit": "CPU ms/unit",
    "client_cpu_ms_per_unit": "client's CPU ms/unit",
    "peak_rss_mb": "largest process, MB",
}
GRPC_COLUMNS = {
    "scenario": "scenario",
    "rpc": "rpc",
    "clients": "clients",
    "calls_per_s": "calls/s",
    "items_per_s": "items/s",
    "unit": "item",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "cpu_ms_per_call": "CPU ms/call",
    "cpu_ms_per_item": "CPU ms/item",
    "client_cpu_ms_per_call": "ghz's CPU ms/call",
    "peak_rss_mb": "largest process, MB",
}
MEMORY_COLUMNS = {"what": "load", "seconds": "s", "peak_mb": "peak of each process, MB"}


def percentile_ms(ascending_s: Sequence[float], percent: int) -> float:
    """Return the smallest time, in ms, that `percent` percent of the times do not exceed."""
    rank = max(1, math.ceil(percent / 100 * len(ascending_s)))
    return round(ascending_s[rank - 1] * 1e3, 3)


def table(rows: Sequence[Row], columns: dict[str, str]) -> list[str]:
    """Return Markdown: one column per key, with its heading; missing values are empty."""
    numeric = {key for key in columns if any(isinstance(row.get(key), int | float) for row in rows)}
    lines = [
        "| " + " | ".join(columns.values()) + " |",
        "|" + "|".join("--:" if key in numeric else "---" for key in columns) + "|",
    ]
    lines += ["| " + " | ".join(_text(row.get(key, "")) for key in columns) + " |" for row in rows]
    return lines


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Append the rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def short(value: float) -> str:
    """Return a number with three significant digits."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{name} {short(number)}" for name, number in value)
    return short(value) if isinstance(value, float) else str(value)
