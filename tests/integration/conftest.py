"""Fixtures: a real core in this process, and gRPC stubs connected to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_STUDY, SearchRequest

from server.bootstrap.serving import running
from tests.core import CoreClient, Ref, settings_for


@asynccontextmanager
async def a_core(data: Path, **settings: Any) -> AsyncIterator[CoreClient]:
    async with (
        running(settings_for(data, **settings)) as started,
        grpc.aio.insecure_channel(started.address) as channel,
    ):
        yield CoreClient(channel, data, started.address)


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[CoreClient]:
    """A core on SQLite and the filesystem, without partitions."""
    async with a_core(tmp_path) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_core(module_path: Path) -> AsyncIterator[CoreClient]:
    """A core that the tests of a module share, with its worker processes. They run in the module's loop."""
    async with a_core(module_path / "core") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def emptied_core(shared_core: CoreClient) -> AsyncIterator[CoreClient]:
    """As `shared_core`, for tests that store: all studies are deleted after each test."""
    yield shared_core
    found = await shared_core.search_stub.Search(SearchRequest(level=QUERY_LEVEL_STUDY))
    for match in found.matches:
        await shared_core.delete(Ref(study_instance_uid=match.resource.study_instance_uid))


@pytest.fixture
async def partitioned_core(tmp_path: Path) -> AsyncIterator[CoreClient]:
    """A core on SQLite and the filesystem, with partitions."""
    async with a_core(tmp_path, partitions=True) as client:
        yield client
