"""A fuzz target: a function that checks the guarantees of one parser for any input."""

import importlib
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MAX_BYTES = 4096
"""Size limit of inputs."""

REGRESSIONS = Path(__file__).parent / "regressions"
"""Inputs that violated a guarantee once: `regressions/TARGET/NAME`."""

TARGETS = ("reader", "data_set", "multipart", "accept", "query", "search", "json_body", "headers", "tokens")

_CHUNKED = frozenset({"reader", "data_set", "multipart"})
"""Targets that feed an input in many small chunks, which takes too long for long inputs; their tests check the time."""

_SLOW_S = 1.0
_LONG_BYTES = 60_000
_SOME = 64
_PARTS = "tests.fuzz.targets."


class Violation(AssertionError):
    """An input violates a guarantee of a parser."""


class Target:
    """The functions of a module in `tests.fuzz.targets`.

    seeds: yields valid and malformed inputs to start with.
    check: raises an exception if the input violates a guarantee.
    """

    def __init__(self, name: str) -> None:
        module: Any = importlib.import_module(_PARTS + name)
        self.name = name
        self.seeds: Callable[[], Iterator[bytes]] = module.seeds
        self._check: Callable[[bytes], None] = module.check

    def check(self, data: bytes) -> None:
        """Check an input; for one of `_SOME` also with its end repeated, so that other than linear time shows."""
        self._check_in_time(data)
        if self.name not in _CHUNKED and zlib.crc32(data) % _SOME == 0:
            for length in (1, 2):
                self._check_in_time(data + data[-length:] * (_LONG_BYTES // length))

    def _check_in_time(self, data: bytes) -> None:
        """Check an input, which must take less than `_SLOW_S` of CPU time: a linear parser takes milliseconds.

        A slow input is checked again, because the first run may include the load of modules or garbage collection.
        """
        for _ in range(3):
            start = time.process_time()
            self._check(data)
            taken_s = time.process_time() - start
            if taken_s < _SLOW_S:
                return
        raise Violation(f"{len(data)} bytes take {taken_s:.1f} s")

    def regressions(self) -> list[Path]:
        """Return the saved inputs."""
        return sorted((REGRESSIONS / self.name).glob("*"))


def require(condition: bool, guarantee: str) -> None:
    """Raise Violation if a guarantee does not hold."""
    if not condition:
        raise Violation(guarantee)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the data in pieces of `size` bytes; with 0, in pieces of growing size."""
    position, step = 0, size or 1
    while position < len(data):
        yield data[position : position + step]
        position += step
        step += not size
