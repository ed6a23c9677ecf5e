"""PostgreSQL behind PgBouncer in transaction mode, which assigns a connection to each transaction.

Only the listening connection goes to the server itself. Statements cannot be prepared (before PgBouncer 1.21 not at
all), and the pooler refuses startup parameters such as `options`.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url

from tests.conftest import PostgresDatabases
from tests.data import part10
from tests.e2e.nodes import running_nodes
from tests.e2e.test_several_nodes import STORE, World, until
from tests.receiver import receiving

pytestmark = [pytest.mark.postgres, pytest.mark.clients("pgbouncer"), pytest.mark.timeout(300)]

_CONFIGURATION = """
[databases]
* = host={server} user=postgres
[pgbouncer]
pool_mode = transaction
default_pool_size = 4
listen_addr =
unix_socket_dir = {directory}
auth_type = any
logfile = {directory}/log
pidfile = {directory}/pid
stats_users = stats
"""


@pytest.fixture
def database(postgres_databases: PostgresDatabases) -> Iterator[str]:
    name = postgres_databases.create()
    yield postgres_databases.url(name)
    postgres_databases.drop(name)


@pytest.fixture
def pooler(database: str) -> Iterator[Path]:
    """The directory with the socket of a pooler; with four connections, which all clients share."""
    directory = Path(tempfile.mkdtemp(prefix="dicomstore-pgbouncer-"))
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(_CONFIGURATION.format(server=make_url(database).query["host"], directory=directory))
    user = []
    if os.geteuid() == 0:  # it refuses to run as root
        user = ["-u", "pgserver"]
        for path in (directory, configuration):
            shutil.chown(path, "pgserver")
    program = subprocess.Popen(["pgbouncer", "-q", *user, str(configuration)], stderr=subprocess.DEVNULL)
    yield directory
    program.terminate()
    program.wait(20)
    shutil.rmtree(directory)


async def test_everything_works_behind_a_pooler(tmp_path: Path, database: str, pooler: Path) -> None:
    pooled = make_url(database).update_query_dict({"host": str(pooler), "port": "6432"}).render_as_string(False)
    settings = {
        "database_listen": database,
        "partitions": "true",
        "webhook_http": "true",
        "webhook_networks": "127.0.0.0/8",
        "erase_interval_seconds": "3600",
    }
    async with receiving() as receiver:
        with running_nodes(tmp_path, pooled, **settings) as (first, second):
            first.start_worker()
            async with httpx.AsyncClient(base_url=f"{second.http}/v2", timeout=30) as http:
                world = World(second, receiver, http)
                created = await http.post("/webhooks", json={"url": receiver.url, "label": "router"})
                assert created.status_code == 201, created.text
                await world.every_kind_of_background_work("pooled")

                studies = "/partitions/Microsoft.Default/studies"
                assert (
                    await http.post(studies, content=part10(Manufacturer="Pooled"), headers=STORE)
                ).status_code == 200
                added = await http.post("/extendedquerytags", json=[{"path": "00080070", "level": "Series"}])
                assert added.status_code == 202, added.text
                operation = added.headers["location"].rpartition("/")[2]

                async def has_succeeded() -> bool:
                    return bool((await http.get(f"/operations/{operation}")).json()["status"] == "succeeded")

                await until(has_succeeded, first.log)
                series = "/partitions/Microsoft.Default/series?Manufacturer=Pooled"
                assert len((await http.get(series, headers={"Accept": "application/dicom+json"})).json()) == 1
            assert "interrupted" not in first.log() + second.log()
