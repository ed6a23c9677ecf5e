"""Counters, gauges and histograms, and snapshots of them."""

import json
from collections.abc import Iterator

import pytest

from common.telemetry import metrics
from common.telemetry.metrics import (
    MAX_SERIES,
    OTHER,
    CounterFamily,
    Distribution,
    Gauge,
    HistogramFamily,
    Sample,
    Series,
    as_json,
    from_json,
    merged,
    provided,
    snapshot,
)


@pytest.fixture(autouse=True)
def _own_families(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_families", {})
    monkeypatch.setattr(metrics, "_readings", [])


def test_a_bucket_contains_the_values_up_to_its_bound() -> None:
    histogram = HistogramFamily("h", "", (), (1, 2)).of()
    for value in (0.5, 1, 1.5, 2, 3):
        histogram.observe(value)
    assert snapshot() == {"h": [((), Distribution([2, 2, 1], 8.0))]}


def test_the_number_of_series_is_limited() -> None:
    family = CounterFamily("c", "", ("path",))
    for number in range(MAX_SERIES + 10):
        family.of(str(number)).value += 1
    values = dict(family.values())
    assert len(values) == MAX_SERIES + 1
    assert values[OTHER,] == 10


def test_values_that_are_read_are_added_up_and_each_reading_counts_once() -> None:
    gauge = Gauge("g", "", ("cache",))

    def reading() -> Iterator[Sample]:
        yield Sample(gauge, 2, ("frames",))
        yield Sample(gauge, 3, ("frames",))

    with provided(reading), provided(reading):
        assert snapshot() == {"g": [(("frames",), 5)]}
    assert snapshot() == {}


def test_a_snapshot_is_the_same_after_its_way_through_json() -> None:
    CounterFamily("c", "", ("a",)).of("x").value += 2
    HistogramFamily("h", "", (), (1, 2)).of().observe(1.5)
    assert from_json(json.loads(json.dumps(as_json(snapshot())))) == snapshot()


def test_series_have_the_name_of_their_process_unless_they_are_of_the_archive() -> None:
    CounterFamily("c", "", ("a",)).of("x").value += 2
    whole = Gauge("w", "", of_archive=True)
    taken = snapshot()
    assert merged([("node-1", taken), ("node-2", taken), ("", metrics.sampled([Sample(whole, 4)]))]) == {
        "c": [Series(("x", "node-1"), 2), Series(("x", "node-2"), 2)],
        "w": [Series((), 4)],
    }


@pytest.mark.parametrize("value", [[["x"], "1"], [["x", "y"], 1], [["x"], [[1], 2]], ["x", 1], [["x"]], [[], 1]])
def test_values_of_another_form_are_refused(value: list[object]) -> None:
    CounterFamily("c", "", ("a",))
    with pytest.raises((ValueError, TypeError)):
        from_json({"c": [value]})


def test_families_of_another_version_are_ignored() -> None:
    assert from_json({"unknown": [[["x"], 1]]}) == {}
