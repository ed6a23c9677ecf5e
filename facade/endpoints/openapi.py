"""The OpenAPI 3.0 description of the service, generated from the routes so that it is always up to date."""

import inspect
import re
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


async def as_json(request: Request) -> Response:
    """GET /api.json: this description as JSON."""
    return Response(_document(request), 200, {"Content-Type": "application/json; charset=utf-8"})


async def as_yaml(request: Request) -> Response:
    """GET /api.yaml: this description as YAML; JSON is a subset of YAML."""
    return Response(_document(request), 200, {"Content-Type": "application/yaml; charset=utf-8"})


def _document(request: Request) -> bytes:
    version: str = request.path_params["version"].name
    paths: dict[str, Any] = {}
    for route in request.app.routes:
        if not hasattr(route, "row"):  # the viewer is not part of the API
            continue
        path = _PARAMETER.sub(r"{\1}", route.path).replace("/{version}", f"/{version}")
        names = _PARAMETER.findall(path)
        paths[path] = {
            "parameters": [{"name": name, "in": "path", "required": True, "schema": _STRING} for name in names],
            **{method.lower(): _operation(endpoint) for method, endpoint in route.row.methods.items()},
        }
    document = {
        "openapi": "3.0.3",
        "info": {"title": "dicomstore DICOMweb", "version": version},
        "paths": paths,
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "security": [{"bearer": []}, {}],  # the archive decides whether a token is required
    }
    return orjson.dumps(document)


_STRING = {"type": "string"}


def _operation(endpoint: Any) -> dict[str, Any]:
    module = endpoint.__module__.rpartition(".")[2]
    summary = inspect.getdoc(endpoint) or ""
    return {
        "tags": [module],
        "summary": summary.partition("\n")[0],
        "responses": {"default": {"description": "See the status; errors are plain text."}},
    }
