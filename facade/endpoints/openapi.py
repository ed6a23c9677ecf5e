"""The OpenAPI document of the service; `capabilities.openapi` makes it from the routes."""

from starlette.requests import Request
from starlette.responses import Response


async def as_json(request: Request) -> Response:
    """GET /api.json: this description as JSON."""
    return Response(_document(request), 200, {"Content-Type": "application/json; charset=utf-8"})


async def as_yaml(request: Request) -> Response:
    """GET /api.yaml: this description as YAML; JSON is a subset of YAML."""
    return Response(_document(request), 200, {"Content-Type": "application/yaml; charset=utf-8"})


def _document(request: Request) -> bytes:
    document: bytes = request.app.state.api_document(request.path_params["version"].name)
    return document
