"""Objects of a request are freed at its end, and not by the cyclic collector, which takes longer and runs rarely."""

import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from facade.app import create_app
from facade.config import Settings
from node.calls import LocalChannel, LocalServer
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import new_uid, part10
from tests.integration.facade.serving import JSON, serving_application, stow

OWN = {"common", "facade", "node", "server"}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_for(tmp_path)) as core:
        local = LocalServer(core.interceptors)
        core.register(local)
        async with serving_application(create_app(Settings(), LocalChannel(local))) as client:
            yield client


@contextmanager
def own_garbage() -> Iterator[Counter[str]]:
    """Count the unreachable objects of this project's types that remain after the block."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(type(one).__qualname__ for one in gc.garbage if type(one).__module__.partition(".")[0] in OWN)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_storing_searching_and_retrieving_leave_no_reference_cycles(node: httpx.AsyncClient) -> None:
    study = new_uid()
    studies = f"/v2/studies/{study}"

    async def use() -> None:
        assert (await stow(node, part10(StudyInstanceUID=study))).status_code == 200
        assert (await node.get("/v2/studies", params={"StudyInstanceUID": study}, headers=JSON)).status_code == 200
        assert (await node.get(f"{studies}/metadata", headers=JSON)).status_code == 200
        accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        assert (await node.get(studies, headers=accept)).status_code == 200

    await use()
    with own_garbage() as garbage:
        await use()
    assert not garbage
