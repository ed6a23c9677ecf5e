"""An operation is finished whoever is killed on the way, and has the effect of one that nobody disturbed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from sqlalchemy import create_engine, text

from server.adapters.sql.engine import Database, migrate, open_database
from server.dicom.tags import extract, new_tag
from server.model.operation import OperationState
from server.model.query import Level
from tests.contract.index.samples import NOON, sample
from tests.e2e.archive import ROOT

STUDIES, INSTANCES = 60, 100
KILL_AFTER = (500, 2_000, 4_000)
"""Instances that are done when the worker is killed."""

TAGS = [
    new_tag("StationName", "", "", Level.SERIES),
    new_tag("OperatorsName", "", "", Level.INSTANCE),
    new_tag("ExposureTime", "", "", Level.INSTANCE),
]
OPERATION = "a" * 32


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'index.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    migrate(url)
    return url


async def fill(database: Database) -> None:
    """Store instances of which every seventh has a value that can't be indexed."""
    for study in range(1, STUDIES + 1):
        new = [
            sample(
                study,
                number % 3 + 1,
                number,
                dicom_json=orjson.dumps(
                    {
                        "00081010": {"vr": "SH", "Value": [f"ROOM {study}-{number}"]},
                        "00081070": {"vr": "PN", "Value": [{"Alphabetic": f"Nurse^{number}"}]},
                        "00181150": {"vr": "IS", "Value": ["x" if number % 7 == 0 else number]},
                    }
                ),
            )
            for number in range(1, INSTANCES + 1)
        ]
        await database.instances.add(new, NOON)


def indexed(url: str) -> tuple[list[object], list[object]]:
    """Return all values and all errors of tags."""
    engine = create_engine(url)
    with engine.connect() as connection:
        values = connection.execute(
            text('SELECT tag_key, owner, part, "text", number FROM extended_query_tag_values ORDER BY 1, 2, 3')
        ).all()
        errors = connection.execute(
            text("SELECT tag_key, version, message FROM extended_query_tag_errors ORDER BY 1, 2")
        ).all()
    engine.dispose()
    return list(map(tuple, values)), list(map(tuple, errors))


def runs(url: str) -> int:
    """Return how many runs of operations the engine remembers."""
    is_sqlite = url.startswith("sqlite")
    engine = create_engine(f"{url.removesuffix('.db')}-operations.db" if is_sqlite else url)
    with engine.connect() as connection:
        schema = "" if is_sqlite else "dicomstore_operations."
        count: int = connection.execute(text(f"SELECT count(*) FROM {schema}workflow_status")).scalar_one()
    engine.dispose()
    return count


@contextmanager
def worker(url: str, data: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")},
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}",
        "DICOMSTORE_DATABASE": url,
        "DICOMSTORE_DATA": str(data),
        **{f"DICOMSTORE_{name.upper()}": value for name, value in settings.items()},
    }
    with subprocess.Popen([sys.executable, "-m", "server", "work"], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


async def until(
    database: Database, is_so: Callable[[int, OperationState], bool], process: subprocess.Popen[bytes]
) -> None:
    """Wait until the operation is as it should be; the test's time-out ends a wait that has no end."""
    while True:
        operation = await database.operations.get(OPERATION)
        assert operation is not None
        if is_so(operation.done, operation.state):
            return
        assert process.poll() is None, "the worker ended by itself"
        await asyncio.sleep(0.002)


async def until_forgotten(database: Database, url: str) -> None:
    """Wait until nothing is remembered of the operation."""
    while True:
        if await database.operations.get(OPERATION) is None and not runs(url):
            return
        await asyncio.sleep(0.01)


@pytest.mark.timeout(180)
async def test_a_worker_that_is_killed_three_times_leaves_what_an_undisturbed_one_leaves(
    url: str, tmp_path: Path
) -> None:
    database = open_database(url, extract=extract)
    await fill(database)
    await database.tags.add(TAGS, OPERATION, "", 128, NOON)
    for done in KILL_AFTER:
        with worker(url, tmp_path) as process:
            await until(database, lambda at, state, done=done: at >= done or state.is_final, process)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
    interrupted = await database.operations.get(OPERATION)
    assert interrupted is not None
    assert interrupted.state is OperationState.RUNNING, "it was over before it could be killed"
    with worker(url, tmp_path) as process:
        await until(database, lambda at, state: state.is_final, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finished = await database.operations.get(OPERATION)
    assert finished is not None
    assert (finished.state, finished.done) == (OperationState.SUCCEEDED, STUDIES * INSTANCES)
    disturbed = indexed(url)

    with worker(url, tmp_path, operation_days="1e-9"):
        await until_forgotten(database, url)

    for tag in TAGS:
        await database.tags.delete(tag.tag)
    await database.tags.add(TAGS, "b" * 32, "", 128, datetime.now(UTC))
    while await database.tags.index("b" * 32, 1_000, datetime.now(UTC)):
        pass
    assert indexed(url) == disturbed
    assert len(disturbed[0]) > STUDIES * INSTANCES
    assert len(disturbed[1]) == STUDIES * (INSTANCES // 7)
    await database.close()
