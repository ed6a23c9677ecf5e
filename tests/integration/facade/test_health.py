"""Health reports reading, writing and faults, from the core's probes to /health/check."""

import asyncio
import logging
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.bootstrap.serving import running
from server.rpc.monitoring.health import Health
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, serving

DICOM = JSON | {"Content-Type": "application/dicom"}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_for(tmp_path / "data")) as core, serving(core.address) as web:
        yield web


async def becomes(web: httpx.AsyncClient, overall: str) -> tuple[int, dict[str, str]]:
    """Wait until health has an overall status; return the HTTP status and the status of each component."""
    async with asyncio.timeout(20):
        while True:
            response = await web.get("/health/check")
            body = response.json()
            if body["overallStatus"] == overall:
                return response.status_code, {entry["name"]: entry["status"] for entry in body["details"]}
            await asyncio.sleep(0.1)


@contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_refuses_uploads_is_degraded_is_logged_and_recovers(
    web: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    large = part10(PixelData=os.urandom(3_000_000), Rows=1000, Columns=1000, BitsAllocated=8, SamplesPerPixel=3)
    with no_file_larger_than(2_000_000):
        refused = await web.post("/v2/studies", content=large, headers=DICOM)
        assert refused.status_code == 507
        assert await becomes(web, "Degraded") == (
            200,
            {
                "core": "Healthy",
                "index": "Healthy",
                "blobs": "Healthy",
                "writes": "Degraded",
                "operations": "Healthy",
                "changes": "Healthy",
                "authentication": "Healthy",
            },
        )
    assert "component is down name=writes reason=STORAGE_FULL" in caplog.text
    assert (await becomes(web, "Healthy"))[0] == 200
    assert (await web.post("/v2/studies", content=large, headers=DICOM)).status_code in (200, 202)


async def test_unreadable_blobs_are_503(web: httpx.AsyncClient, tmp_path: Path) -> None:
    os.rename(tmp_path / "data/blobs", tmp_path / "data/elsewhere")
    status, components = await becomes(web, "Unhealthy")
    assert (status, components["blobs"], components["index"]) == (503, "Unhealthy", "Healthy")
    os.rename(tmp_path / "data/elsewhere", tmp_path / "data/blobs")
    assert (await becomes(web, "Healthy"))[0] == 200


async def test_little_free_space_is_logged_once_and_is_healthy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(settings_for(tmp_path, warn_free_bytes=1 << 60)) as core, serving(core.address) as web:
        assert (await becomes(web, "Healthy"))[0] == 200
    [warning] = [record for record in caplog.records if "disk space is low" in record.getMessage()]
    assert warning.levelno == logging.WARNING
    assert f"warn_free_bytes={1 << 60}" in warning.getMessage()


async def test_a_probe_that_does_not_answer_is_a_fault_within_its_deadline_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("server.rpc.monitoring.health.PROBE_SECONDS", 0.05)
    frozen, calls = asyncio.Event(), []

    async def probe() -> None:
        calls.append(1)
        await frozen.wait()

    health = Health([], {"index": probe}, {}, asyncio.Event())
    for _ in range(3):
        await health.check()
        assert await status_of(health, "index") == "NOT_SERVING"
        assert await status_of(health, "") == "NOT_SERVING"
    assert len(calls) == 1
    assert caplog.text.count("reason=TIMEOUT") == 1
    frozen.set()
    await health.check()
    await health.check()
    assert await status_of(health, "") == "SERVING"


async def status_of(health: Health, service: str) -> Any:
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

    answer = await health.servicer.Check(HealthCheckRequest(service=service), None)
    return HealthCheckResponse.ServingStatus.Name(answer.status)
