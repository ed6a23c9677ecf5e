"""`python -m facade`: start, serving, stop, and printing of settings."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from server.bootstrap.serving import running
from tests.certificates import Authority
from tests.core import settings_for
from tests.programs import AsyncProgram

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def program(*arguments: str, cwd: Path, **settings: str) -> AsyncIterator[AsyncProgram]:
    environment = os.environ | {f"DICOMSTORE_{name.upper()}": value for name, value in settings.items()}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'gen'}"
    process = await AsyncProgram.start("facade", *arguments, environment=environment, folder=cwd)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def address_of(process: AsyncProgram) -> str:
    """Read the log up to where it listens."""
    while line := (await process.stderr.readline()).decode():
        if "facade listens on " in line:
            return line.partition("facade listens on ")[2].partition(",")[0]
    raise AssertionError("the program ended before it listened")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_facade_serves_until_sigterm(tmp_path: Path, stop: signal.Signals, workers: str) -> None:
    async with program(cwd=tmp_path, http="127.0.0.1:0", core="127.0.0.1:1", workers=workers) as process:
        address = await address_of(process)
        async with httpx.AsyncClient(timeout=20) as client:
            response = await client.get(f"http://{address}/health/check")
        process.send_signal(stop)
        async with asyncio.timeout(20):
            _, log = await process.communicate()

    assert response.status_code == 503
    assert process.returncode == 0
    assert b"Traceback" not in log


async def test_the_facade_prints_its_settings_as_json(tmp_path: Path) -> None:
    async with program("config", cwd=tmp_path, public_url="https://h") as process:
        printed, _ = await process.communicate()

    assert process.returncode == 0
    assert json.loads(printed)["public_url"] == "https://h"


async def test_an_invalid_setting_ends_the_facade_with_one_message(tmp_path: Path) -> None:
    async with program(cwd=tmp_path, workers="none") as process:
        printed, log = await process.communicate()

    assert process.returncode == 2
    assert b"workers" in log
    assert b"Traceback" not in log
    assert printed == b""


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_facade_serves_https_and_logs_why_its_core_cannot_be_reached(tmp_path: Path, workers: str) -> None:
    authority = Authority(tmp_path)
    pair = authority.server()
    (tmp_path / "other").mkdir()
    tls = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    async with running(settings_for(tmp_path / "data", **tls)) as core:
        trusted = {"core": f"https://{core.address}", "core_ca": str(authority.certificate)}
        async with (
            program(cwd=tmp_path, http="127.0.0.1:0", workers=workers, **tls, **trusted) as process,
            httpx.AsyncClient(verify=authority.context(), timeout=20) as client,
        ):
            address = await address_of(process)
            for _ in range(4):
                response = await client.get(f"https://{address}/health/check", headers={"Connection": "close"})
                assert response.status_code == 200
            open_connection = await client.get(f"https://{address}/v2/studies")
            assert open_connection.status_code == 204
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                _, log = await process.communicate()
            assert process.returncode == 0
            assert b"Traceback" not in log

        trusted["core_ca"] = str(Authority(tmp_path / "other").certificate)
        async with (
            program(cwd=tmp_path, http="127.0.0.1:0", workers="1", **trusted) as process,
            httpx.AsyncClient(timeout=20) as client,
        ):
            address = await address_of(process)
            assert (await client.get(f"http://{address}/health/check")).status_code == 503
            process.send_signal(signal.SIGTERM)
            _, log = await process.communicate()
    assert b"the core cannot be reached" in log
    assert b"CERTIFICATE_VERIFY_FAILED" in log


async def test_unusable_certificates_end_the_facade_with_one_message(tmp_path: Path) -> None:
    async with program(cwd=tmp_path, tls_certificate="missing.pem", tls_key="missing.key") as process:
        _, log = await process.communicate()

    assert process.returncode == 2
    assert b"tls_certificate: missing.pem cannot be read" in log
    assert b"Traceback" not in log
