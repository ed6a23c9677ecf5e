"""Figures of this process and its children from /proc (proc_pid_stat(5)); none where there is no /proc."""

import os
import resource
import threading
from collections.abc import Iterator

from common.telemetry import catalogue
from common.telemetry.metrics import Sample

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def process_samples() -> Iterator[Sample]:
    """Yield the samples of this process."""
    times = os.times()
    yield Sample(catalogue.PROCESS_CPU, times.user + times.system)
    yield Sample(catalogue.PROCESS_THREADS, threading.active_count())
    yield Sample(catalogue.PROCESS_FILES_LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    try:
        own = _Stat(os.getpid())
        children = list(_children())
        yield Sample(catalogue.PROCESS_FILES, len(os.listdir("/proc/self/fd")))
        yield Sample(catalogue.PROCESS_START, _boot_time() + own.start_seconds)
    except (OSError, ValueError, IndexError):
        return
    yield Sample(catalogue.PROCESS_MEMORY, own.resident_bytes)
    ended_seconds = times.children_user + times.children_system
    yield Sample(catalogue.CHILDREN, len(children))
    yield Sample(catalogue.CHILDREN_CPU, ended_seconds + sum(one.cpu_seconds for one in children))
    yield Sample(catalogue.CHILDREN_MEMORY, sum(one.resident_bytes for one in children))


class _Stat:
    """A process: its CPU time, memory and start. Raises OSError if it has ended."""

    def __init__(self, process: int) -> None:
        with open(f"/proc/{process}/stat", "rb") as file:
            # The name of the program, in parentheses, may contain spaces.
            fields = file.read().rpartition(b") ")[2].split()
        self.cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        self.start_seconds = int(fields[19]) / _TICKS
        self.resident_bytes = int(fields[21]) * _PAGE_BYTES


def _children() -> Iterator[_Stat]:
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                processes = file.read().split()
        except OSError:
            continue
        for process in processes:
            try:
                yield _Stat(int(process))
            except OSError:
                continue


def _boot_time() -> float:
    with open("/proc/stat") as file:
        return next(float(line.split()[1]) for line in file if line.startswith("btime "))
