"""Metrics of this process: counters and histograms are plain numbers, gauges are read when they are needed.

`catalogue` defines all families. Labels have few values, which never come from data sets or paths of requests.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

MAX_SERIES = 2000
"""Series of one family; further combinations of labels are counted together, with label values `other`."""

OTHER = "other"

LabelValues = tuple[str, ...]


class Distribution(NamedTuple):
    """The state of a histogram: observations in each bucket, one more than there are bounds, and their sum."""

    counts: Sequence[int]
    total: float


Value = float | Distribution


class Counter:
    """A number; that of a counter only grows. Add to `value`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Histogram:
    """Observations in buckets; a bucket contains the values up to its bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add an observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Family:
    """Metrics of one name, which differ in their labels.

    Attributes:
        name: as in the Prometheus text format, with the unit; that of a counter ends with `_total`.
        kind: counter, gauge or histogram.
        text: what it measures.
        labels: names of the labels.
        of_archive: the same in all processes, such as the number of unfinished operations.
    """

    kind = "gauge"
    bounds: Sequence[float] = ()

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, of_archive: bool = False) -> None:
        assert name not in _families, name
        self.name = name
        self.text = text
        self.labels = tuple(labels)
        self.of_archive = of_archive
        _families[name] = self

    def values(self) -> Iterator[tuple[LabelValues, Value]]:
        """Yield the stored values."""
        return iter(())


class CounterFamily(Family):
    """Counters, or a total that a reading returns, see `provided`."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, of_archive: bool = False) -> None:
        super().__init__(name, text, labels, of_archive=of_archive)
        self._counters: dict[LabelValues, Counter] = {}

    def of(self, *values: str) -> Counter:
        """Return the counter with these label values."""
        counter = self._counters.get(values)
        if counter is None:
            if len(self._counters) >= MAX_SERIES:
                values = (OTHER,) * len(self.labels)
            counter = self._counters.setdefault(values, Counter())
        return counter

    def values(self) -> Iterator[tuple[LabelValues, Value]]:
        """See the base class."""
        return ((labels, counter.value) for labels, counter in list(self._counters.items()))


class Gauge(CounterFamily):
    """Values that rise and fall, or that a reading returns."""

    kind = "gauge"


class HistogramFamily(Family):
    """Histograms with the same bounds of buckets."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, text, labels)
        self.bounds = tuple(bounds)
        self._histograms: dict[LabelValues, Histogram] = {}

    def of(self, *values: str) -> Histogram:
        """Return the histogram with these label values."""
        histogram = self._histograms.get(values)
        if histogram is None:
            if len(self._histograms) >= MAX_SERIES:
                values = (OTHER,) * len(self.labels)
            histogram = self._histograms.setdefault(values, Histogram(self.bounds))
        return histogram

    def values(self) -> Iterator[tuple[LabelValues, Value]]:
        """See the base class."""
        found = list(self._histograms.items())
        return ((labels, Distribution(list(one.counts), one.total)) for labels, one in found)


class Sample(NamedTuple):
    """A value that was read."""

    family: Family
    value: float
    labels: LabelValues = ()


Reading = Callable[[], Iterable[Sample]]
"""Returns current values; must not block or fail."""

Snapshot = Mapping[str, Sequence[tuple[LabelValues, Value]]]
"""Values of a process, by the name of their family."""

_families: dict[str, Family] = {}
_readings: list[Reading] = []


def families() -> Sequence[Family]:
    """Return all families, in the order of their definition."""
    return list(_families.values())


@contextmanager
def provided(reading: Reading) -> Iterator[None]:
    """Include the samples of a reading in snapshots until the context is left; once if it is provided several times.

    The values of equal labels are added up.
    """
    _readings.append(reading)
    try:
        yield
    finally:
        _readings.remove(reading)


def snapshot() -> Snapshot:
    """Return the values of this process."""
    found: dict[str, list[tuple[LabelValues, Value]]] = {
        family.name: values for family in _families.values() if (values := list(family.values()))
    }
    for name, samples in sampled(sample for reading in dict.fromkeys(_readings) for sample in reading()).items():
        found[name] = [*found.get(name, ()), *samples]
    return found


def sampled(samples: Iterable[Sample]) -> Snapshot:
    """Return samples as a snapshot; the values of equal labels are added up."""
    sums: dict[str, dict[LabelValues, float]] = {}
    for sample in samples:
        values = sums.setdefault(sample.family.name, {})
        values[sample.labels] = values.get(sample.labels, 0) + sample.value
    return {name: list(values.items()) for name, values in sums.items()}


def as_json(taken: Snapshot) -> dict[str, list[list[object]]]:
    """Return a snapshot as a value for JSON."""
    return {
        name: [[list(labels), value if isinstance(value, int | float) else list(value)] for labels, value in values]
        for name, values in taken.items()
    }


def from_json(read: object) -> Snapshot:
    """Return the snapshot that `as_json` returned as JSON. Families that this version does not define are ignored.

    Raises:
        ValueError, TypeError: it is not one.
    """
    if not isinstance(read, dict):
        raise TypeError("not an object")
    return {name: [_value(name, one) for one in values] for name, values in read.items() if name in _families}


def _value(name: str, read: list[object]) -> tuple[LabelValues, Value]:
    labels, value = read
    family = _families[name]
    if not isinstance(labels, list) or len(labels) != len(family.labels):
        raise ValueError(name)
    named = tuple(map(str, labels))
    if family.kind == "histogram":
        counts, total = value if isinstance(value, list) else (None, None)
        if not isinstance(counts, list) or len(counts) != len(family.bounds) + 1 or not isinstance(total, int | float):
            raise ValueError(name)
        return named, Distribution(list(map(int, counts)), total)
    if not isinstance(value, int | float):
        raise TypeError(name)
    return named, value


PROCESS = "process"
"""The label of all families but those of the whole archive: the name of the process."""


class Series(NamedTuple):
    """One series of a family, with the values of its labels in their order; `PROCESS` is the last one."""

    labels: LabelValues
    value: Value


def labels_of(family: Family) -> tuple[str, ...]:
    """Return the names of the labels of series."""
    return family.labels if family.of_archive else (*family.labels, PROCESS)


def merged(snapshots: Iterable[tuple[str, Snapshot]]) -> dict[str, list[Series]]:
    """Return the series of several processes, by the name of their family; families without any are included."""
    found: dict[str, list[Series]] = {name: [] for name in _families}
    for process, taken in snapshots:
        for name, values in taken.items():
            suffix = () if _families[name].of_archive else (process,)
            found[name] += [Series((*labels, *suffix), value) for labels, value in values]
    return found
