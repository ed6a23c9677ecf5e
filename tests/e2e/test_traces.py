"""Traces and metrics are exported with OTLP: from the facade through the core to blobs, index and operations."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.data import UID_ROOT, part10
from tests.e2e.archive import Archive, running_archive
from tests.telemetry import Collector, collecting

STUDY, SERIES, INSTANCE = f"{UID_ROOT}.91", f"{UID_ROOT}.91.1", f"{UID_ROOT}.91.1.1"
IMAGE = part10(
    StudyInstanceUID=STUDY,
    SeriesInstanceUID=SERIES,
    SOPInstanceUID=INSTANCE,
    Rows=4,
    Columns=4,
    BitsAllocated=8,
    BitsStored=8,
    HighBit=7,
    SamplesPerPixel=1,
    PixelRepresentation=0,
    PhotometricInterpretation="MONOCHROME2",
    frames=[b"ab" * 8],
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def archive(module_path: Path, collector: Collector) -> Iterator[Archive]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in collector.environment.items():
            patch.setenv(name, value)
        with running_archive(module_path / "data") as archive:
            yield archive


class Trace:
    """The spans of one trace."""

    def __init__(self, collector: Collector, flags: str = "01") -> None:
        self._collector = collector
        self.id, self.parent = secrets.token_hex(16), secrets.token_hex(8)
        self.headers = {"traceparent": f"00-{self.id}-{self.parent}-{flags}"}

    def span(self, process: str, name: str) -> Span:
        """Wait for a span and return it."""
        found: Span = self._collector.wait_for(
            lambda collector: next((one for at, one in self.spans() if (at, one.name) == (process, name)), None)
        )
        return found

    def spans(self) -> list[tuple[str, Span]]:
        """Return what has arrived."""
        return [(at, one) for at, one in self._collector.spans if one.trace_id.hex() == self.id]


def attributes_of(span: Span) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def store(archive: Archive, trace: Trace) -> None:
    answer = httpx.post(
        f"{archive.http}/v2/studies", content=IMAGE, headers={**trace.headers, "Content-Type": "application/dicom"}
    )
    assert answer.status_code == 200


def test_a_trace_begins_at_the_client_and_reaches_blobs_and_index(archive: Archive, collector: Collector) -> None:
    trace = Trace(collector)
    store(archive, trace)
    request = trace.span("facade-1", "POST /{version}/studies")
    call = trace.span("core-1", "StoreService/StoreInstances")
    assert request.parent_span_id.hex() == trace.parent
    assert call.parent_span_id == request.span_id
    assert request.kind == call.kind == Span.SPAN_KIND_SERVER
    for name in ("blob commit", "index write"):
        part = trace.span("core-1", name)
        assert part.parent_span_id == call.span_id
        assert call.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano
    about = attributes_of(request)
    assert about.pop("dicomstore.request_id") == attributes_of(call)["dicomstore.request_id"]
    assert about == {
        "http.request.method": "POST",
        "http.route": "/{version}/studies",
        "http.response.status_code": 200,
    }


def test_reading_and_rendering_are_parts_of_the_trace(archive: Archive, collector: Collector) -> None:
    store(archive, Trace(collector))
    trace = Trace(collector)
    url = f"{archive.http}/v2/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}/rendered"
    assert httpx.get(url, headers=trace.headers, timeout=60).status_code == 200
    call = trace.span("core-1", "RetrieveService/RetrieveRendered")
    for name in ("index read", "blob read", "pixel job"):
        assert trace.span("core-1", name).trace_id == call.trace_id


def test_an_error_of_the_client_is_none_of_the_server(archive: Archive, collector: Collector) -> None:
    trace = Trace(collector)
    assert httpx.get(f"{archive.http}/v2/studies/1.2.3", headers=trace.headers).status_code == 404
    request = trace.span("facade-1", "GET /{version}/studies/{study}")
    call = trace.span("core-1", "RetrieveService/RetrieveInstances")
    assert request.status.code == call.status.code == Status.STATUS_CODE_UNSET
    assert attributes_of(call)["dicomstore.reason"] == "STUDY_NOT_FOUND"
    assert attributes_of(call)["rpc.grpc.status_code"] == "NOT_FOUND"


def test_an_operation_is_part_of_the_trace_that_started_it(archive: Archive, collector: Collector) -> None:
    trace = Trace(collector)
    tag = {"Path": "StationName", "VR": "SH", "Level": "Series"}
    answer = httpx.post(f"{archive.http}/v2/extendedquerytags", json=[tag], headers=trace.headers)
    assert answer.status_code == 202
    archive.run("server", "work", "--idle-seconds", "4")
    call = trace.span("core-1", "ExtendedQueryTagService/AddExtendedQueryTags")
    step = trace.span("worker-1", "operation reindex")
    assert step.parent_span_id == call.span_id
    assert trace.span("worker-1", "index read").parent_span_id == step.span_id


def test_a_trace_that_its_client_does_not_sample_is_not_recorded(archive: Archive, collector: Collector) -> None:
    trace, later = Trace(collector, flags="00"), Trace(collector)
    for one in (trace, later):
        httpx.get(f"{archive.http}/v2/studies", headers=one.headers)
    later.span("core-1", "SearchService/Search")
    assert trace.spans() == []


def test_metrics_are_exported_by_each_process(archive: Archive, collector: Collector) -> None:
    httpx.get(f"{archive.http}/v2/studies")
    for process, name in (
        ("core-1", "dicomstore_rpc_duration_seconds"),
        ("core-1", "dicomstore_disk_free_bytes"),
        ("facade-1", "dicomstore_http_requests"),
        ("facade-1", "dicomstore_process_cpu_seconds"),
    ):
        collector.wait_for(
            lambda collector, at=process, name=name: any(
                (at, name) == (one, two.name) for one, two in collector.metrics
            )
        )
