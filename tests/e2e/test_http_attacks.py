"""Malformed and malicious HTTP on raw sockets, against a facade of its own process and against a node.

Each case ends with the server closing the connection, so a hidden request would be answered before that.
"""

import gzip
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.data import UID_ROOT, part10
from tests.e2e.archive import ROOT, running_archive
from tests.e2e.raw_http import connect, read_all, send
from tests.programs import Program

STUDY = f"{UID_ROOT}.130"
HIDDEN = f"DELETE /v2/studies/{STUDY} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
POST = b"POST /v2/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/dicom\r\n"
GET = b"GET /health/check HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE = b"Connection: close\r\n\r\n"
MAX_HEAD_BYTES = 64 << 10


@pytest.fixture(scope="module", params=["facade", "node"])
def address(request: pytest.FixtureRequest, module_path: Path) -> Iterator[str]:
    """HOST:PORT of an archive with one study."""
    folder = module_path / request.param
    folder.mkdir()
    if request.param == "facade":
        with running_archive(folder / "data") as archive:
            store(archive.http)
            yield archive.http.removeprefix("http://")
        return
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")}
    environment |= {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}",
        "DICOMSTORE_DATA": str(folder / "data"),
        "DICOMSTORE_GRPC": "127.0.0.1:0",
        "DICOMSTORE_HTTP": "127.0.0.1:0",
        "DICOMSTORE_MIGRATE": "true",
    }
    log = folder / "log"
    log.touch()
    node = Program("node", environment=environment, folder=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (listens := re.search(r"\(gRPC\) and (\S+) \(HTTP\)", log.read_text())):
            assert node.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        while not is_healthy(f"http://{listens[1]}"):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        store(f"http://{listens[1]}")
        yield listens[1]
    finally:
        node.terminate()
        node.wait(20)


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/check", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def store(url: str) -> None:
    file = part10(StudyInstanceUID=STUDY, PatientName="Attacked^Patient")
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    assert httpx.post(f"{url}/v2/studies", content=file, headers=headers, trust_env=False).status_code == 200


def assert_nothing_changed(address: str) -> None:
    """Fails if the study was deleted or another was stored."""
    replies = send(address, b"GET /v2/changefeed HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE)
    assert replies.text.count('"action":"Create"') == 1
    assert replies.text.count('"action"') == 1


MALFORMED = {
    # RFC 9112 section 6: where a body ends
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 99\r\n\r\n" + HIDDEN,
    "the same length twice": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 0, 0\r\n\r\n" + HIDDEN,
    "a signed length": POST + b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "a hexadecimal length": POST + b"Content-Length: 0x0\r\n\r\n" + HIDDEN,
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551616\r\n\r\n" + HIDDEN,
    "an empty length": POST + b"Content-Length: \r\n\r\n" + HIDDEN,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a control character before the coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two transfer codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked is not the last coding": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    # RFC 9112 section 7.1: chunks
    "a chunk that ends with LF": CHUNKED + b"1\na\r\n0\r\n\r\n" + HIDDEN,
    "chunk data that ends with LF": CHUNKED + b"1\r\na\n0\r\n\r\n" + HIDDEN,
    "a chunk longer than declared": CHUNKED + b"1\r\nab\r\n0\r\n\r\n" + HIDDEN,
    "a space after the chunk size": CHUNKED + b"1 \r\na\r\n0\r\n\r\n" + HIDDEN,
    "a signed chunk size": CHUNKED + b"+1\r\na\r\n0\r\n\r\n" + HIDDEN,
    "a prefixed chunk size": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n" + HIDDEN,
    "a chunk size beyond 64 bits": CHUNKED + b"10000000000000000\r\na\r\n0\r\n\r\n" + HIDDEN,
    "LF in a chunk extension": CHUNKED + b"1;a\nxx\r\na\r\n0\r\n\r\n" + HIDDEN,
    "CR in a chunk extension": CHUNKED + b"1;a\rxx\r\na\r\n0\r\n\r\n" + HIDDEN,
    "an open quote in a chunk extension": CHUNKED + b'1;a="\r\na\r\n0\r\n\r\n' + HIDDEN,
    # RFC 9112 sections 2.2, 3 and 5: lines of the head
    "a folded header": GET + b"X-A: a\r\n b\r\n" + CLOSE,
    "a header line that starts with a space": b"GET / HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n",
    "lines that end with LF": b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n",
    "one line that ends with LF": GET + b"X-A: b\n" + CLOSE,
    "CR in a header": GET + b"X-A: a\rX-B: b\r\n" + CLOSE,
    "NUL in a header": GET + b"X-A: a\0b\r\n" + CLOSE,
    "a space in a header name": GET + b"X A: b\r\n" + CLOSE,
    "a header without a name": GET + b": b\r\n" + CLOSE,
    "a header without a colon": GET + b"XA\r\n" + CLOSE,
    "a space in the target": b"GET /v2 /studies HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a control character in the target": b"GET /v2/\x01 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a fragment in the target": b"GET /v2#/studies HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    # RFC 9112 section 3.2: one valid Host, and a target that agrees with it
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "an empty host": b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: 127.0.0.1/v2\r\n\r\n",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: a@127.0.0.1\r\n\r\n",
    "a target of another host": b"GET http://evil.example/v2/studies HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target with a user": b"GET http://127.0.0.1@evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target of another scheme": b"GET file://127.0.0.1/etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "an authority as target": b"GET 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n" + HIDDEN,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}

OTHERS = {
    "an unknown transfer coding": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    "a misspelt transfer coding": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    "HTTP/0.9": (505, b"GET /v2/studies\r\n\r\n"),
    "HTTP/2.0": (505, b"GET /v2/studies HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n"),
    "a long target": (414, b"GET /" + b"a" * (MAX_HEAD_BYTES + 1) + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    "an endless target": (414, b"GET /" + b"a" * (8 * MAX_HEAD_BYTES)),
    "a long header": (431, GET + b"X-A: " + b"a" * MAX_HEAD_BYTES + b"\r\n" + CLOSE),
    "an endless header": (431, GET + b"X-A: " + b"a" * (8 * MAX_HEAD_BYTES)),
    "many headers": (431, GET + b"X-A: b\r\n" * (MAX_HEAD_BYTES // 4) + CLOSE),
}

CASES = {**{name: (400, sent) for name, sent in MALFORMED.items()}, **OTHERS}


@pytest.mark.parametrize(("status", "sent"), CASES.values(), ids=list(CASES))
def test_a_malformed_request_gets_one_refusal_and_the_connection_is_closed(
    address: str, status: int, sent: bytes
) -> None:
    replies = send(address, sent)
    assert replies.statuses == [status]
    assert "x-content-type-options: nosniff" in replies.text
    assert_nothing_changed(address)


@pytest.mark.parametrize("target", [b"http://127.0.0.1/health/check", b"HTTP://127.0.0.1/health/check?a=b"])
def test_a_target_with_the_same_host_is_served(address: str, target: bytes) -> None:
    replies = send(address, b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE)
    assert replies.statuses == [200]


def test_pipelined_requests_are_answered_in_order(address: str) -> None:
    head = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert send(address, GET + b"\r\n" + head + GET + CLOSE).statuses == [200, 404, 200]


def test_the_number_of_pipelined_requests_is_limited(address: str) -> None:
    """Each takes memory while it waits, and a client can send thousands in one piece."""
    statuses = send(address, (GET + b"\r\n") * 5000).statuses
    assert set(statuses) == {200}
    assert 1 <= len(statuses) <= 34


def test_http_1_0_needs_no_host(address: str) -> None:
    assert send(address, b"GET /v2/api.json HTTP/1.0\r\n\r\n").statuses == [200]


def test_a_request_before_a_malformed_one_gets_its_own_response(address: str) -> None:
    replies = send(address, GET + b"\r\n" + b"GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n" + HIDDEN)
    assert replies.statuses == [200]
    assert "Healthy" in replies.text
    assert_nothing_changed(address)


@pytest.mark.parametrize("junk", [b"1;" + b"a" * (1 << 20), b"0\r\n" + b"X-A: b\r\n" * (1 << 18)])
def test_the_framing_of_a_body_has_a_limit(address: str, junk: bytes) -> None:
    assert send(address, CHUNKED, junk).statuses in ([400], [])  # reset, if all was on its way
    assert_nothing_changed(address)


def test_trailers_do_not_become_headers(address: str) -> None:
    trailers = b"Host: evil.example\r\nX-Request-Id: from-a-trailer\r\n\r\n"
    replies = send(address, CHUNKED, b"1\r\na\r\n0\r\n", trailers, GET + CLOSE)
    assert len(replies.statuses) == 2
    assert "from-a-trailer" not in replies.text


def test_a_method_override_is_ignored(address: str) -> None:
    names = (b"X-HTTP-Method", b"X-HTTP-Method-Override", b"X-Method-Override")
    override = b"".join(name + b": DELETE\r\n" for name in names)
    target = f"/v2/studies/{STUDY}/metadata?_method=DELETE".encode()
    head = b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
    assert send(address, head + override + CLOSE).statuses == [200]
    assert_nothing_changed(address)


def test_the_method_trace_is_refused(address: str) -> None:
    replies = send(address, b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer secret\r\n" + CLOSE)
    assert replies.statuses == [405]
    assert "secret" not in replies.text


@pytest.mark.parametrize("value", [b"a b", b"a;b", b"a" * 129, b"a\tb", b"\xff", b"a=b", b"code=OK"])
def test_a_request_id_that_could_forge_a_log_line_is_replaced(address: str, value: bytes) -> None:
    replies = send(address, GET + b"X-Request-Id: " + value + b"\r\n" + CLOSE)
    [request_id] = re.findall(r"x-request-id: (.*)\r\n", replies.text)
    assert re.fullmatch("[0-9a-f]{32}", request_id)


def test_responses_do_not_name_the_server_software(address: str) -> None:
    for head in (GET, b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"broken"):
        names = re.findall(r"^([\w-]+):", send(address, head + CLOSE).text.lower(), re.M)
        assert not {"server", "x-powered-by", "via"} & set(names)


def test_a_body_that_continues_after_its_response_does_not_hold_the_connection_open(address: str) -> None:
    """The rest of a body may arrive after a refusal; then the connection serves the next request."""
    head = b"POST /v2/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n"
    with connect(address) as connection:
        connection.sendall(head)
        assert b" 415 " in connection.recv(1 << 16)
        connection.sendall(b"0123456789" + GET + CLOSE)
        assert b" 200 " in read_all(connection)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/studies/..%2f..%2fhealth%2fcheck", 400),
        ("/v2/partitions/a%2fb/studies", 400),
        ("/v2/studies%2F1.2", 400),
        ("/v2%5cstudies", 400),
        ("/v2\\studies", 400),
        ("/v2/%2e%2e/health/check", 400),
        ("/v2/../health/check", 400),
        ("/v2/./studies", 400),
        ("/v2/studies/.", 400),
        ("/v2/studies/%2e%2e", 400),
        ("/v2/studies%00", 400),
        ("/v2/studies/1.2%0d%0aX-Injected:%20a", 400),
        ("//v2/studies", 404),
        ("/v2//studies", 404),
        ("//evil.example/v2/studies", 404),
        ("/v2/studies;a=b", 404),
        ("/v2/studies/1.2;a=b", 400),
        ("/v2/studies/1.2%252f1.3", 400),
        ("/V2/studies", 404),
        ("/v2/studies/1.2%ff", 400),
        ("/v2/studies/1.2/%zz", 404),
        ("/v2%3fstudies", 404),
        ("/v2/studies/%EF%BC%91.2", 400),  # digits of another script
    ],
)
def test_an_ambiguous_path_has_one_meaning_or_none(address: str, path: str, status: int) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n".encode()
    replies = send(address, head + CLOSE)
    assert replies.statuses == [status]
    assert "x-injected" not in replies.text.lower().partition("\r\n\r\n")[0]


CREDENTIALS = [
    b"Bearer " + b"a" * 60_000,
    b"Bearer \xff\xfe",
    b"Bearer a\tb",
    b"",
    b"Basic Og==",
    b"Bearer a, Bearer b",
]


@pytest.mark.parametrize("value", CREDENTIALS, ids=lambda value: value[:20].decode("latin-1"))
def test_no_credential_is_a_fault_of_the_server(address: str, value: bytes) -> None:
    """This archive has no authentication, so that it ignores them."""
    head = b"GET /v2/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
    assert send(address, head + b"Authorization: " + value + b"\r\n" + CLOSE).statuses == [200]


METADATA = [
    (b"grpc-timeout", b"1n"),
    (b"grpc-encoding", b"gzip"),
    (b":authority", b"evil.example"),
    (b"te", b"trailers"),
    (b"x-dicomstore-principal", b"admin"),
    (b"traceparent", b"a" * 60_000),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\xff"),
    (b"tracestate", b"a=b," * 15_000),
    (b"grpc-status-details-bin", b"AAAA"),
    (b"dicomstore-client-address", b"192.0.2.1"),
]


@pytest.mark.parametrize(("name", "value"), METADATA, ids=lambda value: value[:25].decode("latin-1"))
def test_headers_of_a_client_do_not_become_metadata_of_calls(address: str, name: bytes, value: bytes) -> None:
    head = b"GET /v2/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
    statuses = send(address, head + name + b": " + value + b"\r\n" + CLOSE).statuses
    assert statuses == [400 if name.startswith(b":") else 200]


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"zstd", b"br", b"gzip, identity"])
@pytest.mark.parametrize(
    ("path", "content_type"),
    [(b"/v2/studies", b"application/dicom"), (b"/v2/extendedquerytags", b"application/json")],
)
def test_bodies_with_a_content_coding_are_not_expanded(
    address: str, coding: bytes, path: bytes, content_type: bytes
) -> None:
    bomb = gzip.compress(bytes(1 << 20))
    head = b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: " + content_type + b"\r\n"
    head += b"Content-Encoding: " + coding + b"\r\nContent-Length: %d\r\n" % len(bomb)
    assert send(address, head + CLOSE + bomb).statuses == [415]
