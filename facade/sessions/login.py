"""Login at the identity provider, and logout.

The state of a login (state, nonce, PKCE verifier, and the page to return to) is in an encrypted cookie of ten minutes,
so that only the browser that has begun a login can complete it.
"""

import hmac
import html
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from dicomstore.v1.login_service_pb2 import EndLoginRequest, RedeemLoginLinkRequest, RedeemLoginLinkResponse
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from common.sealing import Sealer
from facade.channel import Core
from facade.errors import CoreFailure
from facade.request.addresses import service_root
from facade.request.query import first, parameters_of
from facade.response.html_page import html_page
from facade.serving.observe import call_metadata
from facade.sessions import cookies
from facade.sessions.middleware import is_cross_site
from facade.sessions.provider import IdentityProvider, ProviderError
from facade.sessions.session import Session, Sessions

_NAME = "dicomstore-login-"
_PURPOSE = "login"
_VERSION = 1
_LOGIN_S = 600
_MAX_LOGINS = 4
"""Logins that a browser may have begun, for example in several tabs."""

_STATE = re.compile(r"[A-Za-z0-9_-]{43}")
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f-\uffff]{0,1500}")
_NEVER_STORED = {"Cache-Control": "no-store"}

_log = logging.getLogger("facade.sessions")


@dataclass(frozen=True, slots=True)
class Logins:
    """What logins need. Without an identity provider, only login links open sessions."""

    sessions: Sessions
    sealer: Sealer
    provider: IdentityProvider | None


async def login(request: Request) -> Response:
    """GET /login: log in at the identity provider, then return to the local path in `return_to`."""
    return await begin(request, local_path(first(parameters_of(request), "return_to")), otherwise=200)


async def begin(request: Request, return_to: str, *, otherwise: int = 401) -> Response:
    """Return the redirect to the identity provider, or a page that says how to log in without one.

    otherwise: status of that page.
    """
    logins: Logins = request.app.state.logins
    if logins.provider is None:
        text = (
            "<h1>Log in</h1><p>This archive has no identity provider. Run <code>dicomstore login</code> on its "
            "machine, and open the URL that it prints.</p>"
        )
        return _page(otherwise, "Log in", text)
    root = service_root(request)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    try:
        url = await logins.provider.authorization_url(
            f"{root}/login/callback", state=state, nonce=nonce, verifier=verifier
        )
    except ProviderError as error:
        return _failed(503, "the identity provider cannot be used", error)
    is_https = root.startswith("https:")
    sealed = logins.sealer.seal(_PURPOSE, _VERSION, [state, nonce, verifier, return_to, int(time.time())])
    response = RedirectResponse(url, 303, _NEVER_STORED)
    begun = [name for name in cookies.cookies_of(request.scope) if name.removeprefix("__Host-").startswith(_NAME)]
    for name in begun if len(begun) >= _MAX_LOGINS else ():
        response.headers.append("Set-Cookie", cookies.deleting(name, is_https=is_https))
    cookie = cookies.setting_for(_cookie(state, is_https=is_https), sealed, _LOGIN_S, is_https=is_https)
    response.headers.append("Set-Cookie", cookie)
    return response


async def callback(request: Request) -> Response:
    """GET /login/callback: the identity provider has authenticated the user; open the session."""
    logins: Logins = request.app.state.logins
    parameters = parameters_of(request)
    state = first(parameters, "state") or ""
    root = service_root(request)
    is_https = root.startswith("https:")
    present = cookies.cookies_of(request.scope)
    saved = _saved(logins.sealer, present, state, is_https=is_https)
    if saved is None or logins.provider is None:
        return _failed(400, "it was begun in another browser, or more than ten minutes ago", "unknown state")
    nonce, verifier, return_to = saved
    issuer, code = first(parameters, "iss"), first(parameters, "code")
    if (issuer is not None and not logins.provider.is_issuer(issuer)) or not code:
        return _failed(403, "the identity provider has refused it", "no code, or of another issuer")
    try:
        tokens = await logins.provider.tokens(code, f"{root}/login/callback", nonce=nonce, verifier=verifier)
    except ProviderError as error:
        reason = "the identity provider has refused it" if error.is_refusal else "the identity provider cannot be used"
        return _failed(403 if error.is_refusal else 503, reason, error)
    now = int(time.time())
    session = Session(tokens.access_token, tokens.refresh_token, tokens.access_until, started=now, used=now)
    response = opened(request, session, return_to)
    response.headers.append("Set-Cookie", cookies.deleting(_cookie(state, is_https=is_https), is_https=is_https))
    return response


