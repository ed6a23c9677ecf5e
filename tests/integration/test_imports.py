"""Imports from folders: what is stored, recorded, skipped, refused, moved and deleted."""

import asyncio
import json
import os
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1.change_feed_service_pb2 import WatchChangesRequest
from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.operation_service_pb2_grpc import OperationServiceStub
from dicomstore.v1.operation_types_pb2 import ImportRequest, ImportResult
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_STUDY, SearchRequest
from dicomstore.v1.store_service_pb2 import VALIDATION_MODE_STRICT
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from pydicom.data import get_testdata_file

from server.adapters.blobs.objects.client import ObjectClient
from server.adapters.sources import folder
from server.adapters.sources.bucket import BucketSource
from server.bootstrap.working import working
from server.domain.imports import batch
from server.domain.imports import operation as operation_type
from server.model.errors import Unavailable
from server.ports.imports import SourceFile
from tests.audit import audit_records
from tests.core import CoreClient, Ref, reason_of, settings_for
from tests.data import UID_ROOT, new_uid, part10
from tests.integration.conftest import a_core
from tests.integration.facade.serving import serving
from tests.operations import perform

STUDY = f"{UID_ROOT}.1"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "incoming"
    path.mkdir()
    return path


class Archive:
    """A core that may import from folders, and what a worker does."""

    def __init__(self, core: CoreClient, settings: Any) -> None:
        self.core = core
        self.settings = settings
        self.operations = OperationServiceStub(core.channel)

    async def start(self, source: Path | str, **fields: Any) -> str:
        request = pb.StartOperationRequest()
        request.request.Pack(ImportRequest(source=str(source), **fields))
        return (await self.operations.StartOperation(request)).operation.id  # type: ignore[no-any-return]

    async def imported(self, source: Path | str, **fields: Any) -> tuple[pb.Operation, ImportResult]:
        return await self.worked(await self.start(source, **fields))

    async def worked(self, operation: str) -> tuple[pb.Operation, ImportResult]:
        """Work on all operations until they end or pause."""
        await perform(self.settings)
        found = (await self.operations.GetOperation(pb.GetOperationRequest(id=operation))).operation
        result = ImportResult()
        found.result.Unpack(result)
        return found, result

    async def errors(self, operation: str) -> list[tuple[str, str]]:
        """Return the items and reasons of at most 200 failures."""
        request = pb.ListOperationErrorsRequest(id=operation, page_size=200)
        answer = await self.operations.ListOperationErrors(request)
        return [(error.item, reason_name(error.reason)) for error in answer.errors]

    async def content(self, partition: str) -> list[bytes]:
        """Return all instances of a partition, sorted."""
        request = SearchRequest(level=QUERY_LEVEL_STUDY, scope=Ref(partition=partition), page_size=200)
        matches = (await self.core.search_stub.Search(request)).matches
        found: list[bytes] = []
        for match in matches:
            found += [data for _, data in await self.core.retrieve(match.resource)]
        return sorted(found)


def reason_name(reason: Any) -> str:
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


@asynccontextmanager
async def archive(tmp_path: Path, **settings: Any) -> AsyncIterator[Archive]:
    fields = {"import_sources": str(tmp_path / "incoming") + "," + str(tmp_path / "errors"), **settings}
    data = tmp_path / "data"
    async with a_core(data, **fields) as core:
        yield Archive(core, settings_for(data, **fields))


async def stored(core: CoreClient) -> list[bytes]:
    """Return the instances of the study, sorted."""
    return sorted(data for _, data in await core.retrieve(Ref(study_instance_uid=STUDY)))


