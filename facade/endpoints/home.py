"""The page at `/`, `/v1`, `/v2` and `/docs` that describes the service, as HTML and as JSON."""

import base64
import hashlib
import html
from importlib.metadata import PackageNotFoundError, version

import orjson
from starlette.requests import Request
from starlette.responses import Response

from facade.config import Settings
from facade.request.accept import MediaRange, parse_accept
from facade.request.addresses import root_of
from facade.versions import VERSIONS

_JSON_NAMES = ("application/json", "application/dicom+json")
_HTML_NAMES = ("text/html", "application/xhtml+xml", "text/*", "*/*")

_STYLE = """
:root { color-scheme: light dark; --text: #1c2630; --soft: #56636f; --line: #d6dde3; --page: #f5f7f9; --card: #fff;
  --link: #0b5a9c }
@media (prefers-color-scheme: dark) { :root { --text: #e6ebef; --soft: #a3b0bb; --line: #33404b; --page: #141b21;
  --card: #1c252d; --link: #7cc0f7 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 46rem; margin: 0 auto; padding: 3.5rem 1.25rem }
h1 { margin: 0; font-size: 2rem; letter-spacing: -.02em }
h1 small { margin-left: .4rem; font-size: 1rem; font-weight: 400; letter-spacing: 0; color: var(--soft) }
p { margin: .4rem 0 0; color: var(--soft) }
h2 { margin: 2.2rem 0 .7rem; font-size: 1.05rem }
ul { margin: 0; padding: 0; list-style: none; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--card) }
li { padding: .75rem 1rem }
li + li { border-top: 1px solid var(--line) }
li span { display: block; color: var(--soft); font-size: .93rem }
a { color: var(--link); font-weight: 600; text-underline-offset: .2em }
a:focus-visible { outline: 3px solid var(--link); outline-offset: 3px; border-radius: .2rem }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
"""

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

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
    """GET /: name, version and links of the service, as HTML or JSON."""
    links = _links(request)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
    if _prefers_json(parse_accept(", ".join(request.headers.getlist("accept")))):
        body = {
            "name": "dicomstore",
            "version": _version(),
            "apiVersions": list(VERSIONS),
            "links": {name: url for name, url, _, _ in links},
            "documentation": _DOCUMENTATION,
        }
        return Response(orjson.dumps(body), 200, {"Content-Type": "application/json; charset=utf-8", **headers})
    headers |= {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
    return Response(_page(links), 200, {"Content-Type": "text/html; charset=utf-8", **headers})


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
    return [("viewer", f"{root}/", "Viewer", "View studies in this browser.")] if settings.viewer else []


def _page(links: list[tuple[str, str, str, str]]) -> bytes:
    items = "".join(
        f'<li><a href="{html.escape(url)}">{title}</a><span>{text}</span></li>' for _, url, title, text in links
    )
    resources = "".join(f"<li><code>{html.escape(name)}</code><span>{text}</span></li>" for name, text in _RESOURCES)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dicomstore</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>"
        f"<h1>dicomstore <small>{html.escape(_version())}</small></h1>"
        "<p>An archive for medical images. DICOMweb is served below <code>/v2</code> and <code>/v1</code>.</p>"
        f"<h2>Links</h2><ul>{items}</ul><h2>DICOMweb</h2><ul>{resources}</ul>"
        f"<h2>Documentation</h2><p>{_DOCUMENTATION}</p></main></body></html>"
    ).encode()


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


def _version() -> str:
    try:
        return version("dicomstore")
    except PackageNotFoundError:  # the source, not installed
        return ""
