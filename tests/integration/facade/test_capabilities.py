"""Retrieve Capabilities (PS3.18 section 8.9 and Annex H; docs/api.md, Capabilities), without a core."""

from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from facade.capabilities.description import WADL
from facade.routes import routes
from facade.versions import VERSIONS
from tests.integration.facade.serving import serving

NO_CORE = "127.0.0.1:1"
NAMESPACE = {"w": "http://wadl.dev.java.net/2009/02"}


async def described(path: str, accept: str = "application/json", **headers: str) -> httpx.Response:
    async with serving(NO_CORE, allowed_hosts="*.example") as web:
        return await web.options(path, headers={"Accept": accept, **headers})


def methods_of(resource: dict[str, Any], above: str = "") -> dict[str, set[str]]:
    """Return the methods of a resource and those below it, by path."""
    path = f"{above}/{resource['path']}".rstrip("/")
    found = {path: {method["name"] for method in resource["method"]}} if resource["method"] else {}
    for child in resource["resource"]:
        found |= methods_of(child, path)
    return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_description_of_a_version_has_every_route(version: str) -> None:
    answer = await described(f"/{version}")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    resources = answer.json()["application"]["resources"]
    assert resources["base"].endswith(f"/{version}/")
    expected: dict[str, set[str]] = {}
    for route in routes():
        if route.path_format.startswith("/{version}"):
            expected.setdefault(route.path_format.removeprefix("/{version}"), set()).update(route.row.methods)
    assert methods_of(resources["resource"][0]) == expected


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2", "/v2/studies", "/v2/studies/1.2", "/v2/partitions/ward/studies/1.2/series"]
)
@pytest.mark.parametrize("accept", ["", "*/*", WADL, "application/xml", "text/html, application/*;q=0.1"])
async def test_the_description_is_wadl_by_default(path: str, accept: str) -> None:
    answer = await described(path, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"{WADL}; charset=utf-8")
    application = ElementTree.fromstring(answer.text)
    assert application.tag == f"{{{NAMESPACE['w']}}}application"
    [resources] = application.findall("w:resources", NAMESPACE)
    assert str(resources.get("base")).startswith("http://")
    ids = [method.get("id") for method in application.iter(f"{{{NAMESPACE['w']}}}method")]
    assert len(ids) == len(set(ids)) > 1
    for resource in application.iter(f"{{{NAMESPACE['w']}}}resource"):
        parameters = {param.get("name") for param in resource.findall("w:param", NAMESPACE)}
        assert all(f"{{{name}}}" in str(resource.get("path")) for name in parameters)


async def test_a_resource_is_described_with_its_media_types_and_what_is_below_it() -> None:
    answer = await described("/v2/partitions/ward/studies/1.2")
    resources = answer.json()["application"]["resources"]
    assert resources["base"].endswith("/v2/partitions/ward/")
    [study] = resources["resource"]
    assert study["path"] == "studies/{study}"
    assert "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}" in methods_of(study)
    by_name = {method["name"]: method for method in study["method"]}
    assert {"DELETE", "GET", "POST"} <= by_name.keys()
    types = [one["mediaType"] for one in by_name["GET"]["response"]["representation"]]
    assert types == ['multipart/related; type="application/dicom"', "application/zip"]
    body = [one["mediaType"] for one in by_name["POST"]["request"]["representation"]]
    assert body == ["application/dicom", 'multipart/related; type="application/dicom"']
    [metadata] = [child for child in study["resource"] if child["path"] == "metadata"]
    names = [param["name"] for param in metadata["method"][0]["request"]["param"]]
    assert names[0] == "Accept"
    assert "includefield" in names


async def test_the_allowed_methods_are_a_header() -> None:
    answer = await described("/v2/studies/1.2/labels")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


async def test_other_media_types_are_not_acceptable_and_unknown_paths_not_found() -> None:
    assert (await described("/v2", "text/html")).status_code == 406
    assert (await described("/v2/nothing")).status_code == 404


async def test_a_preflight_request_is_not_a_request_for_capabilities() -> None:
    origin = {"Origin": "http://localhost:3000"}
    preflight = await described("/v2/studies", **origin, **{"Access-Control-Request-Method": "POST"})
    assert preflight.content == b""
    assert preflight.headers["access-control-allow-methods"]
    answer = await described("/v2/studies", **origin)
    assert answer.json()["application"]
    assert answer.headers["access-control-allow-origin"] == origin["Origin"]
