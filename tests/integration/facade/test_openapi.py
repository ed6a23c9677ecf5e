"""The OpenAPI document: it is valid and complete, and the service behaves as it says."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from facade.capabilities.openapi.operations import DESCRIBED
from facade.capabilities.openapi.parameters import OF_PATHS, OF_QUERIES
from facade.capabilities.openapi.schemas import SCHEMAS
from facade.routes import BARE, DICOM, SERVICE
from tests.data import part10
from tests.integration.facade.serving import stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = ("/stream", "/subscribers/{aetitle}")
"""Ends of paths whose responses do not end, or are no HTTP."""

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "3"))
"""Number of generated requests for each operation."""


async def document(web: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await web.get("/v2/api.json")).json()
    return found


async def test_the_document_is_valid(shared_web: httpx.AsyncClient) -> None:
    # Local import: it takes half a second, which each test process would need to collect this module.
    from openapi_spec_validator import OpenAPIV31SpecValidator

    described = await document(shared_web)
    # Each path is valid below a partition if it is without one.
    described["paths"] = {path: item for path, item in described["paths"].items() if "/partitions/{" not in path}
    OpenAPIV31SpecValidator(described).validate()


async def test_every_endpoint_parameter_and_schema_is_described(shared_web: httpx.AsyncClient) -> None:
    endpoints = {endpoint for row in (*DICOM, *SERVICE, *BARE) for endpoint in row.methods.values()}
    assert endpoints == DESCRIBED.keys()
    described = await document(shared_web)
    text = (await shared_web.get("/v2/api.json")).text
    for name in SCHEMAS:
        assert f'"#/components/schemas/{name}"' in text, name
    for name in OF_QUERIES:
        assert f'"#/components/parameters/{name}"' in text, name
    named = {parameter["name"] for item in described["paths"].values() for parameter in item["parameters"]}
    assert named == OF_PATHS.keys()
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                assert operation["summary"], f"{method} {path}"
                assert {"400", "401", "403", "404", "503"} <= operation["responses"].keys()


async def test_the_service_behaves_as_the_document_says(emptied_web: httpx.AsyncClient) -> None:
    """Generated requests get no response that the document does not describe."""
    await stored(emptied_web, part10(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.3.4"))
    described = await document(emptied_web)
    url = str(emptied_web.base_url).rstrip("/")
    faults = await asyncio.to_thread(
        lambda: [fault for one in operations(schema_of(described)) for fault in faults_of(one, url)]
    )
    assert not faults, "\n".join(faults)


def schema_of(described: dict[str, Any]) -> Any:
    """Return schemathesis' schema of a document."""
    import schemathesis  # local import: collecting this module would take half a second more

    @schemathesis.serializer("application/dicom", "application/dicom+xml")
    def as_bytes(context: Any, value: Any) -> bytes:
        """Return a generated body of a format that is no text: it is sent as it is."""
        return bytes(getattr(value, "data", value))

    return schemathesis.openapi.from_dict(described)


def operations(schema: Any) -> Iterator[Any]:
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.startswith("/v2/partitions/{partition}/") or operation.path.startswith("/login"):
            continue
        if not operation.path.endswith(ENDLESS):
            yield operation


def faults_of(operation: Any, url: str) -> list[str]:
    """Return what the responses to generated requests contradict."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.core.failures import Failure, FailureGroup
    from schemathesis.specs.openapi import checks

    checked = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    faults: list[str] = []

    @seed(0)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        response = case.call(base_url=url, timeout=20, allow_redirects=False)
        try:
            case.validate_response(response, checks=checked)
        except (Failure, FailureGroup) as error:
            faults.append(f"{operation.method.upper()} {operation.path}: {response.status_code} {error}"[:600])

    check()
    return faults