async def test_the_files_of_a_folder_are_stored_and_failures_are_recorded(tmp_path: Path, source: Path) -> None:
    files = {name: part10() for name in ("b.dcm", "a/1", "a/2", "a/deep/er/3", "c 4 ä.dcm")}
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    large = part10(frames=[bytes(3 << 20)], Rows=1024, Columns=3072)
    (source / "large").write_bytes(large)
    (source / "a" / "text.txt").write_text("no DICOM")
    (source / "a" / "empty").touch()
    (source / ".hidden").write_bytes(part10())
    (source / "invalid").write_bytes(part10(StudyInstanceUID="not a UID"))
    async with archive(tmp_path) as one:
        operation, result = await one.imported(source)
        assert operation.state == pb.OPERATION_STATE_SUCCEEDED, operation.error
        assert (operation.done, operation.failed, operation.total, operation.percent_complete) == (9, 3, 9, 100)
        assert (result.stored, result.identical, result.skipped, result.failed) == (6, 0, 0, 3)
        assert result.stored_bytes == sum(map(len, files.values())) + len(large)
        assert await stored(one.core) == sorted([*files.values(), large])
        assert await one.errors(operation.id) == [
            ("a/empty", "UNREADABLE_INSTANCE"),
            ("a/text.txt", "UNREADABLE_INSTANCE"),
            ("invalid", "INVALID_INSTANCE"),
        ]
        again, result = await one.imported(str(source))
        assert (result.stored, result.identical, result.skipped, result.failed) == (0, 0, 6, 3)
        assert (again.done, again.total) == (9, 9)
        (source / "a" / "1").write_bytes(part10())
        (source / "moved").write_bytes(files["b.dcm"])
        _, result = await one.imported(source.as_uri())
        assert (result.stored, result.identical, result.skipped) == (1, 1, 5), "changed, identical, known"


async def test_an_import_stores_as_a_client_does(tmp_path: Path, source: Path) -> None:
    uid = new_uid()
    content = part10(SOPInstanceUID=uid)
    (source / "a").write_bytes(content)
    async with archive(tmp_path) as one:
        await one.core.stored(content)
        operation, result = await one.imported(source, reason="old archive")
        assert (result.stored, result.identical) == (0, 1)
        other = part10(SOPInstanceUID=uid, PatientName="Other^Content")
        (source / "a").write_bytes(other)
        operation, result = await one.imported(source)
        assert await one.errors(operation.id) == [("a", "INSTANCE_ALREADY_EXISTS")]
        operation, result = await one.imported(source, duplicates=DUPLICATE_POLICY_NEW_VERSION, reason="corrected")
        assert (result.stored, result.failed) == (1, 0)
        assert await stored(one.core) == [other]
        assert len(await one.core.changes()) == 2
        strict = part10(StudyDate="no date")
        (source / "b").write_bytes(strict)
        operation, result = await one.imported(source, validation=VALIDATION_MODE_STRICT)
        assert await one.errors(operation.id) == [("b", "INVALID_INSTANCE")]
    records = audit_records(tmp_path / "data")
    imported = [record for record in records if record.get("subtype") == "bulk-import-store"]
    outcomes = [tuple(one["instances"][0][-2:]) for one in imported if one.get("instances")]
    assert outcomes == [
        ("identical", len(content)),
        ("INSTANCE_ALREADY_EXISTS", 0),
        ("replaced", len(other)),
        ("INVALID_INSTANCE", 0),
    ]
    assert {record["principal"] for record in imported} == {"anonymous"}
    assert any(record.get("operation") == operation.id for record in imported)


