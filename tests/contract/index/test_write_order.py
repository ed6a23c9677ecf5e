"""Several processes that write to one SQLite file write one after another."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.adapters.sql.core.write_order import FileWriteOrder
from server.adapters.sql.engine import open_database
from server.model.errors import Reason, Unavailable
from server.model.instance import Added
from tests.contract.index.samples import NOON, sample

sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

HOLDS = """
import sys, time
from server.adapters.sql.core.write_order import FileWriteOrder

with FileWriteOrder(sys.argv[1]):
    print("in", flush=True)
    time.sleep(600)
"""


def database_file(url: str) -> str:
    return url.removeprefix("sqlite:///")


@pytest.fixture
def holder(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the write lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, database_file(url)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        yield process
        process.kill()


@sqlite_only
async def test_a_writer_waits_for_the_lock_and_gets_it_when_the_other_process_dies(
    url: str, holder: subprocess.Popen[bytes]
) -> None:
    database = open_database(url)
    adding = asyncio.ensure_future(database.instances.add([sample()], NOON))
    assert await asyncio.wait([adding], timeout=0.3) == (set(), {adding})
    assert await database.instances.find(sample().id.address) == []  # readers don't wait
    holder.kill()
    (outcome,) = await asyncio.wait_for(adding, 10)
    assert isinstance(outcome, Added)
    await database.close()


@sqlite_only
async def test_a_failed_transaction_releases_the_write_lock(url: str) -> None:
    own, other = open_database(url), open_database(url)
    for _ in range(3):
        with pytest.raises(AttributeError):
            await own.instances.add([None], NOON)  # type: ignore[list-item]
        await asyncio.wait_for(other.instances.add([sample()], NOON), 10)
    await own.close()
    await other.close()


def test_without_a_database_there_is_no_wait_and_no_lock_file(tmp_path: Path) -> None:
    write_order = FileWriteOrder(str(tmp_path / "index.db"))
    with write_order:
        pass
    write_order.close()
    assert not os.listdir(tmp_path)


def test_a_lock_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "index.db").touch()
    (tmp_path / "index.db-write-order").mkdir()
    with pytest.raises(Unavailable) as caught, FileWriteOrder(str(tmp_path / "index.db")):
        pass
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
