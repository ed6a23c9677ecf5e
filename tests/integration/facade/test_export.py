"""Exports over a real core (docs/api.md, Export)."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import httpx
import obstore
import pydicom
import pytest
from obstore.store import S3Store
from pydicom.fileset import FileSet

from server.bootstrap.serving import running
from server.config import Settings
from tests.audit import audit_records
from tests.core import settings_for
from tests.data import DEFLATED, EXPLICIT_LITTLE, RLE_LOSSLESS, UID_ROOT, part10
from tests.integration.facade.serving import JSON, serving, stored
from tests.integration.security.callers import bearer, create_token, operator_token
from tests.object_store import ObjectStore
from tests.operations import perform

STUDY, OTHER = f"{UID_ROOT}.1", f"{UID_ROOT}.2"
SERIES = f"{UID_ROOT}.1.1"
Body = dict[str, Any]
EXPORTER = {"exporter": {"actions": ["export", "read"]}}


@dataclass(frozen=True, slots=True)
class Place:
    """A destination: how a request names it, what is in it, and its URL."""

    body: Body
    files: Callable[[], Mapping[str, bytes]]
    url: str


class Archive:
    """A core with a facade, and what its worker does."""

    def __init__(self, web: httpx.AsyncClient, settings: Settings, core: str) -> None:
        self.web = web
        self.settings = settings
        self.core = core

    async def start(self, source: Any, place: Place | Body, base: str = "/v2", **options: Any) -> httpx.Response:
        destination = place.body if isinstance(place, Place) else place
        body = {"source": source, "destination": destination} | ({"options": options} if options else {})
        return await self.web.post(f"{base}/export", json=body)

    async def export(self, source: Any, place: Place, base: str = "/v2", **options: Any) -> Any:
        """Perform an export; return the resource of its operation."""
        started = await self.start(source, place, base, **options)
        assert started.status_code == 202, started.text
        await perform(self.settings)
        return (await self.web.get(started.json()["href"])).json()


@asynccontextmanager
async def archive(data: Path, **options: Any) -> AsyncIterator[Archive]:
    (data / "exports").mkdir(parents=True, exist_ok=True)
    settings = settings_for(data / "core", **{"export_folders": str(data / "exports"), **options})
    async with running(settings) as core, serving(core.address) as web:
        yield Archive(web, settings, core.address)


@pytest.fixture
async def exports(tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(tmp_path) as opened:
        yield opened


def folder(tmp_path: Path) -> Place:
    root = tmp_path / "exports" / "to ward" / "1"

    def files() -> Mapping[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    return Place({"type": "folder", "settings": {"path": str(root)}}, files, f"file://{root}")


def bucket(server: ObjectStore) -> Place:
    name = server.bucket().split("/")[2]
    settings = {"bucket": name, "prefix": "/from/archive/", "endpoint": server.endpoint}
    settings |= {"accessKeyId": "test", "secretAccessKey": "testtest"}
    config: Any = {"endpoint": server.endpoint, "access_key_id": "test", "secret_access_key": "testtest"}
    store = S3Store(
        name, prefix="from/archive", config=config | {"region": "us-east-1"}, client_options={"allow_http": True}
    )

    def files() -> Mapping[str, bytes]:
        found = [str(entry["path"]) for page in obstore.list(store) for entry in page]
        return {path: bytes(obstore.get(store, path).bytes()) for path in found}

    return Place({"type": "S3", "settings": settings}, files, f"s3://{name}/from/archive")


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return folder(tmp_path) if request.param == "folder" else bucket(request.getfixturevalue("object_store"))


def file(study: str = STUDY, series: int = 1, number: int = 1, **attributes: Any) -> bytes:
    pixels = bytes([number]) * 10_000
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.{series}"}
    uid = f"{study}.{series}.{number}"
    return part10(SOPInstanceUID=uid, InstanceNumber=str(number), frames=[pixels], **uids, **attributes)


def path(study: str = STUDY, series: int = 1, number: int = 1) -> str:
    return f"results/{study}/{study}.{series}/{study}.{series}.{number}.dcm"


def identifiers(*values: str) -> Body:
    return {"type": "identifiers", "settings": {"values": list(values)}}


async def test_study_series_and_instance_yield_each_file_once_and_byte_for_byte(exports: Archive, place: Place) -> None:
    files = {path(STUDY, series, number): file(STUDY, series, number) for series in (1, 2) for number in (1, 2)}
    files |= {path(OTHER, 1, 1): file(OTHER, 1, 1), path(OTHER, 1, 2): file(OTHER, 1, 2)}
    await stored(exports.web, *files.values())
    sources = identifiers(STUDY, f"{STUDY}/{SERIES}", f"{OTHER}/{OTHER}.1/{OTHER}.1.2", STUDY)
    started = await exports.start(sources, place)
    operation = started.json()["id"]
    assert started.status_code == 202
    assert started.headers["location"] == started.json()["href"]
    waiting = (await exports.web.get(started.json()["href"])).json()
    assert (waiting["type"], waiting["status"]) == ("export", "notStarted")
    await perform(exports.settings)
    done = (await exports.web.get(started.json()["href"])).json()
    expected = {name: content for name, content in files.items() if name != path(OTHER, 1, 1)}
    assert (done["status"], done["percentComplete"]) == ("succeeded", 100)
    assert done["results"] == {
        "exported": 5,
        "skipped": 0,
        "errorHref": f"{place.url}/{operation}/errors.log",
        "exportedBytes": sum(map(len, expected.values())),
        "manifestHref": f"{place.url}/{operation}/manifest.jsonl",
    }
    found = place.files()
    manifest = [json.loads(line) for line in found.pop(f"{operation}/manifest.jsonl").splitlines()]
    assert found.pop(f"{operation}/errors.log") == b""
    assert found == {f"{operation}/{name}": content for name, content in expected.items()}
    assert {one["path"]: (one["sizeBytes"], one["sha256"]) for one in manifest} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in expected.items()
    }
    assert len(manifest) == 5
    assert {one["transferSyntaxUid"] for one in manifest} == {EXPLICIT_LITTLE}


async def test_sources_that_do_not_exist_are_skipped_with_an_error_line(exports: Archive, place: Place) -> None:
    await stored(exports.web, file())
    missing = [f"{UID_ROOT}.9", f"{STUDY}/{STUDY}.9", f"{STUDY}/{SERIES}/{STUDY}.1.9"]
    done = await exports.export(identifiers(f"{STUDY}/{SERIES}", *missing), place)
    assert (done["status"], done["percentComplete"]) == ("succeeded", 100)
    assert (done["results"]["exported"], done["results"]["skipped"]) == (1, 3)
    lines = [json.loads(line) for line in place.files()[f"{done['operationId']}/errors.log"].splitlines()]
    assert [line["identifier"] for line in lines] == missing
    assert all(line["error"] and line["timestamp"] for line in lines)


@pytest.mark.parametrize("source", [{"type": "identifiers", "settings": {}}, {"type": "partition"}])
async def test_without_values_a_whole_partition_is_exported(tmp_path: Path, source: Body) -> None:
    place = folder(tmp_path)
    async with archive(tmp_path, partitions=True) as exports:
        await stored(exports.web, file(), base="/v2/partitions/other")
        await stored(exports.web, file(STUDY, 1, 2), file(OTHER, 2, 3), base="/v2/partitions/ward")
        refused = await exports.start(source, place)
        assert (refused.status_code, refused.text) == (400, "PartitionName value is missing in the route segment.")
        done = await exports.export(source, place, base="/v1/partitions/ward")
    assert (done["status"], done["results"]["exported"]) == ("completed", 2)
    found = {name.partition("/")[2] for name in place.files()}
    assert found == {path(STUDY, 1, 2), path(OTHER, 2, 3), "errors.log", "manifest.jsonl"}


@pytest.mark.parametrize(
    ("level", "parameters", "expected"),
    [
        ("studies", "PatientID=P*&StudyDate=20200101-", [path(STUDY, 1, 1), path(STUDY, 2, 1)]),
        ("series", "Modality=MR", [path(STUDY, 2, 1)]),
        ("instances", "?InstanceNumber=1&00100020=P2", [path(OTHER, 1, 1)]),
        ("Studies", "PatientName=nobody", []),
    ],
)
async def test_the_matches_of_a_search_are_exported(
    exports: Archive, tmp_path: Path, level: str, parameters: str, expected: list[str]
) -> None:
    place = folder(tmp_path)
    await stored(
        exports.web,
        file(STUDY, 1, 1, PatientID="P1", StudyDate="20210101", Modality="CT"),
        file(STUDY, 2, 1, PatientID="P1", StudyDate="20210101", Modality="MR"),
        file(OTHER, 1, 1, PatientID="P2", StudyDate="20190101", Modality="CT"),
    )
    source = {"type": "query", "settings": {"level": level, "parameters": parameters}}
    done = await exports.export(source, place, manifest=False)
    assert done["results"]["exported"] == len(expected)
    assert "manifestHref" not in done["results"]
    assert {name.partition("/")[2] for name in place.files()} == {*expected, "errors.log"}


@pytest.mark.parametrize("parameters", ["NoSuchAttribute=1", "PatientBirthDate=yesterday", "Rows=4"])
async def test_a_search_that_would_be_ignored_in_part_is_refused(
    exports: Archive, tmp_path: Path, parameters: str
) -> None:
    refused = await exports.start({"type": "query", "settings": {"parameters": parameters}}, folder(tmp_path))
    assert refused.status_code == 400
    assert "yesterday" not in refused.text


async def test_instances_are_transcoded_or_skipped(exports: Archive, tmp_path: Path) -> None:
    place = folder(tmp_path)
    image = {"Rows": 100, "Columns": 100, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 1}
    image |= {"PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
    await stored(exports.web, file(number=1, **image), file(number=2, **image | {"Rows": 200}))
    done = await exports.export(identifiers(STUDY), place, transferSyntax=RLE_LOSSLESS)
    assert (done["status"], done["results"]["exported"], done["results"]["skipped"]) == ("succeeded", 1, 1)
    files = place.files()
    operation = done["operationId"]
    made = pydicom.dcmread(BytesIO(files[f"{operation}/{path(number=1)}"]))
    assert made.file_meta.TransferSyntaxUID == RLE_LOSSLESS
    assert bytes(made.pixel_array) == bytes([1]) * 10_000
    [line] = files[f"{operation}/manifest.jsonl"].splitlines()
    assert json.loads(line)["transferSyntaxUid"] == RLE_LOSSLESS
    [error] = files[f"{operation}/errors.log"].splitlines()
    assert json.loads(error)["identifier"] == f"{STUDY}/{SERIES}/{STUDY}.1.2"
    refused = await exports.start(identifiers(STUDY), place, transferSyntax=DEFLATED)
    assert refused.status_code == 400


async def test_a_dicomdir_lists_all_files_by_patient(exports: Archive, tmp_path: Path) -> None:
    place = folder(tmp_path)
    await stored(
        exports.web,
        file(STUDY, 1, 1, PatientID="P1", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"),
        file(OTHER, 1, 1, PatientID="P2", StudyID=""),
        file(f"{UID_ROOT}.3", 1, 1, PatientID="P1", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100"),
        file(STUDY, 2, 1, PatientID="P1"),
        file(STUDY, 2, 2, PatientID="P1"),
    )
    done = await exports.export({"type": "partition"}, place, dicomdir=True)
    operation = done["operationId"]
    assert done["results"]["dicomdirHref"] == f"{place.url}/{operation}/DICOMDIR"
    root = tmp_path / "exports" / "to ward" / "1" / operation
    found = pydicom.dcmread(root / "DICOMDIR")
    kinds = [record.DirectoryRecordType for record in found.DirectoryRecordSequence]
    assert [kinds.count(kind) for kind in ("PATIENT", "STUDY", "SERIES", "IMAGE")] == [2, 3, 4, 5]
    opened = FileSet(found)
    assert len(opened) == 5
    for entry in opened:
        assert entry.load().SOPInstanceUID == entry.ReferencedSOPInstanceUIDInFile
    assert {str(entry.PatientName) for entry in opened.find(PatientID="P1", StudyInstanceUID=f"{UID_ROOT}.3")} == {
        "Müller^Jörg"
    }
    assert opened.find_values("StudyInstanceUID").__len__() == 3
    names = {name.removeprefix(f"{operation}/") for name in place.files()} - {
        "errors.log",
        "manifest.jsonl",
        "DICOMDIR",
    }
    assert all(len(part) <= 8 and part.isalnum() for name in names for part in name.split("/"))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("version", ["/v1", "/v2"])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        (None, "'Source'"),
        ({"type": "identifiers", "settings": {"values": []}}, "At least one identifier"),
        ({"type": "identifiers", "settings": {"values": None}}, "wrong type"),
        (identifiers("1.2/x"), "Series Instance UID is not a valid UID."),
        (identifiers("1.2/3/4/5"), "An identifier is"),
        (identifiers(""), "not a valid UID"),
        ({"type": "identifiers", "settings": {"values": [1]}}, "An identifier is"),
        ({"type": "everything", "settings": {}}, "'everything'"),
        ({"settings": {}}, "source.type"),
    ],
)
async def test_invalid_sources_are_refused(
    shared_web: httpx.AsyncClient, tmp_path: Path, version: str, source: Any, text: str
) -> None:
    body = {"source": source, "destination": folder(tmp_path).body}
    refused = await shared_web.post(f"{version}/export", json=body)
    assert refused.status_code == 400
    assert text in refused.text


URI = "https://account.blob.core.windows.net/container"
SAS = "sv=2024-01-01&sig=Qzsecret"
CONNECTION = f"BlobEndpoint=https://account.blob.core.windows.net;SharedAccessSignature={SAS}"
KEYED = "DefaultEndpointsProtocol=https;AccountName=account;AccountKey=Qzsecret;EndpointSuffix=core.windows.net"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "Either blobContainerUri"),
        ({"blobContainerUri": f"{URI}?{SAS}", "connectionString": CONNECTION}, "Either blobContainerUri"),
        ({"connectionString": CONNECTION}, "blobContainerName is missing"),
        ({"blobContainerUri": f"{URI}?{SAS}", "blobContainerName": "other"}, "must not be given together"),
        ({"connectionString": KEYED, "blobContainerName": "container"}, "must not contain an account key"),
        ({"connectionString": "Qzsecret", "blobContainerName": "container"}, "connection string is invalid"),
        ({"blobContainerUri": URI}, "Public containers"),
        ({"blobContainerUri": URI, "useManagedIdentity": True}, "no managed identity"),
        ({"blobContainerUri": f"{URI}?{SAS}", "useManagedIdentity": True}, "useManagedIdentity must not"),
        ({"blobContainerUri": f"http://192.0.2.1/container?{SAS}"}, "begin with https"),
        ({"blobContainerUri": f"https://u:Qzsecret@host/container?{SAS}"}, "not a URL"),
        ({"blobContainerUri": f"file:///etc/container?{SAS}"}, "not a URL"),
        ({"blobContainerUri": f"https://account.blob.core.windows.net/a/b/c?{SAS}"}, "not the URL of a container"),
        ({"blobContainerUri": f"http://127.0.0.1:1/account/container?{SAS}"}, "cannot be reached"),
    ],
)
async def test_invalid_containers_are_refused_without_repeating_secrets(
    shared_web: httpx.AsyncClient, settings: Body, text: str
) -> None:
    body = {"source": identifiers("1.2"), "destination": {"type": "AzureBlob", "settings": settings}}
    refused = await shared_web.post("/v2/export", json=body)
    assert refused.status_code == 400, refused.text
    assert text in refused.text
    assert "Qzsecret" not in refused.text


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        ("s3", {"bucket": "bucket"}, "credentials are missing"),
        ("s3", {"bucket": "bucket", "accessKeyId": "Qzsecret"}, "must be given together"),
        ("s3", {"bucket": "bucket", "accessKeyId": "Qz\r\n", "secretAccessKey": "key"}, "credentials are invalid"),
        ("s3", {"bucket": "bucket", "accessKeyId": "key", "secretAccessKey": "Qz\x7f"}, "credentials are invalid"),
        ("s3", {"bucket": "../bucket"}, "not the name of a bucket"),
        ("s3", {"bucket": "bucket", "prefix": "a/../b"}, "prefix consists of"),
        ("s3", {"bucket": "bucket", "endpoint": "https://host/path"}, "without path and query"),
        ("s3", {"bucket": "bucket", "region": "x/y"}, "region is invalid"),
        ("s3", {"bucket": "bucket", "password": "Qzsecret"}, "are allowed"),
        ("s3", {"bucket": 7}, "wrong type"),
        ("gcs", {"bucket": "bucket"}, "credentials are missing"),
        ("gcs", {"bucket": "bucket", "serviceAccountKey": {"private_key": "Qzsecret"}}, "not the JSON key"),
        ("folder", {}, "absolute path"),
        ("ftp", {}, "destination.type"),
    ],
)
async def test_other_invalid_destinations_are_refused_without_repeating_secrets(
    shared_web: httpx.AsyncClient, kind: str, settings: Body, text: str
) -> None:
    body = {"source": identifiers("1.2"), "destination": {"type": kind, "settings": settings}}
    refused = await shared_web.post("/v2/export", json=body)
    assert refused.status_code == 400, refused.text
    assert text in refused.text
    assert "Qzsecret" not in refused.text


async def test_signatures_can_be_forbidden(tmp_path: Path) -> None:
    destination = {"type": "azureBlob", "settings": {"blobContainerUri": f"{URI}?{SAS}"}}
    async with archive(tmp_path, export_sas=False) as exports:
        refused = await exports.start(identifiers("1.2"), destination)
    assert (refused.status_code, refused.text) == (400, "Shared access signatures are not permitted.")


async def test_exports_can_be_disabled(tmp_path: Path) -> None:
    async with archive(tmp_path, export=False) as exports:
        refused = await exports.start(identifiers("1.2"), folder(tmp_path))
    assert refused.status_code == 404


async def test_a_bucket_that_does_not_exist_is_refused(exports: Archive, object_store: ObjectStore) -> None:
    place = bucket(object_store)
    place.body["settings"]["bucket"] = "no-such-bucket"
    refused = await exports.start(identifiers("1.2"), place)
    assert refused.status_code == 400
    assert refused.text == "The container or bucket of the destination does not exist."


@pytest.mark.parametrize(
    "chosen", ["/etc", "{root}/../elsewhere", "relative", "{root}x", "{root}/link/inner", "//{root}"]
)
async def test_folders_outside_the_permitted_ones_are_refused(exports: Archive, tmp_path: Path, chosen: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "exports" / "link").symlink_to(tmp_path / "elsewhere")
    destination = {"type": "folder", "settings": {"path": chosen.replace("{root}", str(tmp_path / "exports"))}}
    refused = await exports.start(identifiers("1.2"), destination)
    assert refused.status_code == 400, refused.text
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_link_that_is_made_during_the_export_is_not_followed(exports: Archive, tmp_path: Path) -> None:
    place = folder(tmp_path)
    await stored(exports.web, file())
    started = (await exports.start(identifiers(STUDY), place)).json()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "exports" / "to ward" / "1" / started["id"] / "results").symlink_to(tmp_path / "elsewhere")
    await perform(exports.settings)
    done = (await exports.web.get(started["href"])).json()
    assert done["status"] == "failed"
    assert "symbolic link" in done["errors"][0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_secrets_are_never_stored_or_shown_and_are_erased_at_the_end(
    exports: Archive, object_store: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    place = bucket(object_store)
    place.body["settings"] |= {"secretAccessKey": "Qzsecret-one", "sessionToken": "Qzsecret-two"}
    await stored(exports.web, file())
    started = await exports.start(identifiers(STUDY), place)
    assert started.status_code == 202, started.text

    def files() -> bytes:
        return b"".join(found.read_bytes() for found in (tmp_path / "core").rglob("*") if found.is_file())

    assert b"Qzsecret" not in files()
    await perform(exports.settings)
    done = await exports.web.get(started.json()["href"])
    assert done.json()["status"] == "succeeded"
    assert b"Qzsecret" not in files()
    assert "Qzsecret" not in done.text + caplog.text


async def test_the_audit_trail_has_source_and_destination_without_credentials(
    exports: Archive, object_store: ObjectStore, tmp_path: Path
) -> None:
    place = bucket(object_store)
    place.body["settings"]["secretAccessKey"] = "Qzsecret-one"
    await stored(exports.web, file())
    done = await exports.export(identifiers(STUDY), place)

    found = [one for one in audit_records(tmp_path / "core") if one.get("subtype") in ("export", "run-operation")]
    found.sort(key=lambda record: record["time"])
    began, started, *work = found
    assert (began["kind"], began["action"], began["partition"]) == ("executing", "export", "Microsoft.Default")
    assert (started["kind"], started["code"], started["operation"]) == ("executed", "OK", done["operationId"])
    assert began["operation_request"]["destination"] == place.url
    assert began["operation_request"]["sources"][0]["study_instance_uid"] == STUDY
    assert [record["kind"] for record in work] == ["executing", "executed"]
    assert (work[1]["items"], work[1]["failed"]) == (1, 0)
    assert "Qzsecret" not in json.dumps(found)


async def test_an_archive_with_authentication_exports_to_private_addresses_only_as_an_exception(
    tmp_path: Path, object_store: ObjectStore
) -> None:
    place = bucket(object_store)
    answers = []
    for networks in ("", "127.0.0.0/8"):
        async with archive(tmp_path, auth_required=True, export_networks=networks) as exports:
            exports.web.headers.update(dict(bearer(operator_token(tmp_path / "core"))))
            answer = await exports.start({"type": "partition"}, place)
            answers.append((answer.status_code, answer.text if answer.is_error else ""))
    assert answers == [(400, "The address of the destination is not permitted."), (202, "")]


async def test_exporting_requires_the_permission_and_is_limited_to_partitions(tmp_path: Path) -> None:
    place = folder(tmp_path)
    async with archive(tmp_path, partitions=True, auth_required=True, roles=EXPORTER) as exports:
        admin = bearer(operator_token(tmp_path / "core"))
        exports.web.headers.update(dict(admin))
        for partition in ("ward", "other"):
            await stored(exports.web, file(), base=f"/v2/partitions/{partition}")
        async with grpc.aio.insecure_channel(exports.core) as channel:
            exporter = await create_token(channel, "exporter", partitions=["ward"], by=admin)
            reader = await create_token(channel, "globalReader", by=admin)
        answers = {}
        for name, token in (("exporter", exporter), ("reader", reader)):
            exports.web.headers.update(dict(bearer(token.secret)))
            for partition in ("ward", "other"):
                answer = await exports.start({"type": "partition"}, place, base=f"/v2/partitions/{partition}")
                answers[name, partition] = answer.status_code
    assert answers == {
        ("exporter", "ward"): 202,
        ("exporter", "other"): 404,
        ("reader", "ward"): 403,
        ("reader", "other"): 403,
    }


async def test_an_operation_can_be_cancelled_over_http(exports: Archive, tmp_path: Path) -> None:
    place = folder(tmp_path)
    await stored(exports.web, *(file(number=number) for number in range(1, 4)))
    started = (await exports.start(identifiers(STUDY), place)).json()
    await perform(exports.settings, most_steps=2)
    cancelled = await exports.web.delete(started["href"])
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "running")
    await perform(exports.settings)
    ended = await exports.web.delete(started["href"])
    assert (ended.status_code, ended.json()["status"]) == (200, "canceled")
    assert (await exports.web.delete(f"/v2/operations/{'0' * 32}")).status_code == 404
    assert (await exports.web.delete("/v2/operations/x")).status_code == 400
    assert not any(".partial" in name for name in place.files())


async def test_an_interrupted_export_continues_without_missing_or_double_files(exports: Archive, place: Place) -> None:
    instances = [(study, 1, number) for study in (STUDY, OTHER) for number in range(1, 61)]
    files = {path(*instance): file(*instance) for instance in instances}
    await stored(exports.web, *files.values())
    started = (await exports.start({"type": "partition"}, place, dicomdir=False)).json()
    for call in range(4):
        await perform(exports.settings, most_steps=1)
        if call == 2:  # copying has begun: what is stored now is not part of the export
            await stored(exports.web, file(f"{UID_ROOT}.4"))
    await perform(exports.settings)
    done = (await exports.web.get(started["href"])).json()
    assert (done["results"]["exported"], done["results"]["skipped"]) == (120, 0)
    found = place.files()
    lines = [json.loads(line)["path"] for line in found.pop(f"{started['id']}/manifest.jsonl").splitlines()]
    assert sorted(lines) == sorted(files)
    del found[f"{started['id']}/errors.log"]
    assert found == {f"{started['id']}/{name}": content for name, content in files.items()}


async def test_damaged_instances_are_skipped(exports: Archive, tmp_path: Path) -> None:
    place = folder(tmp_path)
    await stored(exports.web, file(number=1), file(number=2))
    for segment in (tmp_path / "core" / "segments").glob("*.seg"):
        content = bytearray(segment.read_bytes())
        at = content.index(bytes([2]) * 9_000)
        content[at + 5_000] ^= 1
        segment.write_bytes(content)
    done = await exports.export(identifiers(STUDY), place)
    assert (done["status"], done["results"]["exported"], done["results"]["skipped"]) == ("succeeded", 1, 1)
    files = place.files()
    assert f"{done['operationId']}/{path(number=2)}" not in files
    assert json.loads(files[f"{done['operationId']}/errors.log"])["identifier"].endswith(".1.2")


async def test_large_instances_are_written_in_parts(exports: Archive, place: Place) -> None:
    large = part10(
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=SERIES,
        SOPInstanceUID=f"{STUDY}.1.1",
        frames=[bytes(range(256)) * 200] * 400,
    )
    await stored(exports.web, large)
    done = await exports.export(identifiers(STUDY), place)
    assert place.files()[f"{done['operationId']}/{path()}"] == large
    assert (await exports.web.get("/v2/studies", headers=JSON)).status_code == 200
