"""The Prometheus text format 0.0.4, OpenMetrics 1.0, and JSON."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from dicomstore.v1.metrics_service_pb2 import METRIC_KIND_COUNTER, METRIC_KIND_HISTOGRAM, MetricFamily

from facade.monitoring.families import KINDS

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
JSON = "application/json"

_TOTAL = "_total"


def text(families: Iterable[MetricFamily], *, is_open_metrics: bool) -> bytes:
    """Return the text of metrics, in the format of Prometheus or of OpenMetrics."""
    lines = [line for family in families for line in _family(family, is_open_metrics=is_open_metrics)]
    return "\n".join([*lines, *(["# EOF"] if is_open_metrics else []), ""]).encode()


def _family(family: MetricFamily, *, is_open_metrics: bool) -> Iterator[str]:
    # OpenMetrics names a family of counters without the suffix of its samples.
    is_counter = family.kind == METRIC_KIND_COUNTER
    name = family.name.removesuffix(_TOTAL) if is_open_metrics and is_counter else family.name
    yield f"# HELP {name} {_escaped(family.help)}"
    yield f"# TYPE {name} {KINDS[family.kind]}"
    names = family.label_names
    for series in sorted(family.series, key=lambda one: tuple(one.label_values)):
        labels = [f'{label}="{_escaped(value)}"' for label, value in zip(names, series.label_values, strict=True)]
        if family.kind == METRIC_KIND_HISTOGRAM:
            yield from _histogram(family.name, labels, family.bounds, series.bucket_counts, series.value)
        else:
            yield f"{family.name}{_braced(labels)} {_number(series.value)}"


def _histogram(
    name: str, labels: Sequence[str], bounds: Sequence[float], counts: Sequence[int], total: float
) -> Iterator[str]:
    cumulative = list(accumulate(counts))
    for bound, count in zip([*map(_number, bounds), "+Inf"], cumulative, strict=True):
        limited = [*labels, f'le="{bound}"']
        yield f"{name}_bucket{_braced(limited)} {count}"
    yield f"{name}_sum{_braced(labels)} {_number(total)}"
    yield f"{name}_count{_braced(labels)} {cumulative[-1]}"


def json(families: Iterable[MetricFamily]) -> Any:
    """Return metrics as a value for JSON: the same families, with the counts of buckets not cumulative."""
    return {
        "families": [
            {
                "name": family.name,
                "kind": KINDS[family.kind],
                "help": family.help,
                **({"bounds": list(family.bounds)} if family.kind == METRIC_KIND_HISTOGRAM else {}),
                "series": [
                    {
                        "labels": dict(zip(family.label_names, series.label_values, strict=True)),
                        "value": series.value,
                        **({"counts": list(series.bucket_counts)} if family.kind == METRIC_KIND_HISTOGRAM else {}),
                    }
                    for series in family.series
                ],
            }
            for family in families
        ]
    }


def _braced(labels: Sequence[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
