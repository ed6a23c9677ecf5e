"""The client of object stores: against a server, and in memory where the store makes no difference."""

import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from common.telemetry.metrics import Distribution, snapshot
from common.telemetry.tracing import Span, begun, recorded, sampler_of
from server.adapters.blobs.objects.client import MIN_PART_BYTES, Changed, Exists, NotFound, ObjectClient
from server.model.errors import Reason, Unavailable


@pytest.fixture(params=["s3", "memory"])
def client(request: pytest.FixtureRequest) -> ObjectClient:
    return ObjectClient("memory:" if request.param == "memory" else request.getfixturevalue("bucket_url"))


def test_an_object_is_created_once(client: ObjectClient) -> None:
    etag = client.create("a/b", b"content")
    assert client.get("a/b") == (b"content", etag)
    assert client.create("a/b", b"content") == etag
    with pytest.raises(Exists):
        client.create("a/b", b"another")
    with pytest.raises(Exists):
        client.create("a/b", b"longer content")
    assert client.get("a/b") == (b"content", etag)


def test_an_object_is_replaced_only_if_it_has_not_changed(client: ObjectClient) -> None:
    first = client.create("a", b"1")
    second = client.replace("a", b"2", first)
    with pytest.raises(Changed):
        client.replace("a", b"3", first)
    assert client.replace("a", b"2", first) == second
    with pytest.raises(Changed):
        client.replace("missing", b"3", first)
    assert client.get("a") == (b"2", second)


def test_ranges_end_with_the_object(client: ObjectClient) -> None:
    client.create("a", b"0123456789")
    ranges = [(0, 4), (8, 5), (9, 1), (10, 1), (20, 3), (3, 0)]
    assert [bytes(client.get_range("a", *one)) for one in ranges] == [b"0123", b"89", b"9", b"", b"", b""]


def test_large_ranges_are_read_without_the_library_if_the_server_has_no_tls(
    bucket_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = random.Random(1).randbytes(1_000_000)
    ObjectClient(bucket_url).create("large", body)
    client = ObjectClient(bucket_url)
    monkeypatch.setattr("obstore.get_range", None)
    assert client.get_range("large", 10, 900_000) == body[10:900_010]
    monkeypatch.undo()
    assert client.get_range("large", 500_000, 900_000) == body[500_000:]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with_proxy = ObjectClient(bucket_url)
    monkeypatch.setattr("obstore.get_range", lambda *_, **__: b"by the library")
    assert with_proxy.get_range("large", 10, 900_000) == b"by the library"


def test_an_unknown_object_is_not_found(client: ObjectClient) -> None:
    for work in (client.size, client.get, client.head, lambda name: client.get_range(name, 0, 1)):
        with pytest.raises(NotFound):
            work("unknown")
    client.delete(["unknown"])


def test_objects_are_listed_in_order_and_deleted_together(client: ObjectClient) -> None:
    names = [f"list/{number:04}" for number in range(1005)] if client.scheme == "memory" else ["list/1", "list/2/3"]
    for name in [*names, "listed", "other/1"]:
        client.create(name, name.encode())
    assert [found.name for found in client.names("list")] == names
    assert [found.size_bytes for found in client.names("list", after=names[0], limit=1)] == [len(names[1])]
    assert "other" in client.folders()
    client.delete([*names, "unknown"])
    assert [found.name for found in client.names()] == ["listed", "other/1"]


def test_a_multipart_upload_appears_when_it_is_complete(client: ObjectClient) -> None:
    parts = [random.Random(1).randbytes(MIN_PART_BYTES), random.Random(2).randbytes(MIN_PART_BYTES), b"end"]
    writer = client.multipart("large")
    for part in parts:
        writer.part(part)
    with pytest.raises(NotFound):
        client.size("large")
    writer.complete()
    assert client.size("large") == 2 * MIN_PART_BYTES + 3
    assert bytes(client.get_range("large", MIN_PART_BYTES - 5, 10)) == parts[0][-5:] + parts[1][:5]
    client.copy("large", "copy")
    assert client.size("copy") == client.size("large")


def test_an_aborted_upload_leaves_nothing(client: ObjectClient) -> None:
    writer = client.multipart("large")
    for part in (bytes(MIN_PART_BYTES), b"end"):
        writer.part(part)
    writer.abort()
    assert list(client.names()) == []


def check_client(client: ObjectClient) -> None:
    """Check an empty bucket of another server."""
    for check in _CHECKS:
        check(client)
        client.delete([found.name for found in client.names()])


_CHECKS = (
    test_an_object_is_created_once,
    test_an_object_is_replaced_only_if_it_has_not_changed,
    test_ranges_end_with_the_object,
    test_an_unknown_object_is_not_found,
    test_objects_are_listed_in_order_and_deleted_together,
    test_a_multipart_upload_appears_when_it_is_complete,
    test_an_aborted_upload_leaves_nothing,
)


@pytest.mark.parametrize("url", ["ftp://bucket/x", "s3:///x", "s3://key:secret@bucket/x", "az://c/x?sig=secret"])
def test_a_url_that_is_not_one_of_a_store_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match=url[:2]) as caught:
        ObjectClient(url)
    assert "secret" not in str(caught.value)
    assert "bucket/x" not in str(caught.value)


