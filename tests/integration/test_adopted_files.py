"""Files that are adopted in place: reads, damage, folders that are away, deletion, updates, and a rebuilt index."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1.operation_types_pb2 import UpdateRequest

from server.bootstrap.checks import checks
from server.bootstrap.maintenance import auditing, recover
from tests.core import Ref, reason_of, settings_for
from tests.data import UID_ROOT, part10
from tests.integration.conftest import a_core
from tests.integration.test_imports import STUDY, Archive, stored

SERIES = f"{UID_ROOT}.1.1"


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    path = tmp_path / "pacs"
    path.mkdir()
    return path


@asynccontextmanager
async def archive(tmp_path: Path, **settings: Any) -> AsyncIterator[Archive]:
    fields = {"adopted_folders": {"old": tmp_path / "pacs"}, "retention_hours": 0, **settings}
    data = tmp_path / "data"
    async with a_core(data, **fields) as core:
        yield Archive(core, settings_for(data, **fields))


def image(uid: str, size: int = 200_000, **attributes: Any) -> bytes:
    pixels = bytes(number % 251 for number in range(size))
    return part10(
        SOPInstanceUID=f"{UID_ROOT}.1.1.{uid}", frames=[pixels], Rows=size // 1000, Columns=1000, **attributes
    )


def instance(uid: str) -> Ref:
    return Ref(study_instance_uid=STUDY, series_instance_uid=SERIES, sop_instance_uid=f"{UID_ROOT}.1.1.{uid}")


async def test_adopted_files_are_read_where_they_are(tmp_path: Path, pacs: Path) -> None:
    contents = {"one": image("1"), "in/a folder/two ä": image("2"), "small": image("3", 1000)}
    for name, content in contents.items():
        (pacs / name).parent.mkdir(parents=True, exist_ok=True)
        (pacs / name).write_bytes(content)
    (pacs / "other").write_text("no DICOM")
    before = times_of(pacs)
    async with archive(tmp_path) as one:
        operation, result = await one.imported(pacs, in_place=True)
        assert operation.state == pb.OPERATION_STATE_SUCCEEDED, operation.error
        assert (result.stored, result.failed) == (3, 1)
        assert await one.errors(operation.id) == [("other", "UNREADABLE_INSTANCE")]
        assert await stored(one.core) == sorted(contents.values())
        [(_, frame)] = await one.core.frames(instance("1"), [1])
        assert contents["one"].endswith(frame)
        assert sum(path.stat().st_size for path in (tmp_path / "data" / "segments").glob("*.seg")) < 3000
        _, result = await one.imported(pacs / "in", in_place=True)
        assert (result.stored, result.skipped) == (0, 1), "the record names files, not imports"
        [(_, first), *_] = await one.core.retrieve(instance("1"))
        assert (await one.core.store(first))[0].stored.identical
    async with auditing(one.settings) as audit:
        report = await audit.run(deep=True)
    assert (report.missing, report.damaged, report.unused, report.examples) == (0, 0, 0, [])
    assert times_of(pacs) == before


def times_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("change", ["other byte", "truncated", "longer", "removed", "replaced by a link"])
async def test_a_changed_or_missing_file_is_detected_and_reported(tmp_path: Path, pacs: Path, change: str) -> None:
    content = image("1")
    file = pacs / "one"
    file.write_bytes(content)
    (pacs / "two").write_bytes(image("2"))
    async with archive(tmp_path, scrub_days=1e-9) as one:
        await one.imported(pacs, in_place=True)
        match change:
            case "other byte":
                with file.open("r+b") as opened:
                    opened.seek(150_000)
                    opened.write(b"\\xff\\xff")
            case "truncated":
                file.write_bytes(content[:-1000])
            case "longer":
                file.write_bytes(content + b"more")
            case "removed":
                file.unlink()
            case _:
                file.unlink()
                file.symlink_to(pacs / "two")
        async with auditing(one.settings) as audit:
            report = await audit.run(deep=True)
        assert (report.missing, report.damaged) == ((1, 0) if "re" in change[:2] else (0, 1)), report.examples
        found = [data for _, data in await one.core.retrieve(instance("1")) if data]
        assert found == ([content] if change == "longer" else [])
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        assert [data for _, data in await one.core.retrieve(instance("1"))] == [content], "the file is there again"


async def test_a_folder_that_is_away_is_no_loss(tmp_path: Path, pacs: Path) -> None:
    (pacs / "one").write_bytes(image("1"))
    async with archive(tmp_path) as one:
        await one.imported(pacs, in_place=True)
        shutil.move(pacs, tmp_path / "elsewhere")
        for is_present in (False, True):
            if is_present:
                os.mkdir(pacs)  # as a mount point without the share
            [check] = [found for found in await checks(one.settings, deep=False) if found["name"] == "adopted folders"]
            assert (check["status"], check["detail"]) == ("failed", "1 of 1 folder cannot be read or empty: old")
            async with auditing(one.settings) as audit:
                with pytest.raises(Exception, match="not reachable"):
                    await audit.run(deep=True)
        os.rmdir(pacs)
        shutil.move(tmp_path / "elsewhere", pacs)
        assert len(await stored(one.core)) == 1
    shutil.move(pacs, tmp_path / "new place")
    async with archive(tmp_path, adopted_folders={"old": tmp_path / "new place"}) as one:
        assert await stored(one.core) == [image("1")]


async def test_deleting_an_adopted_instance_keeps_the_file(tmp_path: Path, pacs: Path) -> None:
    content = image("1")
    (pacs / "one").write_bytes(content)
    async with archive(tmp_path) as one:
        await one.imported(pacs, in_place=True)
        assert await one.core.delete(Ref(study_instance_uid=STUDY)) == 1
    async with archive(tmp_path) as one:  # erases deleted blobs at its start
        for _ in range(200):
            if not await one.core.blob_count():
                break
            await asyncio.sleep(0.05)
        assert await one.core.blob_count() == 0
        assert (pacs / "one").read_bytes() == content
        _, result = await one.imported(pacs, in_place=True)
        assert result.skipped == 1, "an import does not restore what was deleted"


async def test_adopted_instances_can_be_updated_and_their_index_rebuilt(tmp_path: Path, pacs: Path) -> None:
    content = image("1", PatientName="Old^Name")
    (pacs / "one").write_bytes(content)
    (pacs / "two").write_bytes(image("2", PatientName="Old^Name"))
    async with archive(tmp_path) as one:
        await one.imported(pacs, in_place=True)
        for name in ("New^Name", "Newer^Name"):
            request = pb.StartOperationRequest()
            changes = b'{"00100010":{"vr":"PN","Value":[{"Alphabetic":"%b"}]}}' % name.encode()
            request.request.Pack(UpdateRequest(targets=[Ref(study_instance_uid=STUDY)], changes=changes))
            operation = (await one.operations.StartOperation(request)).operation
            found, _ = await one.worked(operation.id)
            assert found.state == pb.OPERATION_STATE_SUCCEEDED, await one.errors(operation.id)
        updated = await stored(one.core)
        assert all(b"Newer^Name" in data for data in updated)
        assert all(data.endswith(content[-200_000:]) for data in updated)
        [(_, original)] = await one.core.retrieve(instance("1"), version=1)
        assert original == content
    shutil.move(tmp_path / "data" / "index.db", tmp_path / "lost")
    recovered = await recover(one.settings)
    assert (recovered.unreadable, recovered.damaged) == (0, 0), recovered.examples
    async with archive(tmp_path) as one:
        assert await stored(one.core) == updated


async def test_links_in_an_adopted_folder_are_refused(tmp_path: Path, pacs: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "one").write_bytes(image("1"))
    (pacs / "inside").mkdir()
    (pacs / "inside" / "two").write_bytes(image("2"))
    (pacs / "link").symlink_to(tmp_path / "outside")
    (pacs / "within").symlink_to(pacs / "inside")
    async with archive(tmp_path) as one:
        for name in ("link", "within"):
            operation, _ = await one.imported(pacs / name, in_place=True)
            assert operation.state == pb.OPERATION_STATE_FAILED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await one.start(tmp_path / "outside", in_place=True)
        assert reason_of(refused.value) == "INVALID_FIELD"


async def test_files_are_adopted_by_an_archive_whose_blobs_are_in_a_bucket(
    tmp_path: Path, pacs: Path, bucket_url: str
) -> None:
    content = image("1")
    (pacs / "one").write_bytes(content)
    bucket = bucket_url.rpartition("/")[0]
    async with archive(tmp_path, blobs=bucket_url, import_sources=bucket) as one:
        await one.imported(pacs, in_place=True)
        assert await stored(one.core) == [content]
        (pacs / "one").write_bytes(content[:-1])
        assert [data for _, data in await one.core.retrieve(instance("1")) if data] == []
        for own in (bucket, bucket_url, f"{bucket_url}/blobs"):
            with pytest.raises(grpc.aio.AioRpcError, match="of the archive itself"):
                await one.start(own, delete_source=True)


@pytest.mark.parametrize("source", ["pacs", "pacs/old", "pacs/old/in", "incoming/link"])
async def test_an_import_neither_deletes_nor_overwrites_adopted_files(tmp_path: Path, pacs: Path, source: str) -> None:
    """An adopted file is identical to the stored instance, as it has its only bytes."""
    adopted, incoming = pacs / "old", tmp_path / "incoming"
    (adopted / "in").mkdir(parents=True)
    (adopted / "in" / "one").write_bytes(image("1"))
    incoming.mkdir()
    (incoming / "one").write_text("no DICOM")
    os.symlink(adopted, incoming / "link")
    permitted = f"{pacs},{incoming}"
    async with archive(tmp_path, adopted_folders={"old": adopted}, import_sources=permitted) as one:
        await one.imported(adopted, in_place=True)
        operation, _ = await one.imported(tmp_path / source, delete_source=True)
        assert operation.state == pb.OPERATION_STATE_FAILED
        assert "adopted" in operation.error
        await one.imported(incoming, errors=str(adopted / "in"), delete_source=True)
        assert await stored(one.core) == [image("1")]
        operation, result = await one.imported(tmp_path / source)
        assert (operation.state, result.identical) == (pb.OPERATION_STATE_SUCCEEDED, 1), "a copy deletes nothing"
