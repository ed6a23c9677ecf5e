"""Operations finish even if the database of the workflow engine, or the worker that started them, is lost."""

import asyncio
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from server.adapters.sql.engine import Database, migrate, open_database
from server.dicom.matching.query_tags import extract
from server.model.operation import Operation, OperationState
from tests.contract.index.samples import NOON
from tests.databases import migrated
from tests.e2e.reindexing import (
    INSTANCES,
    OPERATION,
    STUDIES,
    TAGS,
    fill,
    indexed,
    indexed_undisturbed,
    is_done,
    log_of,
    until,
    until_logged,
    worker,
)
from tests.operations import add_tags

pytestmark = pytest.mark.timeout(180)

STALE_SECONDS = 1.0
TROUBLE = "could not process operations"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return migrated(tmp_path / "index.db")


async def begun(url: str) -> Database:
    """Return a database with instances, and an operation that is to index them."""
    database = open_database(url, extract=extract)
    await fill(database)
    await add_tags(database, TAGS, OPERATION, NOON)
    return database


def is_under_way(operation: Operation) -> bool:
    assert operation.state in (OperationState.NOT_STARTED, OperationState.RUNNING), "it was over too early"
    return operation.done >= 500


async def has_effect_once(database: Database, url: str) -> None:
    """The operation has done all, and nothing twice."""
    operation = await database.operations.get(OPERATION)
    assert operation is not None
    assert (operation.state, operation.done) == (OperationState.SUCCEEDED, STUDIES * INSTANCES)
    assert indexed(url) == await asyncio.to_thread(indexed_undisturbed)
    await database.close()


async def test_the_engines_database_is_damaged_for_a_while(url: str, tmp_path: Path) -> None:
    of_engine = tmp_path / "index-operations.db"
    database = await begun(url)
    with worker(url, tmp_path, stale_seconds=STALE_SECONDS) as process:
        await until(database, is_under_way, process)
        content = of_engine.read_bytes()
        of_engine.write_bytes(bytes(len(content)))
        await until_logged(tmp_path, TROUBLE, process)
        of_engine.write_bytes(content)
        await until(database, is_done, process)
    await has_effect_once(database, url)


async def test_the_engines_database_is_lost(url: str, tmp_path: Path) -> None:
    database = await begun(url)
    with worker(url, tmp_path, stale_seconds=STALE_SECONDS) as process:
        await until(database, is_under_way, process)
        (tmp_path / "index-operations.db").unlink()
        await until(database, is_done, process)
    await has_effect_once(database, url)


@pytest.mark.postgres
async def test_the_database_server_is_stopped_and_started(postgres_to_stop: Any, tmp_path: Path) -> None:
    url = make_url(postgres_to_stop.get_uri()).set(drivername="postgresql+psycopg").render_as_string(False)
    migrate(url)
    database = await begun(url)
    with worker(url, tmp_path, stale_seconds=STALE_SECONDS) as process:
        await until(database, is_under_way, process)
        postgres_to_stop.stop()
        await until_logged(tmp_path, TROUBLE, process)
        postgres_to_stop.start()
        await until(database, is_done, process)
    await has_effect_once(database, url)


def runner(url: str) -> str:
    """Return the name of the worker that has the operation."""
    engine = create_engine(url)
    with engine.connect() as connection:
        name: str = connection.execute(
            text("SELECT executor_id FROM dicomstore_operations.workflow_status WHERE workflow_uuid = :id"),
            {"id": OPERATION},
        ).scalar_one()
    engine.dispose()
    return name


@pytest.mark.postgres
async def test_another_worker_takes_over_the_operation_of_a_killed_one(postgres_url: str, tmp_path: Path) -> None:
    migrate(postgres_url)
    database = open_database(postgres_url, extract=extract)
    await fill(database)
    names = [tmp_path / "one", tmp_path / "other"]
    with (
        worker(postgres_url, names[0], stale_seconds=STALE_SECONDS) as one,
        worker(postgres_url, names[1], stale_seconds=STALE_SECONDS) as other,
    ):
        for name in names:
            await until_logged(name, "works", one, other)
        await add_tags(database, TAGS, OPERATION, datetime.now(UTC))
        await until(database, is_under_way, one, other)
        has_it = runner(postgres_url).endswith(str(names[0]))
        killed, left = (one, other) if has_it else (other, one)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        operation = await database.operations.get(OPERATION)
        assert operation is not None
        assert operation.state is OperationState.RUNNING
        await until(database, is_done, left)
    assert "made no progress" in log_of(names[1] if has_it else names[0]).read_text()
    await has_effect_once(database, postgres_url)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_workers_that_take_over_an_operation_from_each_other_run_each_step_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url: str = request.getfixturevalue({"sqlite": "url", "postgres": "postgres_url"}[kind])
    migrate(url)
    database = await begun(url)
    names = [tmp_path / "one", tmp_path / "other"]
    with (
        worker(url, names[0], stale_seconds=0, look_seconds=0.05) as one,
        worker(url, names[1], stale_seconds=0, look_seconds=0.05) as other,
    ):
        await until(database, is_done, one, other)
    assert "made no progress" in "".join(log_of(name).read_text() for name in names)
    await has_effect_once(database, url)
