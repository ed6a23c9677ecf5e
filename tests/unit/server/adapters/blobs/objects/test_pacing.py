"""Requests start at a rate in bytes."""

import time
from concurrent.futures import ThreadPoolExecutor

from server.adapters.blobs.objects.pacing import Starts


def started(starts: Starts, *sizes: int) -> list[float]:
    """Let threads start requests of these sizes; return when they did, in seconds from the first one."""

    def start(size: int) -> float:
        starts.wait(size)
        return time.monotonic()

    with ThreadPoolExecutor(len(sizes)) as threads:
        times = sorted(threads.map(start, sizes))
    return [one - times[0] for one in times]


def test_requests_of_several_threads_start_one_after_the_other() -> None:
    times = started(Starts(1000), 50, 50, 50)
    assert times[1] >= 0.04
    assert times[2] >= 0.09, "each waits for the time that the ones before it take at this rate"


def test_a_request_after_a_pause_starts_at_once() -> None:
    starts = Starts(1000)
    starts.wait(1)
    time.sleep(0.01)
    began = time.monotonic()
    starts.wait(1_000_000)
    assert time.monotonic() - began < 1, "its own size delays only those after it"
