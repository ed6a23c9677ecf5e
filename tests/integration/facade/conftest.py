"""A real core with a facade in this process."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.bootstrap.serving import running
from tests.conftest import PostgresDatabases
from tests.core import settings_for
from tests.integration.facade.serving import JSON, serving

HOSTS = "*.example"
"""Names of the archive in tests of URLs."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_web(module_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A facade of a core that all tests of a module share, because they only read. They run in the module's loop."""
    async with (
        running(settings_for(module_path / "core")) as core,
        serving(core.address, allowed_hosts=HOSTS) as client,
    ):
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def emptied_web(shared_web: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """As `shared_web`, for tests that store: all studies are deleted after each test."""
    headers = shared_web.headers.copy()
    yield shared_web
    shared_web.headers = headers
    found = await shared_web.get("/v2/studies", headers=JSON)
    for study in found.json() if found.status_code == 200 else ():
        deleted = await shared_web.delete(f"/v2/studies/{study['0020000D']['Value'][0]}")
        assert deleted.status_code == 204


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def web_on_each_database(request: pytest.FixtureRequest, module_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """As `shared_web`, once with an index in SQLite and once in PostgreSQL."""
    database: dict[str, str] = {}
    with ExitStack() as stack:
        if request.param == "postgres":
            databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
            name = databases.create_migrated()
            stack.callback(databases.drop, name)
            database["database"] = databases.url(name)
        settings = settings_for(module_path / request.param, **database)
        async with running(settings) as core, serving(core.address, allowed_hosts=HOSTS) as client:
            yield client


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A facade of a core without partitions."""
    settings = settings_for(tmp_path, trusted_facades="127.0.0.1")
    async with running(settings) as core, serving(core.address, allowed_hosts=HOSTS) as client:
        yield client


@pytest.fixture
async def partitioned_web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A facade of a core with partitions."""
    async with (
        running(settings_for(tmp_path, partitions=True)) as core,
        serving(core.address, allowed_hosts=HOSTS) as client,
    ):
        yield client
