"""An operation finishes whichever process is killed, with the same result as an undisturbed one."""

import asyncio
import signal
from pathlib import Path

import pytest

from server.adapters.sql.engine import migrate, open_database
from server.dicom.matching.query_tags import extract
from server.model.operation import OperationState
from tests.contract.index.samples import NOON
from tests.e2e.reindexing import (
    INSTANCES,
    OPERATION,
    STUDIES,
    TAGS,
    fill,
    indexed,
    indexed_undisturbed,
    is_done,
    runs,
    until,
    worker,
)
from tests.operations import add_tags

KILL_AFTER = (500, 2_000, 4_000)
"""Instances that are done when the worker is killed."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'index.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    migrate(url)
    return url


async def until_forgotten(url: str) -> None:
    """Wait until the engine has deleted all runs."""
    while runs(url):  # noqa: ASYNC110 - another process deletes them
        await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_a_worker_killed_three_times_has_the_same_result_as_an_undisturbed_one(url: str, tmp_path: Path) -> None:
    database = open_database(url, extract=extract)
    await fill(database)
    await add_tags(database, TAGS, OPERATION, NOON)
    for done in KILL_AFTER:
        with worker(url, tmp_path) as process:
            await until(database, lambda so_far, done=done: so_far.done >= done or is_done(so_far), process)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
    interrupted = await database.operations.get(OPERATION)
    assert interrupted is not None
    assert interrupted.state is OperationState.RUNNING, "it was over before it could be killed"
    with worker(url, tmp_path) as process:
        finished = await until(database, is_done, process)
        while runs(url, "status <> 'SUCCESS'"):  # noqa: ASYNC110 - the engine records the end after the operation
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert finished.done == STUDIES * INSTANCES
    disturbed = indexed(url)

    with worker(url, tmp_path, operation_days="1e-9"):
        await until_forgotten(url)

    assert disturbed == await asyncio.to_thread(indexed_undisturbed)
    await database.close()
