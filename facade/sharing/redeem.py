"""The pages of share links for people: the viewer or a list of downloads, and an upload page."""

import html
from datetime import UTC
from urllib.parse import quote, urlsplit

from dicomstore.v1.share_service_pb2 import (
    SHARE_PURPOSE_UPLOAD,
    GetOwnShareLinkRequest,
    GetOwnShareLinkResponse,
    ShareLink,
)
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from facade.channel import Core
from facade.config import Settings
from facade.errors import CoreFailure
from facade.explorer import site
from facade.request.addresses import service_root
from facade.response.html_page import html_page
from facade.serving.observe import call_metadata
from facade.sharing.paths import WHOLE_TOKEN, cookie_name
from facade.viewer.public_path import BASE

_NEVER_STORED = {"Cache-Control": "no-store"}
_INVALID = (
    "<h1>This link is not valid</h1><p>It has expired or was revoked, or it is incomplete. Ask for a new one.</p>"
)
_VERSION = "v2"


async def redeem(request: Request) -> Response:
    """GET /share/{token}: what is shared, in the viewer or as a page; for an upload link a page for uploads."""
    token: str = request.path_params["token"]
    if not WHOLE_TOKEN.fullmatch(token):
        return _invalid()
    core: Core = request.app.state.core
    metadata = (
        *(pair for pair in call_metadata(request) if pair[0] != "authorization"),
        ("authorization", f"Bearer {token}"),
    )
    try:
        answer: GetOwnShareLinkResponse = await core.call(
            core.shares.GetOwnShareLink, GetOwnShareLinkRequest(), metadata
        )
    except CoreFailure as failure:
        if failure.reason not in ("UNAUTHENTICATED", "SHARE_LINK_NOT_FOUND"):
            raise
        return _invalid()
    link = answer.link
    capabilities = await core.get_capabilities(metadata)
    partition = link.scope.partition if capabilities.features.partitions else ""
    settings: Settings = request.app.state.settings
    below = f"{service_root(request)}/share"
    if link.purpose == SHARE_PURPOSE_UPLOAD:
        return _upload_page(link, urlsplit(service_root(request)).path, f"{token}{_base(partition)}/studies")
    if settings.viewer:
        return _to_viewer(request, link, partition, token)
    return _downloads(link, f"{below}/{token}{_base(partition)}")


def _invalid() -> Response:
    page, headers = html_page("Link not valid", _INVALID)
    headers = {**headers, "WWW-Authenticate": 'Bearer error="invalid_token"'}
    return Response(page, 401, {**headers, **_NEVER_STORED})


def _base(partition: str) -> str:
    return f"/{_VERSION}/partitions/{quote(partition, safe='')}" if partition else f"/{_VERSION}"


def _to_viewer(request: Request, link: ShareLink, partition: str, token: str) -> Response:
    """Redirect to the viewer, with the token in a cookie for the path of this link only.

    No script and no URL of the viewer has the token. The cookie ends with the browser session.
    """
    root = service_root(request)
    source = f"share-{link.id}-{partition}" if partition else f"share-{link.id}"
    query = f"StudyInstanceUIDs={link.scope.study_instance_uid}"
    if link.scope.series_instance_uid:
        query += f"&SeriesInstanceUIDs={link.scope.series_instance_uid}"
    response = RedirectResponse(f"{root}{BASE}viewer/{source}?{query}", 303, _NEVER_STORED)
    is_https = root.startswith("https:")
    response.set_cookie(
        cookie_name(is_https=is_https),
        token,
        path=f"{urlsplit(root).path}/shared/{link.id}",
        secure=is_https,
        httponly=True,
        samesite="strict",
    )
    return response


def _downloads(link: ShareLink, base: str) -> Response:
    scope = link.scope
    path, kind = f"/studies/{scope.study_instance_uid}", "study"
    if scope.series_instance_uid:
        path, kind = f"{path}/series/{scope.series_instance_uid}", "series"
    if scope.sop_instance_uid:
        path, kind = f"{path}/instances/{scope.sop_instance_uid}", "instance"
    url = f"{base}{path}"
    rows = [
        (f"{url}?accept=application/zip", "Download", "All DICOM files in a ZIP archive."),
        (f"{url}/rendered", "View", "Rendered images or documents."),
        (f"{url}/metadata", "Attributes", "DICOM JSON."),
    ]
    items = "".join(
        f'<li><a href="{html.escape(target)}">{title}</a><span>{text}</span></li>' for target, title, text in rows
    )
    page, headers = html_page(
        "Shared images",
        f"<h1>Shared {kind}</h1><p>{_until(link)}</p><ul>{items}</ul>"
        f"<h2>For DICOMweb viewers</h2><p>The base URL is <code>{html.escape(base)}</code></p>",
    )
    return Response(page, 200, {**headers, **_NEVER_STORED})


def _upload_page(link: ShareLink, root: str, path: str) -> Response:
    values = {
        "URL": f"{root}/share/{path}",
        "LINK": link.id,
        "UNTIL": link.expire_time.ToDatetime(UTC).isoformat(),
    }
    page = site.page_with("share.html", root, "share.js", values)
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": site.POLICY}
    return Response(page, 200, {**headers, **_NEVER_STORED})


def _until(link: ShareLink) -> str:
    return f"This link is valid until {link.expire_time.ToDatetime(UTC):%Y-%m-%d %H:%M} UTC."
