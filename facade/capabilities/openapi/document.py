"""The document: every route with its parameters, bodies, statuses and security requirement."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from dicomstore.v1.access_options_pb2 import Action

from facade.actions import action_of
from facade.capabilities.openapi.operations import DESCRIBED
from facade.capabilities.openapi.parameters import OF_PATHS, OF_QUERIES
from facade.capabilities.openapi.schemas import BINARY, SCHEMAS, Schema, ref
from facade.capabilities.representations import Endpoint, Representations, representations_of
from facade.endpoints import health
from facade.response.store_outcomes import OUTCOMES_JSON
from facade.sharing import links

_CONVERTOR = re.compile(r"\{(\w+):\w+\}")
_PARAMETER = re.compile(r"\{(\w+)\}")
_NOT_IN_ID = re.compile(r"\W+")
_VERSION = "{version}"
_PAGES = ("text/html",)
_ANY_ATTRIBUTE = "{attributeID}"
_ATTRIBUTES = frozenset({_ANY_ATTRIBUTE, "label.{name}"})

_ERRORS = {"text/plain": {"schema": ref("Error")}}
_ALWAYS = (400, 401, 403, 404, 406, 429, 500, 501, 503)
_OF_BODIES = (408, 409, 411, 413, 415, 507)
_OF_CHANGES = (409, 412)
_OF_RETRIEVAL = (410, 412, 416)

_TEXTS: Mapping[int, str] = {
    304: "The client has the current state already.",
    401: "Credentials are required, or not valid.",
    403: "The client may not do this.",
    404: "The resource does not exist, or the client may not know it.",
    406: "None of the accepted media types is available.",
    409: "The state of the resource does not allow this, or no instance was stored.",
    429: "There are too many requests, or the partition is full.",
    503: "The service is busy or not available; `Retry-After` says when to try again.",
}

_WITH_OPTIONAL_BODY = frozenset({links.share, links.share_for_upload})

Paths = Iterable[tuple[str, Mapping[str, Endpoint]]]


def document(version: str, paths: Paths) -> bytes:
    """Return the document of an API version as JSON.

    Args:
        paths: path template and endpoints by method of all routes.
    """
    described = {}
    for path, methods in paths:
        template = _CONVERTOR.sub(r"{\1}", path).replace(_VERSION, version)
        described[template] = {
            "parameters": [_path_parameter(name) for name in _PARAMETER.findall(template)],
            **{method.lower(): _operation(endpoint, method, template) for method, endpoint in methods.items()},
        }
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "dicomstore",
                "version": version,
                "description": "DICOMweb (PS3.18) and administration of a dicomstore archive.",
                "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "paths": described,
            "components": {
                "schemas": dict(SCHEMAS),
                "parameters": dict(_query_parameters()),
                "responses": {str(status): _error(status) for status in _all_errors()},
                "securitySchemes": {
                    "bearer": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An access token of the identity provider, or an archive token.",
                    },
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": "dicomstore_session",
                        "description": "The session of a browser after `/login`.",
                    },
                },
            },
        }
    )


def _all_errors() -> Sequence[int]:
    return sorted({*_ALWAYS, *_OF_BODIES, *_OF_CHANGES, *_OF_RETRIEVAL})


def _error(status: int) -> dict[str, Any]:
    return {"description": _description(status), "content": _ERRORS}


def _description(status: int) -> str:
    return _TEXTS.get(status) or HTTPStatus(status).phrase


def _path_parameter(name: str) -> dict[str, Any]:
    description, schema = OF_PATHS[name]
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _operation(endpoint: Endpoint, method: str, path: str) -> dict[str, Any]:
    described = DESCRIBED[endpoint]
    representations = representations_of(endpoint, method, path)
    responses = _errors(_ALWAYS)
    if method in ("POST", "PUT", "PATCH"):
        responses |= _errors(_OF_BODIES)
    if method != "GET":
        responses |= _errors(_OF_CHANGES)
    elif 206 in described.statuses:
        responses |= _errors(_OF_RETRIEVAL)
    if representations.responses == _PAGES:  # their errors are pages, too
        responses |= {status: _page_of(int(status)) for status in responses}
    for status in described.statuses:
        responses[str(status)] = _response(status, described.schema, representations.responses)
    if endpoint is health.health:
        responses["503"] = _response(503, described.schema, representations.responses)
    operation: dict[str, Any] = {
        "operationId": _id_of(method, path),
        "tags": [endpoint.__module__.split(".")[-1].replace("_", " ")],
        "summary": (inspect.getdoc(endpoint) or "").partition("\n")[0],
        "parameters": list(_parameters(representations)),
        "responses": dict(sorted(responses.items())),
        "security": _security(endpoint),
    }
    if representations.requests:
        operation["requestBody"] = {
            "required": endpoint not in _WITH_OPTIONAL_BODY,
            "content": {name: {"schema": _schema_of(name, described.request)} for name in representations.requests},
        }
    return operation


def _page_of(status: int) -> dict[str, Any]:
    return {"description": _description(status), "content": {**_ERRORS, "text/html": {"schema": {"type": "string"}}}}


def _errors(statuses: Iterable[int]) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    """Return what a request requires; without authentication, the archive requires nothing."""
    if action_of(endpoint) == Action.ACTION_ANONYMOUS:
        return [{}]
    return [{"bearer": []}, {"session": []}, {}]


def _parameters(representations: Representations) -> Iterator[dict[str, Any]]:
    for name in representations.parameters:
        if name == _ANY_ATTRIBUTE:
            yield {"$ref": "#/components/parameters/attributes"}
        elif name not in _ATTRIBUTES:
            yield {"$ref": f"#/components/parameters/{name}"}


def _query_parameters() -> Iterator[tuple[str, dict[str, Any]]]:
    yield (
        "attributes",
        {
            "name": "attributes",
            "in": "query",
            "description": "Attributes and their values, each as a parameter: `PatientName=Doe*`; also `label.NAME`.",
            "style": "form",
            "explode": True,
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    )
    for name, (description, schema) in OF_QUERIES.items():
        yield name, {"name": name, "in": "query", "description": description, "schema": schema}


def _response(status: int, schema: str, media_types: Sequence[str]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _description(status)}
    if status in (101, 204, 304) or 300 <= status < 400:
        return response
    content = {name: {"schema": _schema_of(name, schema)} for name in media_types}
    if status >= 400:
        content |= _ERRORS
    return response | ({"content": content} if content else {})


def _schema_of(media_type: str, schema: str) -> Schema:
    if media_type == OUTCOMES_JSON:
        return ref("Outcomes")
    if media_type == "application/yaml":
        return ref("Document")
    is_json = media_type.partition(";")[0].endswith("json")
    return ref(schema) if is_json and schema else BINARY if not media_type.startswith("text/") else {"type": "string"}


def _id_of(method: str, path: str) -> str:
    return f"{method.lower()}{_NOT_IN_ID.sub('_', path.replace('$', 'do_')).rstrip('_')}"
