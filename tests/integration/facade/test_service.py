"""Common rules of all requests: versions, methods, ids, health, OpenAPI, the log."""

import logging
from pathlib import Path

import httpx
import pytest

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.integration.facade.serving import JSON, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_health_reports_that_the_core_and_its_stores_serve(shared_web: httpx.AsyncClient) -> None:
    response = await shared_web.get("/health/check")

    assert response.status_code == 200
    assert response.json() == {
        "overallStatus": "Healthy",
        "details": [
            {"name": name, "status": "Healthy", "description": "Serves."}
            for name in ("core", "index", "blobs", "writes", "operations", "changes", "authentication")
        ],
    }
    assert "api-supported-versions" not in response.headers


async def test_health_reports_an_unreachable_core(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path)) as core:
        address = core.address
    async with serving(address) as web:
        response = await web.get("/health/check")

    assert response.status_code == 503
    assert response.json()["overallStatus"] == "Unhealthy"


@pytest.mark.parametrize("path", ["/v2/studies", "/v1/studies?limit=0", "/v2/nonsense", "/v2/studies/x"])
async def test_every_versioned_response_names_the_versions(shared_web: httpx.AsyncClient, path: str) -> None:
    assert (await shared_web.get(path, headers=JSON)).headers["api-supported-versions"] == "1.0, 2.0"


@pytest.mark.parametrize("path", ["/studies", "/v99/studies", "/v1.0-prerelease/studies", "/v3", "/v2/nonsense"])
async def test_unknown_paths_are_not_found(shared_web: httpx.AsyncClient, path: str) -> None:
    assert (await shared_web.get(path, headers=JSON)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v2/studies", {"GET", "HEAD", "OPTIONS", "POST", "PUT"}),
        ("DELETE", "/v2/studies", {"GET", "HEAD", "OPTIONS", "POST", "PUT"}),
        ("PATCH", "/v2/studies/1.2", {"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"}),
        ("POST", "/v2/changefeed", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_unsupported_methods_are_405_with_the_allowed_ones(
    shared_web: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    response = await shared_web.request(method, path, headers=JSON)

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allowed


async def test_a_request_id_is_generated_or_kept(shared_web: httpx.AsyncClient) -> None:
    given = await shared_web.get("/v2/studies", headers=JSON | {"X-Request-Id": "abc-1"})
    made = await shared_web.get("/v2/studies", headers=JSON)
    odd = await shared_web.get("/v2/studies", headers=JSON | {"X-Request-Id": "a b"})

    assert given.headers["x-request-id"] == "abc-1"
    assert len(made.headers["x-request-id"]) == 32
    assert len(odd.headers["x-request-id"]) == 32


async def test_one_line_is_logged_without_the_search_values(
    shared_web: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="facade.access"):
        await shared_web.get("/v2/studies?PatientName=Doe", headers=JSON | {"X-Request-Id": "abc-1"})

    (line,) = [record.getMessage() for record in caplog.records if record.name == "facade.access"]
    assert line.startswith("method=GET route=/{version}/studies status=204 bytes=0 ms=")
    assert line.endswith(" request_id=abc-1")


async def test_the_openapi_description_lists_all_routes(shared_web: httpx.AsyncClient) -> None:
    described = await shared_web.get("/v2/api.json")
    document = described.json()

    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"bearer", "session"}
    assert set(document["paths"]["/v2/studies"]) == {"parameters", "get", "post", "put"}
    frames = document["paths"]["/v2/studies/{study}/series/{series}/instances/{instance}/frames/{frames}"]
    assert [parameter["name"] for parameter in frames["parameters"]] == ["study", "series", "instance", "frames"]
    assert all(
        operation["summary"]
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
    )
    assert (await shared_web.get("/v2/api.yaml")).content == described.content


@pytest.mark.parametrize("path", ["/v2/changefeed", "/v2/api.json", "/health/check"])
async def test_head_is_supported_wherever_get_is(shared_web: httpx.AsyncClient, path: str) -> None:
    head, get = await shared_web.head(path), await shared_web.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
