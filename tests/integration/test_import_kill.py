"""Imports whose worker is killed: every file is stored exactly once, nothing is lost, nothing is half-visible."""

import asyncio
import os
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1.operation_types_pb2 import ImportRequest

from server.bootstrap.maintenance import auditing
from server.config import Settings
from server.domain.imports import batch, operation
from tests.audit import recorded_instances
from tests.core import settings_for
from tests.data import part10
from tests.integration.archive_process import in_a_process
from tests.integration.conftest import a_core
from tests.integration.test_imports import Archive, stored
from tests.operations import perform

STEPS = ("pwritev", "fsync", "fdatasync", "replace", "link", "unlink")
COUNT = 60


def work(events: Connection, settings: Settings, kill_at: int) -> None:
    """Do what a worker does, in many short calls; be killed before a step of the disk."""
    count = 0

    def counted(step: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **options)

        return call

    operation._STEP_SECONDS = 0
    batch._GROUP_FILES = 5
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    asyncio.run(perform(settings))
    events.send(("steps", count))


@pytest.mark.parametrize("kind", ["copied", "adopted", "moved", "copied with PostgreSQL"])
async def test_an_import_that_is_killed_again_and_again_is_completed(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    source, errors = tmp_path / "incoming", tmp_path / "errors"
    source.mkdir()
    large = part10(frames=[bytes(2 << 20)], Rows=1024, Columns=2048)
    contents = [large, *(part10(InstanceNumber=str(number), frames=[bytes(1000)]) for number in range(COUNT))]
    for number, content in enumerate(contents):
        (source / f"{number:03}").write_bytes(content)
    for name in ("020-bad", "040-bad"):
        (source / name).write_text("no DICOM")
    url = request.getfixturevalue("postgres_url") if "PostgreSQL" in kind else ""
    fields: dict[str, Any] = {"import_sources": f"{source},{errors}"}
    if kind == "adopted":
        fields["adopted_folders"] = {"in": source}
    settings = settings_for(tmp_path / "data", database=url, **fields)
    async with a_core(tmp_path / "data", database=url, **fields) as core:
        one = Archive(core, settings)
        wanted = ImportRequest(source=str(source), in_place=kind == "adopted")
        if kind == "moved":
            wanted.delete_source, wanted.errors = True, str(errors)
        start = pb.StartOperationRequest()
        start.request.Pack(wanted)
        started = (await one.operations.StartOperation(start)).operation.id
        for kill_at in (4, 9, 14, 19, 25):
            assert await asyncio.to_thread(in_a_process, work, settings, kill_at) == [], "it was killed"
            with suppress(grpc.aio.AioRpcError):  # nothing may be stored yet
                assert set(await stored(core)) <= set(contents)
        assert await asyncio.to_thread(in_a_process, work, settings, 0)
        found, result = await one.worked(started)
        assert found.state == pb.OPERATION_STATE_SUCCEEDED, found.error
        assert await stored(core) == sorted(contents)
        assert len(await core.changes(page_size=200)) == len(contents), "each is stored once"
        assert [name for name, _ in await one.errors(started)] == ["020-bad", "040-bad"], "each fails once"
        if kind == "moved":
            assert not any(source.iterdir())
            assert sorted(path.name for path in errors.iterdir()) == [
                "020-bad",
                "020-bad.error.json",
                "040-bad",
                "040-bad.error.json",
            ]
        else:
            assert result.stored + result.identical == len(contents)
            assert len(list(source.iterdir())) == len(contents) + 2
    async with a_core(tmp_path / "data", database=url, **fields):  # cleans up after the killed processes
        pass
    async with auditing(settings) as audit:
        report = await audit.run(deep=True)
    assert report.agrees
    assert (report.instances, report.unused) == (len(contents), 0)
    outcomes = [
        uid
        for _, _, uid, _, outcome, _ in recorded_instances(tmp_path / "data", subtype="bulk-import-store")
        if outcome == "stored"
    ]
    assert len(outcomes) == len(set(outcomes)) == len(contents), "each is in the audit trail once"