async def test_files_that_fail_are_moved_with_a_record_and_others_are_deleted(tmp_path: Path, source: Path) -> None:
    errors = tmp_path / "errors"
    (source / "x").mkdir()
    (source / "x" / "bad").write_text("no DICOM")
    (source / "x" / "secret").write_bytes(part10(StudyInstanceUID="Doe^Jane"))
    (source / "good").write_bytes(part10())
    async with archive(tmp_path) as one:
        fields = {"delete_source": True, "errors": str(errors / "today")}
        operation, result = await one.imported(source, **fields)
        assert (result.stored, result.failed, result.removed) == (1, 2, 3)
        assert files_in(source) == []
        assert (errors / "today" / "x" / "bad").read_text() == "no DICOM"
        record = json.loads((errors / "today" / "x" / "bad.error.json").read_text())
        assert record["source"] == f"{source.as_uri()}/x/bad"
        assert (record["operation"], record["reason"], record["failureReason"]) == (
            operation.id,
            "UNREADABLE_INSTANCE",
            43264,
        )
        text = (errors / "today" / "x" / "secret.error.json").read_text()
        assert "Doe" not in text, "no values of attributes"
        assert json.loads(text)["attributes"] == ["0020000D"]
        (source / "good").write_bytes((await stored(one.core))[0])
        _, result = await one.imported(source, **fields)
        assert (result.identical, result.removed) == (1, 1), "it is stored, so it is deleted"
        (source / "kept").write_text("no DICOM")
        _, result = await one.imported(source, errors=str(errors))
        assert (source / "kept").exists()
        assert (errors / "kept.error.json").exists()
        assert not (errors / "kept").exists()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_links_are_not_followed(tmp_path: Path, source: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(part10())
    (source / "file").symlink_to(outside / "secret")
    (source / "folder").symlink_to(outside)
    os.mkfifo(source / "pipe")
    async with archive(tmp_path) as one:
        operation, result = await one.imported(source)
        assert (result.stored, result.failed) == (0, 2)
        assert await one.errors(operation.id) == [("file", "SOURCE_UNREADABLE"), ("folder", "SOURCE_UNREADABLE")]
        operation, _ = await one.imported(source / "folder")
        assert operation.state == pb.OPERATION_STATE_FAILED
        assert "A link leads out" in operation.error


async def test_a_folder_that_becomes_a_link_does_not_lead_a_deletion_elsewhere(tmp_path: Path) -> None:
    source, outside = tmp_path / "incoming", tmp_path / "outside"
    for folder_ in (source / "in", outside):
        folder_.mkdir(parents=True)
        (folder_ / "file").write_bytes(b"content")

    class Exchanged(folder.FolderSource):
        def _require_unchanged(self, *arguments: Any) -> None:
            super()._require_unchanged(*arguments)
            os.rename(source / "in", source / "before")
            os.symlink(outside, source / "in")

    exchanged = Exchanged(source)
    [file] = await exchanged.page("", 10)
    assert isinstance(file, SourceFile)
    assert await exchanged.delete([file]) == []
    assert [path.name for path in files_in(source)] == []
    assert (outside / "file").exists()


async def test_nothing_is_written_behind_a_link_in_the_folder_for_errors(tmp_path: Path) -> None:
    (tmp_path / "errors").mkdir()
    (tmp_path / "outside").mkdir()
    os.symlink(tmp_path / "outside", tmp_path / "errors" / "in")
    errors = folder.FolderErrors(tmp_path / "errors")
    with pytest.raises(Unavailable, match="is a link"):
        await errors.add("in/new/file", b"{}", None)
    assert list((tmp_path / "outside").iterdir()) == []
    await errors.add("new/file", b"{}", None)
    assert (tmp_path / "errors" / "new" / "file.error.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"source": "/etc"}, "source"),
        ({"source": "{source}/../../etc"}, "source"),
        ({"source": "{source}-2"}, "source"),
        ({"source": "s3://bucket/prefix"}, "source"),
        ({"source": "http://169.254.169.254/latest"}, "source"),
        ({"source": "s3://key:secret@bucket/prefix"}, "source"),
        ({"source": "file://host{source}"}, "source"),
        ({"source": ""}, "source"),
        ({"source": "{source}", "errors": "{source}/errors"}, "errors"),
        ({"source": "{source}", "errors": "/tmp"}, "errors"),
        ({"source": "{source}", "in_place": True}, "source"),
        ({"source": "{source}", "interval_seconds": 3601}, "interval_seconds"),
        ({"source": "{source}", "settle_seconds": -1}, "settle_seconds"),
        ({"source": "{source}", "reason": "x" * 501}, "reason"),
    ],
)
async def test_other_sources_are_refused(tmp_path: Path, source: Path, fields: dict[str, Any], field: str) -> None:
    filled = {name: value.format(source=source) if isinstance(value, str) else value for name, value in fields.items()}
    async with archive(tmp_path) as one:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await one.start(**filled)
        assert reason_of(refused.value) == "INVALID_FIELD"
        [violation] = [
            violation
            for detail in status_of(refused.value).details
            if detail.Is(BadRequest.DESCRIPTOR)
            for violation in unpacked(detail).field_violations
        ]
        assert violation.field == field


