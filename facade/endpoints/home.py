"""The page at `/`, `/v1`, `/v2` and `/docs` that describes the service, as HTML and as JSON."""

import html

import orjson
from starlette.requests import Request
from starlette.responses import Response

from facade.config import Settings
from facade.request.accept import MediaRange, parse_accept
from facade.request.addresses import root_of
from facade.response.html_page import html_page
from facade.versions import VERSIONS
from facade.viewer.public_path import BASE

_JSON_NAMES = ("application/json", "application/dicom+json")
_HTML_NAMES = ("text/html", "application/xhtml+xml", "text/*", "*/*")

_RESOURCES = (
    ("POST /v2/studies", "Store instances (STOW-RS)."),
    ("GET /v2/studies?PatientName=Doe*", "Search for studies, series and instances (QIDO-RS)."),
    ("GET /v2/studies/{study}", "Retrieve instances, metadata, frames and bulk data (WADO-RS)."),
    ("GET /v2/studies/{study}/rendered", "Render images of a study, a series, an instance or frames."),
    ("GET /v2/changefeed", "List stored and deleted instances in order."),
)

_DOCUMENTATION = (
    "The documentation is in the folder docs of the source: api.md describes all resources, conformance.md is the "
    "DICOM conformance statement, operations.md and settings.md describe how to run the archive."
)


async def home(request: Request) -> Response:
    """GET /: name and links of the service, as HTML or JSON."""
    links = _links(request)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
    if _prefers_json(parse_accept(", ".join(request.headers.getlist("accept")))):
        body = {
            "name": "dicomstore",
            "apiVersions": list(VERSIONS),
            "links": {name: url for name, url, _, _ in links},
            "documentation": _DOCUMENTATION,
        }
        headers |= {"Content-Type": "application/json; charset=utf-8"}
        return Response(orjson.dumps(body), 200, headers)
    page, headers_of_page = html_page("dicomstore", _content(links))
    return Response(page, 200, {**headers_of_page, **headers})


def _links(request: Request) -> list[tuple[str, str, str, str]]:
    """Return the name, URL, title and description of each link."""
    root, settings = root_of(request), request.app.state.settings
    viewer = _viewer(root, settings)
    return [
        *viewer,
        (
            "apiDescription",
            f"{root}/v2/api.json",
            "API description",
            "All resources in OpenAPI format, for tools and code generators.",
        ),
        ("studies", f"{root}/v2/studies?limit=10", "Studies", "The ten newest studies, as DICOM JSON."),
        ("health", f"{root}/health/check", "Health", "The state of the archive and its storage."),
    ]


def _viewer(root: str, settings: Settings) -> list[tuple[str, str, str, str]]:
    return [("viewer", f"{root}{BASE}", "Viewer", "View studies in this browser.")] if settings.viewer else []


def _content(links: list[tuple[str, str, str, str]]) -> str:
    items = "".join(
        f'<li><a href="{html.escape(url)}">{title}</a><span>{text}</span></li>' for _, url, title, text in links
    )
    resources = "".join(f"<li><code>{html.escape(name)}</code><span>{text}</span></li>" for name, text in _RESOURCES)
    return (
        "<h1>dicomstore</h1>"
        "<p>An archive for medical images. DICOMweb is served below <code>/v2</code> and <code>/v1</code>.</p>"
        f"<h2>Links</h2><ul>{items}</ul><h2>DICOMweb</h2><ul>{resources}</ul>"
        f"<h2>Documentation</h2><p>{_DOCUMENTATION}</p>"
    )


def _prefers_json(media_ranges: list[MediaRange]) -> bool:
    """Return whether the client names JSON and ranks it above HTML."""
    return next(
        (
            media_range.name in _JSON_NAMES
            for media_range in media_ranges
            if media_range.name in (*_JSON_NAMES, *_HTML_NAMES)
        ),
        False,
    )
