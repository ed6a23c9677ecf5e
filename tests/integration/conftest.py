"""Fixtures: a real core in this process, and gRPC stubs connected to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from server.bootstrap.serving import running
from tests.core import CoreClient, settings_for


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


@pytest.fixture
async def partitioned_core(tmp_path: Path) -> AsyncIterator[CoreClient]:
    """A core on SQLite and the filesystem, with partitions."""
    async with a_core(tmp_path, partitions=True) as client:
        yield client
