"""Helpers for tests of operations: an index to fill, workers to kill, and comparison of their results."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from sqlalchemy import create_engine, text

from server.adapters.sql.engine import Database, open_database
from server.dicom.matching.query_tags import extract, new_tag
from server.model.operation import Operation, OperationState
from server.model.search.query import Level
from tests.contract.index.samples import NOON, sample
from tests.databases import migrated
from tests.e2e.archive import ROOT
from tests.operations import add_tags, index_all
from tests.programs import Program

STUDIES, INSTANCES = 60, 100
TAGS = [
    new_tag("StationName", "", "", Level.SERIES),
    new_tag("OperatorsName", "", "", Level.INSTANCE),
    new_tag("ExposureTime", "", "", Level.INSTANCE),
]
OPERATION = "a" * 32


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


@cache
def indexed_undisturbed() -> tuple[list[object], list[object]]:
    """Return the rows of another index with the same instances and tags, which this process has indexed."""
    with TemporaryDirectory() as folder:
        url = migrated(Path(folder, "index.db"))
        asyncio.run(_index(url))
        values, errors = indexed(url)
    assert len(values) > STUDIES * INSTANCES
    assert len(errors) == STUDIES * (INSTANCES // 7)
    return values, errors


async def _index(url: str) -> None:
    database = open_database(url, extract=extract)
    await fill(database)
    await add_tags(database, TAGS, OPERATION, NOON)
    await index_all(database, OPERATION, NOON, most=1_000)
    await database.close()


def runs(url: str, where: str = "true") -> int:
    """Return how many runs of operations the engine remembers."""
    is_sqlite = url.startswith("sqlite")
    engine = create_engine(f"{url.removesuffix('.db')}-operations.db" if is_sqlite else url)
    with engine.connect() as connection:
        schema = "" if is_sqlite else "dicomstore_operations."
        count: int = connection.execute(
            text(f"SELECT count(*) FROM {schema}workflow_status WHERE {where}")
        ).scalar_one()
    engine.dispose()
    return count


@contextmanager
def worker(
    url: str, data: Path, *, stale_seconds: float | None = None, look_seconds: float = 0.1, **settings: str
) -> Iterator[Program]:
    """Run a worker named after its data directory. With a time, it takes over operations idle for that long."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")},
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}",
        "DICOMSTORE_DATABASE": url,
        "DICOMSTORE_DATA": str(data),
        **{f"DICOMSTORE_{name.upper()}": value for name, value in settings.items()},
    }
    command = (
        ("server", "work")
        if stale_seconds is None
        else ("tests.e2e.impatient_worker", str(stale_seconds), str(look_seconds))
    )
    data.mkdir(exist_ok=True)
    log = log_of(data)
    log.touch()
    process = Program(*command, environment=environment, folder=data, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(data: Path) -> Path:
    """Return where a worker logs."""
    return data / "worker.log"


async def until_logged(data: Path, text: str, *processes: Program) -> None:
    """Wait until a worker has logged something."""
    while text not in log_of(data).read_text():
        assert all(process.poll() is None for process in processes), log_of(data).read_text()
        await asyncio.sleep(0.05)


async def until(database: Database, is_so: Callable[[Operation], bool], *processes: Program) -> Operation:
    """Wait until the operation is as it should be; the test's time-out ends a wait that has no end."""
    while True:
        operation = await database.operations.get(OPERATION)
        assert operation is not None
        if is_so(operation):
            return operation
        assert all(process.poll() is None for process in processes), "a worker ended by itself"
        await asyncio.sleep(0.02)


def is_done(operation: Operation) -> bool:
    """Return whether an operation is over; it must have succeeded then."""
    assert operation.state not in (OperationState.FAILED, OperationState.CANCELED), operation.error
    return operation.state is OperationState.SUCCEEDED