def test_a_bucket_that_does_not_exist_is_unavailable(client: ObjectClient) -> None:
    if client.scheme == "memory":
        return
    other = ObjectClient("s3://no-such-bucket/x")
    for work in (lambda: list(other.names()), lambda: other.create("a", b""), lambda: other.get("a")):
        with pytest.raises(Unavailable):
            work()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_does_not_answer_is_unavailable_and_no_error_has_secrets(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"endpoint": silent_server, "access_key_id": "KEY", "secret_access_key": "SECRET", "allow_http": "true"}
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN")
    client = ObjectClient("s3://bucket/x", config=config, timeout_seconds=0.3, attempts=1)
    with pytest.raises(Unavailable) as caught:
        client.create("a", b"")
    assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
    for part in ("KEY", "SECRET", "TOKEN", "127.0.0.1", "bucket"):
        assert part not in f"{caught.value!r} {caught.value.__cause__!r}"


class _Busy(BaseHTTPRequestHandler):
    """Refuses two requests of three: the first because there are too many, the second without a reason."""

    protocol_version = "HTTP/1.1"
    statuses: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        status = self.statuses.pop(0)
        body = b"content" if status == 200 else b"<Error><Code>SlowDown</Code></Error>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sun, 01 Mar 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def busy_server() -> Iterator[str]:
    """An address whose server answers GET with the statuses of `_Busy`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def object_figures() -> dict[tuple[str, ...], float]:
    """Return the counters of requests to object stores by name and labels, and the numbers of durations."""
    return {
        (name.removeprefix("dicomstore_object_"), *labels): sum(value.counts)
        if isinstance(value, Distribution)
        else value
        for name, found in snapshot().items()
        for labels, value in found
        if name.startswith("dicomstore_object_")
    }


@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_requests_their_bytes_throttling_and_retries_are_metrics_and_spans(scheme: str, busy_server: str) -> None:
    config = {
        "s3": {"endpoint": busy_server, "skip_signature": "true", "allow_http": "true"},
        "az": {"endpoint": busy_server, "skip_signature": "true", "allow_http": "true", "account_name": "a"},
        "gs": {"base_url": busy_server, "skip_signature": "true", "allow_http": "true"},
    }[scheme]
    _Busy.statuses[:] = [503, 500, 200, 404]
    client, spans = ObjectClient(f"{scheme}://bucket/x", config=config), list[Span]()
    before = object_figures()
    with recorded(spans.append, sampler_of({"OTEL_TRACES_SAMPLER": "always_on"})), begun("test", {}):
        assert client.get("a")[0] == b"content"
        with pytest.raises(NotFound):
            client.get("a")
    changes = {key: value - before.get(key, 0) for key, value in object_figures().items()}
    assert {key: value for key, value in changes.items() if value and key[1] == scheme} == {
        ("requests_total", scheme, "get", "throttled"): 1,
        ("requests_total", scheme, "get", "failed"): 1,
        ("requests_total", scheme, "get", "ok"): 1,
        ("requests_total", scheme, "get", "notFound"): 1,
        ("retries_total", scheme, "get", "throttled"): 1,
        ("retries_total", scheme, "get", "failed"): 1,
        ("request_duration_seconds", scheme, "get"): 4,
        ("bytes_total", scheme, "received"): len(b"content"),
    }
    assert [span.name for span in spans] == ["object get"] * 4 + ["test"]
    assert {str(span.attributes) for span in spans[:4]} == {str({"dicomstore.object_store": scheme})}


def test_what_is_written_is_counted(client: ObjectClient) -> None:
    key = ("bytes_total", client.scheme, "sent")
    before = object_figures().get(key, 0)
    client.put("a", b"12345")
    writer = client.multipart("b")
    writer.part(bytes(MIN_PART_BYTES))
    writer.complete()
    assert object_figures()[key] - before == MIN_PART_BYTES + 5


EXITS = """
import sys, threading
from server.adapters.blobs.objects.client import ObjectClient
from server.model.errors import Unavailable

client = ObjectClient(sys.argv[1])
client.create(sys.argv[2], b"x" * 100)

def read():
    try:
        while True:
            client.get(sys.argv[2])
    except Unavailable:
        return

for _ in range(8):
    threading.Thread(target=read, daemon=True).start()
client.get(sys.argv[2])
"""


def test_a_process_exits_while_its_threads_make_requests(bucket_url: str) -> None:
    lock, codes = threading.Lock(), []

    def run(first: int) -> None:
        for number in range(first, first + 4):
            command = [sys.executable, "-c", EXITS, bucket_url, f"{number}"]
            ended = subprocess.run(command, capture_output=True, check=False, timeout=60, cwd=Path.cwd())
            with lock:
                codes.append((ended.returncode, ended.stderr))

    threads = [threading.Thread(target=run, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [(0, b"")] * 8


def test_a_client_is_refused_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    client = ObjectClient("memory:")
    client.create("a", b"")
    monkeypatch.setattr("os.getpid", lambda: -2)
    with pytest.raises(RuntimeError):
        client.get("a")
