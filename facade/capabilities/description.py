"""The Capabilities Description of a resource (PS3.18 Annex H): its methods, and the resources below it."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import orjson
from starlette.requests import Request
from starlette.responses import Response

from facade.capabilities.representations import Endpoint, Representations, representations_of
from facade.errors import Refusal
from facade.request.addresses import root_of, urls_of
from facade.request.query import accepted_media_ranges
from facade.versions import VERSIONS

WADL = "application/vnd.sun.wadl+xml"

_JSON = "application/json"
_XML_NAMES = (WADL, "application/xml", "text/xml", "application/*", "*/*")
_VERSION, _PARTITION = "{version}", "/partitions/{partition}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_NOT_IN_ID = re.compile(r"\W+")


@dataclass(slots=True)
class _Resource:
    """A node of the tree of paths.

    path: template of the whole path, for the ids of methods.
    """

    path: str
    methods: dict[str, Endpoint] = field(default_factory=dict)
    children: dict[str, "_Resource"] = field(default_factory=dict)

    def child(self, segment: str) -> "_Resource":
        """Return the resource one segment below, which is created if it does not exist."""
        if segment not in self.children:
            self.children[segment] = _Resource(f"{self.path}/{segment}")
        return self.children[segment]

    def at(self, path: str) -> "_Resource":
        """Return the resource with a path below this one."""
        resource = self
        for segment in filter(None, path.split("/")):
            resource = resource.child(segment)
        return resource


async def capabilities(request: Request, template: str, methods: frozenset[str]) -> Response:
    """OPTIONS: the description of a resource and those below it, as WADL or JSON.

    Args:
        request: for the resource.
        template: its path, as in the route.
        methods: that it supports.

    Raises:
        Refusal: 406.
    """
    headers = {"Allow": ", ".join(sorted(methods)), "Vary": "Accept"}
    for media_range in accepted_media_ranges(request):
        if media_range.name in _XML_NAMES:
            body = _wadl(*_described(request, template))
            return Response(body, 200, headers | {"Content-Type": f"{WADL}; charset=utf-8"})
        if media_range.name == _JSON:
            body = _json(*_described(request, template))
            return Response(body, 200, headers | {"Content-Type": f"{_JSON}; charset=utf-8"})
    raise Refusal(406, f"Only {WADL} and {_JSON} can be returned.")


def _described(request: Request, template: str) -> tuple[str, str, _Resource]:
    """Return the base URL of the service, the path of a resource below it, and the resource."""
    root = _Resource("")
    for route in request.app.routes:
        if hasattr(route, "row"):  # the viewer is not part of the API
            for path in _versions_of(route.path_format):
                root.at(path).methods.update(route.row.methods)
    if _VERSION not in template:
        return root_of(request), template.strip("/"), root.at(template)
    base = urls_of(request).base
    template = template.replace(_VERSION, request.path_params["version"].name)
    resource = root.at(template)
    below = template.split("/", 2)[2] if template.count("/") > 1 else ""
    return base, below.removeprefix(_PARTITION.strip("/")).strip("/"), resource


def _versions_of(path: str) -> list[str]:
    return [path.replace(_VERSION, name) for name in VERSIONS] if _VERSION in path else [path]


def _methods(resource: _Resource) -> Iterator[tuple[str, str, str, Representations]]:
    """Yield name, id, description and representations of each method."""
    for name, endpoint in sorted(resource.methods.items()):
        text = (inspect.getdoc(endpoint) or "").partition("\n")[0]
        id_ = f"{name}{_NOT_IN_ID.sub('-', resource.path.replace('$', 'do-'))}".rstrip("-")
        yield name, id_, text, representations_of(endpoint, name, resource.path)


def _wadl(base: str, path: str, resource: _Resource) -> bytes:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<application xmlns="http://wadl.dev.java.net/2009/02">',
        f"<resources base={quoteattr(base + '/')}>",
        *_wadl_resource(path, resource),
        "</resources>",
        "</application>",
    ]
    return "\n".join(lines).encode()


def _wadl_resource(path: str, resource: _Resource) -> Iterator[str]:
    yield f"<resource path={quoteattr(path)}>"
    for name in _PARAMETER.findall(path):
        yield f'<param name="{name}" style="template" required="true"/>'
    for name, id_, text, representations in _methods(resource):
        yield f'<method name="{name}" id="{id_}">'
        yield f"<doc>{escape(text)}</doc>"
        yield "<request>"
        if representations.responses:
            yield f'<param name="Accept" style="header" default={quoteattr(representations.responses[0])}>'
            yield from (f"<option value={quoteattr(media_type)}/>" for media_type in representations.responses)
            yield "</param>"
        yield from (f'<param name={quoteattr(one)} style="query"/>' for one in representations.parameters)
        yield from (f"<representation mediaType={quoteattr(one)}/>" for one in representations.requests)
        yield "</request>"
        yield "<response>"
        yield from (f"<representation mediaType={quoteattr(one)}/>" for one in representations.responses)
        yield "</response>"
        yield "</method>"
    for segment, child in sorted(resource.children.items()):
        yield from _wadl_resource(segment, child)
    yield "</resource>"


def _json(base: str, path: str, resource: _Resource) -> bytes:
    described = {"resources": {"base": base + "/", "resource": [_json_resource(path, resource)]}}
    return orjson.dumps({"application": described})


def _json_resource(path: str, resource: _Resource) -> dict[str, Any]:
    return {
        "path": path,
        "method": [
            {
                "name": name,
                "id": id_,
                "doc": text,
                "request": {
                    "param": [
                        {"name": "Accept", "style": "header", "option": list(representations.responses)},
                        *({"name": one, "style": "query"} for one in representations.parameters),
                    ],
                    "representation": [{"mediaType": one} for one in representations.requests],
                },
                "response": {"representation": [{"mediaType": one} for one in representations.responses]},
            }
            for name, id_, text, representations in _methods(resource)
        ],
        "resource": [_json_resource(segment, child) for segment, child in sorted(resource.children.items())],
    }
