"""A real core and a facade in front of it, in this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.bootstrap import running
from tests.core import settings_for
from tests.integration.facade.serving import serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A facade of a core that all tests of a module share, because they only read. They run in the module's loop."""
    async with running(settings_for(tmp_path_factory.mktemp("core"))) as core, serving(core.address) as client:
        yield client


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A facade of a core without partitions."""
    async with running(settings_for(tmp_path)) as core, serving(core.address) as client:
        yield client


@pytest.fixture
async def partitioned_web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A facade of a core with partitions."""
    async with running(settings_for(tmp_path, partitions=True)) as core, serving(core.address) as client:
        yield client
