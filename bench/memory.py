"""Peak memory (VmHWM) of each process of an archive under several loads, with a fresh archive for each."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from bench import data
from bench.archive import Archive
from bench.client import Connection, request
from bench.figures import Row
from bench.sets import FRESH, store
from bench.workloads import JSON, STORED_FORM, big_instance, stow, study_path

_READ_BYTES = 64 << 10
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes of the loads."""

    megabytes: int = 400
    """Size of the large instance, in MiB."""
    instances: int = 500
    """Number of instances in the study."""
    storm_clients: int = 32
    slow_readers: int = 100
    seconds: float = 5.0
    """Duration of the load peak and of the slow readers."""


def measure(size: Size, archives: Callable[[], AbstractContextManager[Archive]]) -> Iterator[Row]:
    """Yield a row for each load, each with an archive of its own."""
    for name, what in _PASSING.items():
        with archives() as archive:
            began = time.perf_counter()
            text = what(archive, size)
            seconds = round(time.perf_counter() - began, 1)
            yield {"memory": name, "what": text, "seconds": seconds, "peak_mb": archive.peaks()}


def _nothing(_: Archive, __: Size) -> str:
    return "after its start"


def _large_instance(archive: Archive, size: Size) -> str:
    study = _store_large(archive, size)
    with Connection(archive.http_port) as connection:
        response = connection.exchange([request("GET", study_path(study), STORED_FORM)])
    _must(response.status == 200 and response.size_bytes > size.megabytes << 20)
    return f"one instance of {size.megabytes} MiB stored and fetched"


def _study(archive: Archive, size: Size) -> str:
    study = next(FRESH)
    slices = [data.parts(data.CT_SLICE, study, 1, number) for number in range(1, size.instances + 1)]
    with Connection(archive.http_port) as connection:
        _must(connection.exchange(stow(slices)).status == 200)
        response = connection.exchange([request("GET", study_path(study), STORED_FORM)])
    _must(response.status == 200 and response.size_bytes > sum(len(part) for slice_ in slices for part in slice_))
    return f"{size.instances} instances of 525 KB in one request and in one response"


def _metadata_storm(archive: Archive, size: Size) -> str:
    study = next(FRESH)
    store(archive.core, "", (data.instance(data.SMALL, study, 1, n) for n in range(1, size.instances + 1)))
    end = time.perf_counter() + size.seconds

    def client(_: int) -> int:
        with Connection(archive.http_port) as connection:
            for responses in itertools.count(1):  # noqa: B007 - it is returned
                response = connection.exchange([request("GET", f"{study_path(study)}/metadata", JSON)])
                _must(response.status == 200 and response.size_bytes > size.instances * 1000)
                if time.perf_counter() >= end:
                    break
        return responses

    with ThreadPoolExecutor(size.storm_clients) as clients:
        responses = sum(clients.map(client, range(size.storm_clients)))
    return (
        f"metadata of {size.instances} instances, {responses} times, requested by {size.storm_clients} clients at once"
    )


def _slow_readers(archive: Archive, size: Size) -> str:
    study = _store_large(archive, size)
    end, received = time.perf_counter() + size.seconds, 0
    with ExitStack() as open_connections:
        connections = [open_connections.enter_context(Connection(archive.http_port)) for _ in range(size.slow_readers)]
        for connection in connections:
            connection.send([request("GET", study_path(study), STORED_FORM)])
        while time.perf_counter() < end:
            received += sum(connection.read_some(_READ_BYTES) for connection in connections)
            time.sleep(_PAUSE_SECONDS)
    _must(received > 0)
    return (
        f"{size.slow_readers} readers of one instance of {size.megabytes} MiB,"
        f" which took {received / 1e6:.0f} MB in {size.seconds:.0f} s"
    )


def _store_large(archive: Archive, size: Size) -> int:
    study = next(FRESH)
    with Connection(archive.http_port) as connection:
        _must(connection.exchange(stow([big_instance(study, size.megabytes)])).status == 200)
    return study


def _must(good: bool) -> None:
    if not good:
        raise RuntimeError("a response is wrong")


_PASSING: dict[str, Callable[[Archive, Size], str]] = {
    "nothing": _nothing,
    "large_instance": _large_instance,
    "study": _study,
    "metadata_storm": _metadata_storm,
    "slow_readers": _slow_readers,
}
