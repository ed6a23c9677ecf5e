"""Marked patient data and marked secrets are put in everywhere, and searched for wherever they must not appear."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydicom.datadict import DicomDictionary

from dimse.associations.commands import Command, CommandField
from dimse.associations.errors import AssociationLost
from dimse.config import Settings as DimseSettings
from facade.config import Settings as FacadeSettings
from facade.routes import routes
from server.config import Settings as CoreSettings
from server.dicom.part10.file_meta import FileMeta, read_meta
from tests.data import EXPLICIT_LITTLE, SECONDARY_CAPTURE, UID_ROOT, element, part10, part10_of, required_elements
from tests.e2e.archive import Archive, running_archive
from tests.integration.dimse.clients import associated
from tests.telemetry import HTTP, Collector, collecting

FIND, COMMITMENT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.20.1"

PATIENT = "Qzpatient"
"""In every value of patient data; no other text of the archive contains it."""

SECRET = "Qzsecret"
"""In every secret."""

STUDY, SERIES, INSTANCE = f"{UID_ROOT}.77", f"{UID_ROOT}.77.1", f"{UID_ROOT}.77.1.1"
UIDS = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": INSTANCE}
TEXT_VRS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
INVALID_FOR_VRS = {"AS", "DA", "DS", "DT", "IS", "TM", "UI"}

IMAGE = {
    "Rows": 4,
    "Columns": 4,
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "SamplesPerPixel": 1,
    "PixelRepresentation": 0,
    "PhotometricInterpretation": "MONOCHROME2",
    "frames": [b"ab" * 8],
}


def tags(vrs: set[str]) -> list[tuple[int, str]]:
    """Return three tags of each VR, besides those that say which object it is or how its pixels are encoded."""
    chosen: list[tuple[int, str]] = []
    for vr in sorted(vrs):
        found = [
            tag
            for tag, entry in DicomDictionary.items()
            if entry[0] == vr and 0x0010 <= tag >> 16 <= 0x0020 and entry[1] == "1"
        ]
        chosen += [(tag, vr) for tag in found if tag not in (0x0020000D, 0x0020000E)][:3]
    return sorted(chosen)


def marked_elements(vrs: set[str]) -> list[bytes]:
    return [element(tag, vr, f"{PATIENT}{tag:08X} ".encode()) for tag, vr in tags(vrs)]


@dataclass
class Found:
    """Texts that must not contain marks, by where they were found."""

    texts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, answer: httpx.Response) -> None:
        """Add the head of a response, and its body if it is that of an error or names URLs."""
        self.texts.append((f"headers of {where}", str(answer.headers)))
        if answer.status_code >= 400 and "dicom" not in answer.headers.get("content-type", ""):
            self.texts.append((f"error of {where}", answer.text))
        self.texts += [(f"URL in {where}", url) for url in re.findall(r'https?://[^"<>\s]+', answer.text[:1_000_000])]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting(HTTP) as collector:
        yield collector


@pytest.fixture(scope="module")
def archive(module_path: Path, collector: Collector) -> Iterator[Archive]:
    settings = {"log_level": "debug", "auth_required": "true", "trusted_proxies": "192.0.2.1", **secret_settings()}
    exporting = {**collector.environment, "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRET}"}
    exporting["OTEL_EXPORTER_OTLP_COMPRESSION"] = "gzip"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in exporting.items():
            patch.setenv(name, value)
        with running_archive(module_path / "data", log_format="json", **settings) as archive:
            yield archive


def secret_settings() -> dict[str, str]:
    """Return a marked value for each secret setting that can have any text."""
    secret = {
        name
        for settings in (CoreSettings, FacadeSettings, DimseSettings)
        for name, about in settings.model_fields.items()
        if "Secret" in str(about.annotation)
    }
    urls = {"database", "database_listen", "database_replica"}
    return {name: f"{SECRET}{name}0123456789abcdef" for name in secret - urls}


def objects() -> dict[str, bytes]:
    """Return objects with marked values by file name: valid, invalid in several ways, and not DICOM at all."""
    valid = part10(
        **UIDS, **IMAGE, PatientName=f"{PATIENT}^Name", PatientID=f"{PATIENT}ID", OtherPatientIDs=f"{PATIENT}2"
    )
    head, tail = valid[:128], valid[128:]
    required = required_elements()
    return {
        "valid": valid,
        "other bytes with the same UIDs": valid.replace(b"ababab", b"cdcdcd"),
        "marked preamble": f"{PATIENT} in the preamble".encode().ljust(len(head), b"\0") + tail,
        "texts": part10_of(sorted(required + marked_elements(TEXT_VRS), key=lambda one: one[1::-1] + one[3:1:-1])),
        "invalid values": part10_of(
            sorted(required + marked_elements(INVALID_FOR_VRS), key=lambda one: one[1::-1] + one[3:1:-1])
        ),
        "invalid UID": valid.replace(INSTANCE.encode(), PATIENT.ljust(len(INSTANCE), "1").encode()),
        "truncated": valid[:-200],
        "no UIDs": part10(**dict.fromkeys(UIDS), PatientName=f"{PATIENT}^Name"),
        "not DICOM": f"{PATIENT} is not DICOM".encode() * 100,
    }


def test_marks_appear_in_no_log_error_url_metric_or_trace(archive: Archive, collector: Collector) -> None:
    found = Found()
    operator = (archive.data / "operator.token").read_text().strip()
    allowed = {"Authorization": f"Bearer {operator}"}
    with httpx.Client(base_url=archive.http, timeout=30) as client:
        for name, body in objects().items():
            for prefer in ("", "handling=strict"):
                found.add(f"stow of {name}", stow(client, body, allowed | {"Prefer": prefer}))
        for path, method in every_route():
            found.add(f"{method} {path}", asked(client, method, path, headers=allowed))
            for query in queries():
                found.add(f"{method} {path}?{query}", asked(client, method, f"{path}?{query}", headers=allowed))
            for headers in marked_headers():
                found.add(f"{method} {path} with marked headers", asked(client, method, path, headers=headers))
        for path in marked_paths():
            found.add(path, asked(client, "GET", path, headers=allowed))
        for media_type in ("text/plain", "application/openmetrics-text", "application/json"):
            metrics = client.get("/metrics", headers={**allowed, "Accept": media_type})
            assert "StoreService/StoreInstances" in metrics.text
            found.texts.append((f"metrics as {media_type}", metrics.text))
    collector.wait_for(lambda got: any(span.name == "GET /metrics" for _, span in got.spans))
    collector.wait_for(lambda got: any(at == "core-1" for at, _ in got.metrics))
    exported = [("exported traces and metrics", text) for text in collector.texts]
    assert {"StoreService/StoreInstances", "blob commit", "index write"} <= {span.name for _, span in collector.spans}
    found.texts += exported
    telemetry = [text for where, text in found.texts if where.startswith(("metrics as", "exported"))]
    assert not [text for text in telemetry if UID_ROOT in text], "no UIDs, of which there are any number"
    logs = archive.logs()
    assert all(json.loads(line)["message"] for line in logs.splitlines()), "the log has objects only"
    found.texts.append(("doctor", archive.run("cli", "doctor", "--json", check=False).stdout))
    found.texts += [("log", line) for line in logs.splitlines()]
    assert "route=/{version}/studies" in logs, "the log has the requests"
    faults = sorted({f"{where}: {text[:300]}" for where, text in found.texts if is_marked(text, operator)})
    assert not faults, "\n".join(faults)


def test_marks_appear_in_no_log_response_metric_or_trace_of_the_dimse_gateway(
    archive: Archive, collector: Collector
) -> None:
    operator = (archive.data / "operator.token").read_text().strip()
    archive.start_gateway(dimse_token=operator)
    contexts = [(SECONDARY_CAPTURE, EXPLICIT_LITTLE), (FIND, EXPLICIT_LITTLE), (COMMITMENT, EXPLICIT_LITTLE)]
    comments = []
    for command, (sop_class, _) in (
        (Command(CommandField.C_STORE, affected_sop_class_uid=SECONDARY_CAPTURE), contexts[0]),
        (Command(CommandField.C_FIND, affected_sop_class_uid=FIND), contexts[1]),
        (Command(CommandField.N_ACTION, requested_sop_class_uid=COMMITMENT, action_type_id=1), contexts[2]),
    ):
        command.affected_sop_instance_uid = INSTANCE if sop_class == SECONDARY_CAPTURE else None
        command.requested_sop_instance_uid = "1.2.840.10008.1.20.1.1" if sop_class == COMMITMENT else None
        command.priority = 0 if sop_class != COMMITMENT else None
        for body in objects().values():
            meta = read_meta(body, is_whole=True)
            data_set = body[meta.end if isinstance(meta, FileMeta) else 132 :]
            with suppress(AssociationLost), associated(archive.dimse_port, *contexts) as association:
                context = association.context_for(sop_class)
                assert context is not None
                comments.append(str(association.perform(context, command, [data_set])))
    with socket.create_connection(("127.0.0.1", archive.dimse_port)) as connection:
        connection.sendall(PATIENT.encode() * 10)
        connection.recv(100)
    services = {"C-STORE", "C-FIND", "N-ACTION"}
    collector.wait_for(lambda got: services <= {span.name for at, span in got.spans if at == "dimse-1"})
    counted = "dicomstore_dimse_request_duration_seconds"
    collector.wait_for(lambda got: any((at, one.name) == ("dimse-1", counted) for at, one in got.metrics))
    telemetry = [text for text in collector.texts if "dimse-1" in text]
    assert not [text for text in telemetry if UID_ROOT in text], "no UIDs, of which there are any number"
    logs = archive.logs()
    lines = [json.loads(line) for line in logs.splitlines()]
    failed = [line for line in lines if line["logger"] == "dimse.access"]
    assert failed[0]["fields"]["calling"] == "TESTER"
    assert {line["trace_id"] for line in failed} <= {span.trace_id.hex() for _, span in collector.spans}
    assert len(comments) > 20
    assert any("status=0," in comment for comment in comments)
    assert [text for text in [*comments, *telemetry, *logs.splitlines()] if is_marked(text, operator)] == []


@pytest.mark.files
def test_secrets_are_in_no_file_of_the_archive(archive: Archive) -> None:
    operator = (archive.data / "operator.token").read_text().strip()
    created = archive.run("cli", "token", "create", "--name", "test", "--role", "globalReader", "--expires", "1d")
    [token] = re.findall(r"dcmt_[A-Za-z0-9_-]{43}", created.stdout)
    answer = httpx.get(f"{archive.http}/v2/studies", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 204), "the token is valid"
    [link] = re.findall(r"/share/(dcms_[\w-]+)", archive.run("cli", "share", "create", "--upload").stdout)
    assert httpx.get(f"{archive.http}/share/{link}").status_code == 200
    assert httpx.get(f"{archive.http}/share/{link}/v2/studies").status_code == 403
    [code] = re.findall(r"/login/link/(dcml_[\w-]+)", archive.run("cli", "login").stdout)
    opened = httpx.post(f"{archive.http}/login/link/{code}")
    cookie = opened.cookies["dicomstore-session"]
    assert httpx.get(f"{archive.http}/v2/shares", cookies={"dicomstore-session": cookie}).status_code == 200
    logs = archive.logs()
    texts = [operator, token, link, code, cookie, SECRET]
    secrets = [text.encode() for text in texts]
    files = [path for path in archive.data.rglob("*") if path.is_file() and path.name != "operator.token"]
    assert archive.data / "index.db" in files
    assert [path.name for path in files if any(secret in path.read_bytes() for secret in secrets)] == []
    assert [text for text in texts if text in logs] == []


def is_marked(text: str, token: str) -> bool:
    """Return whether a text contains a mark, in any case, or a token. Some texts have megabytes."""
    lower = text.lower()
    return PATIENT.lower() in lower or SECRET.lower() in lower or token.lower() in lower


def asked(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """Return a response; of an event stream, which has no end, the head only."""
    with client.stream(method, path, headers=headers) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return httpx.Response(answer.status_code, headers=answer.headers, content=b"", request=answer.request)
        answer.read()
        return answer


def stow(client: httpx.Client, body: bytes, headers: dict[str, str]) -> httpx.Response:
    multipart = (
        b"--b\r\nContent-Type: application/dicom\r\nContent-Location: /%s\r\n\r\n" % PATIENT.encode()
        + body
        + b"\r\n--b--"
    )
    media_type = 'multipart/related; type="application/dicom"; boundary=b'
    return client.post("/v2/studies", content=multipart, headers={**headers, "Content-Type": media_type})


def every_route() -> list[tuple[str, str]]:
    """Return a path and method for each row of the route table, but no deletion."""
    values = {"version:api": "v2", "study": STUDY, "series": SERIES, "instance": INSTANCE, "frames:frames": "1"}
    values |= {
        "path:path": "7FE00010",
        "tag": "StationName",
        "operation": "0" * 32,
        "name": "router",
        "number": "1",
        "transaction": f"{UID_ROOT}.78",
        "webhook": "0" * 32,
        "rule": "0" * 16,
        "transfer": "0" * 32,
        "workitem": f"{UID_ROOT}.79",
        "requester": "DCMS",
        "aetitle": "VIEWER",
        "partition": "ward",
    }
    values |= {"link": "0" * 32, "token": f"dcms_{SECRET}", "code": f"dcml_{SECRET}"}
    return [
        (re.sub(r"\{([^}]+)\}", lambda name: values[name[1]], route.path), method)
        for route in routes()
        for method in route.row.methods
        if method != "DELETE"
    ]


def queries() -> list[str]:
    """Return queries with marked values of attributes and of parameters of the protocol."""
    attributes = ["PatientName", "PatientBirthDate", "00100010", "StudyInstanceUID", "PatientAge", "StudyDate"]
    parameters = ["limit", "offset", "accept", "window", "viewport", "quality", "startTime", "next"]
    parameters += ["version", "reason", "label"]
    names = [*attributes, *parameters]
    return ["&".join(f"{name}={PATIENT}" for name in names), *(f"{name}={PATIENT}" for name in names)]


def marked_headers() -> list[dict[str, str]]:
    return [
        {"Authorization": f"Bearer {SECRET}.{SECRET}.{SECRET}"},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}", "X-Request-Id": f"{PATIENT}^with space"},
        {"Referer": f"https://ris.example/{PATIENT}", "User-Agent": PATIENT, "X-Forwarded-For": PATIENT},
        {"Forwarded": f"for={PATIENT}", "X-Forwarded-Prefix": f"/{PATIENT}", "traceparent": PATIENT},
        {"Range": f"bytes={PATIENT}", "If-None-Match": PATIENT, "Content-Type": PATIENT},
        {"X-Dicomstore-Reason": PATIENT, "X-Dicomstore-Duplicates": PATIENT, "Last-Event-ID": PATIENT},
    ]


def marked_paths() -> list[str]:
    return [
        f"/{PATIENT}",
        f"/v2/{PATIENT}",
        f"/v2/studies/{PATIENT}",
        f"/v2/studies/{STUDY}/series/{PATIENT}/instances/1/rendered",
        f"/v2/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}/frames/{PATIENT}",
        f"/v2/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}/bulkdata/{PATIENT}",
        f"/v2/extendedquerytags/{PATIENT}",
        f"/v2/operations/{PATIENT}",
        f"/v2/subscribers/{PATIENT}",
        f"/v2/workitems/stream?PatientName={PATIENT}",
        f"/v2/workitems/{PATIENT}/subscribers/{PATIENT}?filter=PatientName={PATIENT}",
    ]
