"""Without authentication the programs listen on addresses of this machine only."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.addresses import INSECURE_OPTION
from facade.app import create_app
from facade.config import Settings as FacadeSettings
from server.bootstrap.serving import running
from server.opening import StartError
from tests.core import settings_for
from tests.integration.conftest import a_core
from tests.programs import AsyncProgram

ROOT = Path(__file__).parents[2]
EVERYWHERE = "0.0.0.0:0"


@asynccontextmanager
async def program(module: str, *arguments: str, cwd: Path, **settings: str) -> AsyncIterator[AsyncProgram]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DICOMSTORE_")}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'gen'}", "DICOMSTORE_MIGRATE": "true"}
    environment |= {f"DICOMSTORE_{name.upper()}": value for name, value in settings.items()}
    process = await AsyncProgram.start(module, *arguments, environment=environment, folder=cwd)
    try:
        yield process
    finally:
        process.terminate()
        await process.communicate()


async def line_with(text: str, process: AsyncProgram) -> str:
    """Read the log up to a line with a text."""
    seen = ""
    async with asyncio.timeout(30):
        while line := (await process.stderr.readline()).decode():
            seen += line
            if text in line:
                return line
    raise AssertionError(seen)


async def test_an_open_core_refuses_to_listen_for_other_machines(tmp_path: Path) -> None:
    settings = settings_for(tmp_path).model_copy(update={"grpc": EVERYWHERE})
    with pytest.raises(StartError, match=INSECURE_OPTION):
        async with running(settings):
            pass


async def test_an_open_core_listens_for_other_machines_with_the_setting(tmp_path: Path) -> None:
    async with running(
        settings_for(tmp_path, insecure_without_authentication=True).model_copy(update={"grpc": EVERYWHERE})
    ) as core:
        assert core.address.startswith("0.0.0.0:")


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        ("server", {"grpc": EVERYWHERE}),
        ("node", {"grpc": "127.0.0.1:0", "http": EVERYWHERE}),
        ("node", {"grpc": EVERYWHERE, "http": "127.0.0.1:0"}),
    ],
)
async def test_an_open_program_for_other_machines_ends_with_the_remedy(
    module: str, settings: dict[str, str], tmp_path: Path
) -> None:
    async with program(module, cwd=tmp_path, **settings) as process:
        line = await line_with("Authentication is off", process)
        assert await process.wait() == 1
    assert EVERYWHERE in line
    assert INSECURE_OPTION in line


@pytest.mark.parametrize("module", ["server", "node"])
async def test_the_option_lets_an_open_program_listen_for_other_machines(module: str, tmp_path: Path) -> None:
    async with program(module, INSECURE_OPTION, cwd=tmp_path, grpc=EVERYWHERE, http=EVERYWHERE, workers="1") as process:
        assert "0.0.0.0" in await line_with("without authentication", process)
        assert "0.0.0.0" in await line_with("is not encrypted", process)


async def test_a_facade_for_other_machines_refuses_an_open_core_and_waits_for_one_that_does_not_answer(
    tmp_path: Path,
) -> None:
    async with a_core(tmp_path) as core:
        async with program("facade", cwd=tmp_path, http=EVERYWHERE, core=core.address) as process:
            assert INSECURE_OPTION in await line_with("Authentication is off", process)
            assert await process.wait() == 2
        async with program("facade", INSECURE_OPTION, cwd=tmp_path, http=EVERYWHERE, core=core.address) as process:
            assert "0.0.0.0" in await line_with("listens on", process)
    async with program("facade", cwd=tmp_path, http=EVERYWHERE, core=core.address) as process:
        assert await line_with("waiting for the core", process)


async def test_a_facade_for_other_machines_serves_only_while_the_core_requires_authentication(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        settings: dict[str, Any] = {"core": core.address, "workers": 1}
        for http, is_insecure, status in (
            (EVERYWHERE, False, 503),
            (EVERYWHERE, True, 204),
            ("127.0.0.1:0", False, 204),
        ):
            app = create_app(FacadeSettings(http=http, insecure_without_authentication=is_insecure, **settings))
            transport = httpx.ASGITransport(app)
            async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
                response = await client.get("http://127.0.0.1/v2/studies")
            assert response.status_code == status