def status_of(error: grpc.aio.AioRpcError) -> Any:
    return rpc_status.from_call(error)


def unpacked(detail: Any) -> BadRequest:
    request = BadRequest()
    detail.Unpack(request)
    return request


async def test_the_archive_does_not_import_its_own_files(tmp_path: Path) -> None:
    async with archive(tmp_path, import_sources=str(tmp_path)) as one:
        await one.core.stored(part10())
        for source in (tmp_path, tmp_path / "data", tmp_path / "data" / "segments"):
            operation, _ = await one.imported(source, delete_source=True)
            assert operation.state == pb.OPERATION_STATE_FAILED
            assert "of the archive itself" in operation.error
        assert len(await stored(one.core)) == 1


async def test_a_continuous_import_takes_files_when_they_have_settled(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, later = part10(), part10(), part10()
    (source / "first").write_bytes(first)
    age(source / "first", monkeypatch)
    (source / "growing").write_bytes(second[:-2])
    async with archive(tmp_path) as one:
        operation, result = await one.imported(source, continuous=True, interval_seconds=1, settle_seconds=60)
        assert operation.state == pb.OPERATION_STATE_RUNNING
        assert (result.stored, result.failed, result.passes) == (1, 0, 1), "the other one may still be being written"
        (source / "growing").write_bytes(second)
        age(source / "growing", monkeypatch)
        (source / "later").write_bytes(later)
        _, result = await one.worked(operation.id)
        assert (result.stored, result.passes) == (2, 2)
        age(source / "later", monkeypatch)
        (source / "bad").write_text("no DICOM")
        age(source / "bad", monkeypatch)
        _, result = await one.worked(operation.id)
        found, result = await one.worked(operation.id)
        assert (result.stored, result.skipped, result.failed, result.passes) == (3, 0, 1, 4), "it fails once"
        assert (found.done, found.failed) == (4, 1)
        assert await stored(one.core) == sorted([first, second, later])
        await one.operations.CancelOperation(pb.CancelOperationRequest(id=operation.id))
        found, _ = await one.worked(operation.id)
        assert found.state == pb.OPERATION_STATE_CANCELED


_AGES: dict[str, float] = {}


def age(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file look as if it was changed two minutes ago; the system does not set such a time of change."""
    _AGES[path.name] = time.time() - 120
    original = folder._listed

    def listed(name: str, found: os.stat_result) -> Any:
        file = original(name, found)
        changed = _AGES.get(name.rpartition("/")[2])
        return file if changed is None else file._replace(changed=datetime.fromtimestamp(changed, UTC))

    monkeypatch.setattr(folder, "_listed", listed)


async def test_a_file_that_changes_while_it_is_read_fails(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = part10(frames=[bytes(3 << 20)], Rows=1024, Columns=3072)
    (source / "large").write_bytes(large)
    (source / "small").write_bytes(part10())
    original = batch.Listing.take

    async def take(self: batch.Listing, count: int) -> Any:
        found = await original(self, count)
        for name in ("large", "small"):
            with (source / name).open("r+b") as file:
                file.write(b"x")
        return found

    monkeypatch.setattr(batch.Listing, "take", take)
    async with archive(tmp_path) as one:
        operation, result = await one.imported(source)
        assert (result.stored, result.failed) == (0, 2)
        assert sorted(await one.errors(operation.id)) == [
            ("large", "SOURCE_UNREADABLE"),
            ("small", "SOURCE_UNREADABLE"),
        ]


async def test_files_are_imported_into_a_partition_that_is_created(tmp_path: Path, source: Path) -> None:
    (source / "a").write_bytes(part10())
    async with archive(tmp_path, partitions=True) as one:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await one.start(source, partition="new")
        assert reason_of(refused.value) == "PARTITION_NOT_FOUND"
        _, result = await one.imported(source, partition="new", create_partition=True)
        assert result.stored == 1
        _, result = await one.imported(source, partition="other", create_partition=True)
        assert result.stored == 1, "another partition has its own record"


async def test_pages_of_a_large_folder_are_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_MAX_NAMES", 7)
    names = sorted(f"{a}/{b}" for a in "abc" for b in range(10)) + [f"{n:02}" for n in range(25)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = sorted(names, key=lambda name: name.split("/"))
    reader = folder.FolderSource(tmp_path)
    found: list[str] = []
    while page := await reader.page(found[-1] if found else "", 4):
        found += [one.name for one in page]  # type: ignore[union-attr]
    assert found == expected
    for start in range(len(expected)):
        page = await folder.FolderSource(tmp_path).page(expected[start], 100)
        assert [one.name for one in page] == expected[start + 1 :]  # type: ignore[union-attr]
    assert await reader.count(10) == len(names)


async def test_an_import_is_started_over_http(tmp_path: Path, source: Path) -> None:
    (source / "a").write_bytes(part10())
    (source / "bad").write_text("no DICOM")
    async with archive(tmp_path) as one, serving(one.core.address) as web:
        body = {
            "source": {"type": "folder", "settings": {"path": str(source)}},
            "errors": {"type": "folder", "settings": {"path": str(tmp_path / "errors")}},
            "options": {"deleteSource": True, "validation": "strict", "duplicates": "new-version"},
        }
        started = await web.post("/v2/import", json=body)
        assert started.status_code == 202
        assert started.headers["Location"] == started.json()["href"]
        await perform(one.settings)
        answer = await web.get(started.headers["Location"])
        assert answer.status_code == 200
        found = answer.json()
        assert (found["type"], found["status"], found["percentComplete"]) == ("import", "succeeded", 100)
        counts = {"stored": 1, "identical": 0, "skipped": 0, "failed": 1, "removed": 2, "passes": 1}
        assert counts.items() <= found["results"].items()
        assert (tmp_path / "errors" / "bad").exists()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "'Source' is missing"),
        ({"source": {"type": "ftp"}}, "'folder', 's3', 'azureBlob', 'gcs'"),
        ({"source": {"type": "folder", "settings": {"path": "relative"}}}, "absolute path"),
        ({"source": {"type": "s3", "settings": {"prefix": "x"}}}, "source.settings.bucket"),
        (
            {"source": {"type": "s3", "settings": {"bucket": "x", "endpoint": "http://127.0.0.1"}}},
            "Only bucket, prefix",
        ),
        ({"source": {"type": "s3", "settings": {"bucket": "x"}}}, "import_sources"),
        ({"source": {"type": "folder", "settings": {"path": "/etc"}}}, "import_sources"),
        ({"source": {"type": "folder", "settings": {"path": "/a"}}, "options": {"inPlace": 1}}, "options.inPlace"),
        *(
            ({"source": {"type": "folder", "settings": {"path": "/a"}}, "options": {name: seconds}}, text)
            for name in ("intervalSeconds", "settleSeconds")
            for seconds, text in ((-5, "from 1 to 3600"), (1 << 40, "from 1 to 3600"), (1.5, "a whole number"))
        ),
    ],
)
async def test_malformed_requests_are_refused(tmp_path: Path, body: dict[str, Any], text: str) -> None:
    async with archive(tmp_path) as one, serving(one.core.address) as web:
        answer = await web.post("/v1/import", json=body)
        assert answer.status_code == 400
        assert text in answer.text


async def test_objects_of_a_bucket_are_imported(tmp_path: Path, bucket_url: str) -> None:
    bucket, client = bucket_url, ObjectClient(bucket_url)
    large = part10(frames=[bytes(3 << 20)], Rows=1024, Columns=3072)
    contents = {"incoming/a/1 ä+b.dcm": part10(), "incoming/b": large}
    for name, content in contents.items():
        client.put(name, content)
    client.put("incoming/bad", b"no DICOM")
    client.put("incoming/.hidden", part10())
    client.put("other/c", part10())
    async with archive(tmp_path, import_sources=bucket) as one:
        operation, result = await one.imported(f"{bucket}/incoming")
        assert operation.state == pb.OPERATION_STATE_SUCCEEDED, operation.error
        assert (result.stored, result.failed, operation.total) == (2, 1, 3)
        assert await stored(one.core) == sorted(contents.values())
        client.put("incoming/b", part10())
        _, result = await one.imported(f"{bucket}/incoming", delete_source=True, errors=f"{bucket}/errors")
        assert (result.stored, result.skipped, result.failed, result.removed) == (1, 1, 1, 3)
        assert sorted(one.name for one in client.names()) == [
            "errors/bad",
            "errors/bad.error.json",
            "incoming/.hidden",
            "other/c",
        ]
        assert client.get("errors/bad")[0] == b"no DICOM"


def put_raw(url: str, key: str) -> None:
    """Create an object with a name that the library of the archive refuses; the test server verifies no signature."""
    bucket = url.removeprefix("s3://").partition("/")[0]
    address = f"{os.environ['AWS_ENDPOINT_URL']}/{bucket}/{quote(f'archive/incoming/{key}')}"
    urllib.request.urlopen(urllib.request.Request(address, data=b"x", method="PUT"), timeout=30).close()


async def test_names_that_cannot_be_used_are_failures_and_stop_no_import(tmp_path: Path, bucket_url: str) -> None:
    valid = ["5", "9/in/x", "9/y", "a/0", "a/1", "a/z", "b/.. ", "c/ctl x", "d"]
    invalid = ["a//b", "a//c", "b/../c", "b/./c", "c/ctl\x01x"]
    for name in valid:
        ObjectClient(bucket_url).put(f"incoming/{name}", part10())
    for name in invalid:
        await asyncio.to_thread(put_raw, bucket_url, name)
    source = BucketSource(f"{bucket_url}/incoming")
    assert await source.count(10) == len(valid) - 1  # one is hidden
    after, names = "", []
    while page := await source.page(after, 2):
        names += [entry if isinstance(entry, SourceFile) else entry[0] for entry in page]
        after = names[-1] if isinstance(names[-1], str) else names[-1].name
        if len(names) % 3 == 0:
            source = BucketSource(f"{bucket_url}/incoming")  # continues anywhere
    found = [entry if isinstance(entry, str) else entry.name for entry in names]
    assert found == ["5", "9/in/x", "9/y", "a//b", "a/0", "a/1", "a/z", "c/ctl\x01x", "c/ctl x", "d"]
    async with archive(tmp_path, import_sources=bucket_url) as one:
        operation, result = await one.imported(f"{bucket_url}/incoming", errors=f"{bucket_url}/errors")
        assert operation.state == pb.OPERATION_STATE_SUCCEEDED, operation.error
        assert (result.stored, result.failed) == (len(valid) - 1, 2)
        records = [found.name for found in ObjectClient(bucket_url).names("errors")]
        assert records == ["errors/a/%2F/b.error.json", "errors/c/ctl%01x.error.json"]


async def test_a_bucket_is_listed_once_for_all_pages(bucket_url: str) -> None:
    """Some services have no listing that begins after a name."""
    client = ObjectClient(bucket_url)
    for number in range(25):
        client.put(f"in/{number:03}", b"x")
    source, after, count = BucketSource(f"{bucket_url}/in"), "", 0
    listings = 0
    names = source._client.names

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal listings
        listings += 1
        return names(*arguments, **options)

    source._client.names = counted  # type: ignore[method-assign]
    while page := await source.page(after, 4):
        count += len(page)
        last = page[-1]
        assert isinstance(last, SourceFile)
        after = last.name
    assert (count, listings) == (25, 1)


@pytest.mark.parametrize("in_place", [False, True], ids=["copied", "adopted"])
async def test_real_files_have_the_same_outcome_as_with_a_client(tmp_path: Path, in_place: bool) -> None:
    """The test files of pydicom: of many devices and transfer syntaxes, some of them malformed."""
    samples = Path(get_testdata_file("CT_small.dcm")).parent
    fields = {"import_sources": str(samples), "adopted_folders": {"samples": samples}, "partitions": True}
    async with archive(tmp_path, **fields) as one:
        operation, result = await one.imported(samples, partition="imported", create_partition=True, in_place=in_place)
        assert operation.state == pb.OPERATION_STATE_SUCCEEDED, operation.error
        names = [path for path in files_in(samples) if not any(p.startswith(".") for p in path.parts[-3:])]
        names.sort(key=lambda path: path.relative_to(samples).parts)
        contents = [path.read_bytes() for path in names]
        outcomes = await one.core.store(*contents, address={"partition": "sent"}, create_partition=True)
        failed = {
            str(path.relative_to(samples)): reason_name(outcome.failed.reason)
            for path, outcome in zip(names, outcomes, strict=True)
            if outcome.WhichOneof("outcome") == "failed"
        }
        assert operation.done == len(names)
        assert dict(await one.errors(operation.id)) == failed
        sent, imported = [await one.content(partition) for partition in ("sent", "imported")]
        assert imported == sent
        assert len(imported) == result.stored > 50


async def test_a_worker_imports_files_that_appear_and_other_operations_do_not_wait(
    tmp_path: Path, source: Path
) -> None:
    (source / "first").write_bytes(part10())
    async with archive(tmp_path) as one, working(one.settings) as engine:
        assert engine is not None
        task = asyncio.create_task(engine.run())
        endless = await one.start(source, continuous=True, interval_seconds=1, settle_seconds=1)
        async with asyncio.timeout(60):
            await count_of_changes(one.core, 1)
            (source / "second").write_bytes(part10())
            await count_of_changes(one.core, 2)
            other = await one.start(source)
            waited = await one.operations.WaitOperation(pb.WaitOperationRequest(id=other))
            assert waited.operation.state == pb.OPERATION_STATE_SUCCEEDED
            await one.operations.CancelOperation(pb.CancelOperationRequest(id=endless))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def count_of_changes(core: CoreClient, count: int) -> None:
    """Wait until the change feed has so many entries."""
    async for answer in core.change_feed_stub.WatchChanges(WatchChangesRequest()):
        count -= len(answer.entries)
        if count <= 0:
            return


async def test_an_import_waits_for_a_folder_that_is_away(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_type, "_STEP_SECONDS", 0)
    monkeypatch.setattr(batch, "_GROUP_FILES", 1)
    for name in "abc":
        (source / name).write_bytes(part10())
    async with archive(tmp_path) as one:
        missing, _ = await one.imported(source / "missing")
        assert missing.state == pb.OPERATION_STATE_FAILED
        assert "does not exist" in missing.error
        started = await one.start(source)
        await perform(one.settings, most_steps=1)
        os.rename(source, tmp_path / "away")
        for is_present in (False, True):
            if is_present:
                os.mkdir(source)  # as a mount point without the share
            with pytest.raises(Unavailable):
                await perform(one.settings)
        os.rmdir(source)
        os.rename(tmp_path / "away", source)
        found, _ = await one.worked(started)
        assert (found.state, found.done) == (pb.OPERATION_STATE_SUCCEEDED, 3)