async def logout(request: Request) -> Response:
    """GET /logout: a page with a button. POST /logout: end the session, also at the identity provider."""
    logins: Logins = request.app.state.logins
    root = service_root(request)
    url = ""
    if logins.provider is not None:
        try:
            url = await logins.provider.logout_url(f"{root}/")
        except ProviderError as error:
            _log.warning("no logout at the identity provider cause=%s", error)
    if request.method == "POST":  # of a page of this service, see `SessionCookies`
        await _end_login(request)
        response: Response = RedirectResponse(url or f"{root}/", 303, _NEVER_STORED)
        response.headers["Clear-Site-Data"] = '"cache"'
        present = cookies.cookies_of(request.scope)
        for cookie in logins.sessions.ending(present, is_https=root.startswith("https:")):
            response.headers.append("Set-Cookie", cookie)
        return response
    action = f"{urlsplit(root).path}/logout"
    parts = urlsplit(url)
    return _page(
        200,
        "Log out",
        f'<h1>Log out</h1><form method="post" action="{html.escape(action)}"><button>Log out</button></form>',
        forms=f"'self' {parts.scheme}://{parts.netloc}" if url else "'self'",
    )


async def link(request: Request) -> Response:
    """GET /login/link/{code}: a page with a button, so that programs that open links do not use it up."""
    action = f"{urlsplit(service_root(request)).path}/login/link/{quote(request.path_params['code'], safe='')}"
    text = (
        f'<h1>Log in</h1><p>The link can be used once.</p><form method="post" action="{html.escape(action)}">'
        "<button>Open the archive</button></form>"
    )
    return _page(200, "Log in", text, forms="'self'")


async def redeem_link(request: Request) -> Response:
    """POST /login/link/{code}: open a session with a link that `dicomstore login` has printed."""
    if is_cross_site(request.scope):
        return _page(403, "Login failed", "<h1>Not logged in</h1><p>A page of another site has sent this request.</p>")
    core: Core = request.app.state.core
    metadata = tuple(pair for pair in call_metadata(request) if pair[0] != "authorization")
    wanted = RedeemLoginLinkRequest(code=request.path_params["code"])
    try:
        answer: RedeemLoginLinkResponse = await core.call(core.logins.RedeemLoginLink, wanted, metadata)
    except CoreFailure as failure:
        if failure.reason != "LOGIN_LINK_NOT_FOUND":
            raise
        return _failed(404, "the link has been used or has expired", failure.reason)
    now = int(time.time())
    return opened(request, Session(answer.token, "", answer.expire_time.seconds, started=now, used=now), "/")


async def _end_login(request: Request) -> None:
    """Revoke the access token of a session that a login link has opened."""
    core: Core = request.app.state.core
    if "authorization" in request.headers:
        try:
            await core.call(core.logins.EndLogin, EndLoginRequest(), call_metadata(request))
        except CoreFailure as failure:
            if failure.reason != "LOGIN_LINK_NOT_FOUND":
                _log.warning("token of a session not revoked cause=%s", failure.reason or failure.code)


def opened(request: Request, session: Session, return_to: str) -> Response:
    """Return the redirect that opens a session, which replaces any other one of the browser."""
    logins: Logins = request.app.state.logins
    root = service_root(request)
    present = cookies.cookies_of(request.scope)
    try:
        headers = logins.sessions.headers(session, present, is_https=root.startswith("https:"))
    except ValueError as error:
        return _failed(500, "the tokens of the identity provider are too long for cookies", error)
    response = RedirectResponse(f"{root}{return_to}", 303, _NEVER_STORED)
    for header in headers:
        response.headers.append("Set-Cookie", header)
    return response


def local_path(text: str | None) -> str:
    """Return a path with a query of this service; "/" if the text is anything else, such as a URL of another host."""
    return text if text is not None and _LOCAL_PATH.fullmatch(text) else "/"


def _saved(sealer: Sealer, present: Mapping[str, str], state: str, *, is_https: bool) -> tuple[str, str, str] | None:
    """Return nonce, verifier and the path to return to of the login with this state; None if there is none."""
    if not _STATE.fullmatch(state):
        return None
    match sealer.open(_PURPOSE, _VERSION, present.get(_cookie(state, is_https=is_https), "")):
        case [str(known), str(nonce), str(verifier), str(return_to), int(begun)]:
            is_valid = hmac.compare_digest(known, state) and time.time() < begun + _LOGIN_S
            return (nonce, verifier, return_to) if is_valid else None
        case _:
            return None


def _cookie(state: str, *, is_https: bool) -> str:
    return cookies.full_name(f"{_NAME}{state[:8]}", is_https=is_https)


def _failed(status: int, reason: str, cause: object) -> Response:
    _log.warning("login failed status=%d cause=%s", status, cause)
    return _page(status, "Login failed", f"<h1>The login has failed</h1><p>The cause: {html.escape(reason)}.</p>")


def _page(status: int, title: str, content: str, *, forms: str = "") -> Response:
    page, headers = html_page(title, content, forms=forms)
    return Response(page, status, {**headers, **_NEVER_STORED})
