"""What a node caches is at most a second old when another node has changed it (docs/operations.md)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, serving

STORE = {"Content-Type": "application/dicom", **JSON}
SLACK_SECONDS = 10
"""Longer than the second that is promised, for a busy machine."""


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Two cores with data directories of their own, and a facade of each."""
    shared = {
        "blobs": (tmp_path / "blobs").as_uri(),
        "database": f"sqlite:///{tmp_path / 'index.db'}",
        "audit_key": tmp_path / "audit-key.pem",
        "partitions": True,
        "migrate": True,
    }
    async with AsyncExitStack() as stack:
        clients = []
        for name in ("one", "two"):
            core = await stack.enter_async_context(running(settings_for(tmp_path / name, **shared)))
            clients.append(await stack.enter_async_context(serving(core.address)))
        yield clients[0], clients[1]


async def status(web: httpx.AsyncClient, pixel: bytes) -> int:
    """Store another content of the same instance."""
    body = part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.3.4", frames=[pixel])
    return (await web.post("/v2/partitions/ward/studies", content=body, headers=STORE)).status_code


async def test_changes_of_partitions_reach_the_other_node(nodes: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    one, two = nodes
    assert await status(one, b"1") == 200
    assert await status(two, b"2") == 409
    changed = await one.patch("/v2/partitions/ward", json={"duplicates": "new-version"})
    assert changed.status_code == 200, changed.text
    async with asyncio.timeout(SLACK_SECONDS):
        while await status(two, b"2") != 200:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.1)
    study = "/v2/partitions/ward/studies/1.2/metadata"
    assert (await two.get(study, headers=JSON)).status_code == 200
    assert (await one.patch("/v2/partitions/ward/studies/1.2/labels", json={"project": "lung"})).status_code == 200
    labelled = await two.get("/v2/partitions/ward/studies?label.project=lung", headers=JSON)
    assert labelled.status_code == 200, labelled.text
    assert (await one.delete("/v2/partitions/ward")).status_code == 204
    async with asyncio.timeout(SLACK_SECONDS):
        while (await two.get(study, headers=JSON)).status_code != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
