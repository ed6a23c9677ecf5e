"""What is measured. Each workload does units of work until its time is over and checks every answer."""

import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import orjson
from dicomstore.v1 import store_service_pb2, store_service_pb2_grpc

from bench import data
from bench.archive import Archive

ALL_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"
STUDIES, SERIES_SIZE = 4, 50
_FRESH = itertools.count(1_000_000)

Unit = Callable[[http.client.HTTPConnection], int]
"""Does one request and returns how many units that were."""


@dataclass(frozen=True)
class Workload:
    """A name, what is counted, how many clients at once, and what each does."""

    name: str
    unit: str
    clients: int
    make: Callable[[Archive], Unit]


def load(archive: Archive) -> None:
    """Store what the reading workloads read."""
    bodies = [
        data.instance("ct", study, series, number)
        for study in range(1, STUDIES + 1)
        for series in (1, 2)
        for number in range(1, SERIES_SIZE + 1)
    ]
    bodies += [data.instance("small", study) for study in range(100, 600)]
    bodies.append(data.instance("multiframe", 50))
    _store_over_grpc(archive, bodies)


def run(workload: Workload, archive: Archive, seconds: float) -> tuple[int, float]:
    """Return units done and seconds taken."""
    one = workload.make(archive)
    end = time.perf_counter() + seconds
    ready = threading.Barrier(workload.clients)

    def client() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", archive.http_port, timeout=60)
        ready.wait()
        done = 0
        while time.perf_counter() < end or not done:
            done += one(connection)
        connection.close()
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(workload.clients) as clients:
        done = sum(clients.map(lambda _: client(), range(workload.clients)))
    return done, time.perf_counter() - began


def _get(path: Callable[[], str], accept: str, least_bytes: int, units: int = 1) -> Callable[[Archive], Unit]:
    def make(_: Archive) -> Unit:
        def one(connection: http.client.HTTPConnection) -> int:
            connection.request("GET", path(), headers={"Accept": accept})
            answer = connection.getresponse()
            size = len(answer.read())
            if answer.status != 200 or size < least_bytes:
                raise RuntimeError(f"GET answered {answer.status} with {size} bytes")
            return units

        return one

    return make


def _stow(kind: str, count: int) -> Callable[[Archive], Unit]:
    def make(_: Archive) -> Unit:
        def one(connection: http.client.HTTPConnection) -> int:
            study = next(_FRESH)
            parts = (
                b"--bench\r\nContent-Type: application/dicom\r\n\r\n" + data.instance(kind, study, 1, number) + b"\r\n"
                for number in range(1, count + 1)
            )
            headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=bench', "Accept": JSON}
            connection.request("POST", "/v2/studies", b"".join(parts) + b"--bench--\r\n", headers)
            answer = connection.getresponse()
            stored = len(orjson.loads(answer.read())["00081199"]["Value"])
            if stored != count:
                raise RuntimeError(f"POST stored {stored} of {count}")
            return count

        return one

    return make


def _grpc_store(archive: Archive) -> Unit:
    def one(_: http.client.HTTPConnection) -> int:
        study = next(_FRESH)
        bodies = [data.instance("small", study, 1, number) for number in range(1, 501)]
        _store_over_grpc(archive, bodies)
        return len(bodies)

    return one


def _delete(archive: Archive) -> Unit:
    def one(connection: http.client.HTTPConnection) -> int:
        study = next(_FRESH)
        _store_over_grpc(archive, [data.instance("small", study, 1, number) for number in range(1, 21)])
        connection.request("DELETE", f"/v2/studies/{data.study_uid(study)}")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 204:
            raise RuntimeError(f"DELETE answered {answer.status}")
        return 20

    return one


def _store_over_grpc(archive: Archive, bodies: list[bytes]) -> None:
    def requests() -> Iterator[store_service_pb2.StoreInstancesRequest]:
        message = store_service_pb2.StoreInstancesRequest(header=store_service_pb2.StoreHeader())
        size = 0
        for item, body in enumerate(bodies, 1):
            for start in range(0, len(body), 1 << 20):
                piece = body[start : start + (1 << 20)]
                if size + len(piece) > 1 << 20:
                    yield message
                    message, size = store_service_pb2.StoreInstancesRequest(), 0
                message.pieces.add(item=item, data=piece, last=start + len(piece) == len(body))
                size += len(piece)
        yield message

    with grpc.insecure_channel(archive.core) as channel:
        responses = store_service_pb2_grpc.StoreServiceStub(channel).StoreInstances(requests())
        stored = sum(outcome.HasField("stored") for response in responses for outcome in response.outcomes)
    if stored != len(bodies):
        raise RuntimeError(f"StoreInstances stored {stored} of {len(bodies)}")


def _cycle(paths: list[str]) -> Callable[[], str]:
    cycle = itertools.cycle(paths)
    return lambda: next(cycle)


def _study(study: int) -> str:
    return f"/v2/studies/{data.study_uid(study)}"


def _series(study: int) -> str:
    return f"{_study(study)}/series/{data.series_uid(study)}"


def _instance(study: int, number: int = 1) -> str:
    return f"{_series(study)}/instances/{data.instance_uid(study, 1, number)}"


_FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'

WORKLOADS = (
    Workload("stow_ct_1", "instances", 4, _stow("ct", 1)),
    Workload("stow_small_100", "instances", 2, _stow("small", 100)),
    Workload("grpc_store_small", "instances", 2, _grpc_store),
    Workload(
        "qido_patient_id",
        "requests",
        4,
        _get(_cycle([f"/v2/studies?PatientID=P{100000000 + n}" for n in range(100, 600)]), JSON, 100),
    ),
    Workload("qido_page", "requests", 4, _get(lambda: "/v2/studies?limit=100", JSON, 10_000)),
    Workload(
        "metadata_series",
        "instances",
        2,
        _get(lambda: f"{_series(1)}/metadata", JSON, 50_000, SERIES_SIZE),
    ),
    Workload(
        "wado_instance_ct",
        "instances",
        4,
        _get(_cycle([_instance(1, n) for n in range(1, SERIES_SIZE + 1)]), ALL_DICOM, 520_000),
    ),
    Workload(
        "wado_instance_small", "instances", 4, _get(_cycle([_instance(n) for n in range(100, 600)]), ALL_DICOM, 6000)
    ),
    Workload(
        "wado_study_ct",
        "instances",
        1,
        _get(_cycle([_study(n) for n in range(1, STUDIES + 1)]), ALL_DICOM, 50_000_000, 2 * SERIES_SIZE),
    ),
    Workload(
        "frame_of_200",
        "frames",
        4,
        _get(_cycle([f"{_instance(50)}/frames/{n}" for n in range(1, 201, 7)]), _FRAME, 131_072),
    ),
    Workload("store_and_delete_20", "instances", 1, _delete),
)
