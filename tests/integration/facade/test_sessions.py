"""Browser sessions: login with authorization code and PKCE, the cookie, CSRF protection, renewal and logout."""

import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from common.sealing import Sealer
from facade.sessions.login import local_path
from facade.sessions.provider import IdentityProvider, ProviderError
from facade.sessions.session import Session, Sessions
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.event_channels import opened
from tests.integration.facade.serving import JSON, STOW, multipart, serving
from tests.login_provider import AUDIENCE, Provider, identity_provider

pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")  # of the identity provider

KEY, OLD_KEY = "k" * 32, "o" * 32
FUTURE = 4_102_444_800  # 2100-01-01
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
NAME = "dicomstore-session"
IMAGE = multipart(part10())


@pytest.fixture
def provider() -> Iterator[Provider]:
    with identity_provider() as running_provider:
        yield running_provider


@asynccontextmanager
async def an_archive(folder: Path, provider: Provider, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run an archive with a viewer that requires access tokens of a provider."""
    (folder / "index.html").write_text("<title>a viewer</title>")
    core_settings = settings_for(folder / "data", auth_issuer=provider.url, auth_audience=AUDIENCE)
    defaults = {
        "viewer": str(folder),
        "auth_issuer": provider.url,
        "auth_client_id": "facade",
        "auth_client_secret": "s3cret",
        "session_key": KEY,
    }
    async with running(core_settings) as core, serving(core.address, **{**defaults, **settings}) as client:
        yield client


@pytest.fixture
async def web(tmp_path: Path, provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    async with an_archive(tmp_path, provider) as client:
        yield client


async def authorized(redirect: httpx.Response) -> str:
    """Follow the redirect to the provider and log in there; return the redirect back."""
    assert redirect.status_code == 303, redirect.text
    async with httpx.AsyncClient(timeout=20) as browser:
        answer = await browser.post(redirect.headers["location"], data={"sub": "alice"})
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


async def logged_in(web: httpx.AsyncClient, path: str = "/login") -> httpx.Response:
    """Log in as a browser does; return the response that opens the session. The client keeps the cookies."""
    return await web.get(await authorized(await web.get(path, headers=PAGE)))


def session_in(web: httpx.AsyncClient, key: str = KEY) -> Session:
    """Return the session in the cookies of a client."""
    found = Sessions(Sealer([key]), idle_s=10**6, max_s=10**6).of(dict(web.cookies), is_https=False)
    assert found is not None
    return found


def replace_session(web: httpx.AsyncClient, **changes: Any) -> None:
    """Change the session in the cookies of a client, as time would."""
    fields = {name: getattr(session_in(web), name) for name in Session.__dataclass_fields__}
    sessions = Sessions(Sealer([KEY]), idle_s=10**6, max_s=10**6)
    headers = sessions.headers(Session(**(fields | changes)), [], is_https=False)
    web.cookies.clear()
    for header in headers:
        name, _, value = header.partition(";")[0].partition("=")
        web.cookies.set(name, value, domain=web.base_url.host)


async def test_a_page_without_a_session_leads_to_the_login_and_back(web: httpx.AsyncClient, provider: Provider) -> None:
    redirect = await web.get("/viewer/viewer?StudyInstanceUIDs=1.2.3", headers=PAGE)
    query = parse_qs(urlsplit(redirect.headers["location"]).query)
    root = str(web.base_url).rstrip("/")
    assert query["redirect_uri"] == [f"{root}/login/callback"]
    assert (query["response_type"], query["client_id"], query["scope"]) == (["code"], ["facade"], ["openid"])
    assert query["code_challenge_method"] == ["S256"]
    assert "1.2.3" not in redirect.headers["location"]
    assert re.fullmatch(
        r"dicomstore-login-[\w-]{8}=[\w-]+; Path=/; HttpOnly; SameSite=Lax; Max-Age=600", redirect.headers["set-cookie"]
    )
    opened = await web.get(await authorized(redirect))
    assert opened.status_code == 303
    assert opened.headers["location"] == f"{root}/viewer/viewer?StudyInstanceUIDs=1.2.3"
    assert opened.headers["cache-control"] == "no-store"
    assert "a viewer" in (await web.get(opened.headers["location"], headers=PAGE)).text
    assert [form["grant_type"] for form in provider.requests] == ["authorization_code"]
    assert list(web.cookies) == [NAME]


async def test_the_cookie_reveals_no_token_and_is_for_this_service_only(web: httpx.AsyncClient) -> None:
    opened = await logged_in(web)
    [cookie] = [one for one in opened.headers.get_list("set-cookie") if one.startswith(NAME)]
    assert re.fullmatch(rf"{NAME}=[\w-]+; Path=/; HttpOnly; SameSite=Lax", cookie)
    token = session_in(web).access_token
    assert len(token.split(".")) == 3
    assert token not in cookie + opened.text
    for path in ("/viewer/", "/viewer/app-config.js", "/v2", "/v2/studies"):
        answer = await web.get(path, headers=PAGE)
        assert token not in answer.text + str(answer.headers)


async def test_over_https_the_cookie_is_a_host_cookie(web: httpx.AsyncClient) -> None:
    proxied = {"X-Forwarded-Host": "127.0.0.1", "X-Forwarded-Proto": "https", **PAGE}
    redirect = await web.get("/login", headers=proxied)
    assert re.match(r"__Host-dicomstore-login-[\w-]{8}=.*; Secure; Max-Age=600$", redirect.headers["set-cookie"])
    cookie = redirect.headers["set-cookie"].partition(";")[0]
    back = urlsplit(await authorized(redirect))
    opened = await web.get(f"{back.path}?{back.query}", headers={**proxied, "Cookie": cookie})
    [session] = [one for one in opened.headers.get_list("set-cookie") if one.startswith("__Host-dicomstore-session=")]
    assert session.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")
    plain = session.partition(";")[0]
    assert (await web.get("/v2/studies", headers={**proxied, "Cookie": plain})).status_code == 204
    assert (await web.get("/v2/studies", headers={"Cookie": plain})).status_code == 401
    assert (
        await web.get("/v2/studies", headers={**proxied, "Cookie": plain.removeprefix("__Host-")})
    ).status_code == 401


async def test_api_requests_need_a_session_or_a_token(web: httpx.AsyncClient) -> None:
    assert (await web.get("/v2/studies", headers=JSON | PAGE)).status_code == 401
    await logged_in(web)
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 204
    other = {"Authorization": "Bearer other"}
    assert (await web.get("/v2/studies", headers=JSON | other)).status_code == 401
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (SAME_ORIGIN, 200),
        ({"Origin": "own"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "own"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
async def test_a_change_with_the_cookie_must_come_from_a_page_of_this_service(
    web: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    await logged_in(web)
    sent = {name: str(web.base_url).rstrip("/") if value == "own" else value for name, value in headers.items()}
    assert (await web.post("/v2/studies", content=IMAGE, headers=STOW | sent)).status_code == status
    studies = await web.get("/v2/studies", headers=JSON)
    assert studies.status_code == (200 if status == 200 else 204)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "own"}, 101),
        ({"Origin": "own", "Sec-Fetch-Site": "same-origin"}, 101),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
async def test_an_event_channel_with_the_cookie_must_come_from_a_page_of_this_service(
    web: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    await logged_in(web)
    sent = {name: str(web.base_url).rstrip("/") if value == "own" else value for name, value in headers.items()}
    sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in web.cookies.items())
    if status == 101:
        async with opened(web, "VIEWER", headers=sent) as channel:
            await (await channel.connection.ping())
        del sent["Cookie"]
    with pytest.raises(InvalidStatus) as refused:
        await opened(web, "VIEWER", headers=sent).__aenter__()
    assert refused.value.response.status_code == (401 if status == 101 else status)


async def test_the_opening_of_an_event_channel_renews_the_session(web: httpx.AsyncClient) -> None:
    await logged_in(web)
    replace_session(web, access_until=0)
    origin = {"Origin": str(web.base_url).rstrip("/")}
    cookies = "; ".join(f"{name}={value}" for name, value in web.cookies.items())
    async with opened(web, "VIEWER", headers=origin | {"Cookie": cookies}) as channel:
        response = channel.connection.response
        assert response is not None
        assert response.headers["set-cookie"].startswith(f"{NAME}=")


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("/viewer?StudyInstanceUIDs=1.2", True),
        ("/v2/studies?limit=1", True),
        ("/", True),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("/a\\b", False),
        ("https://evil.example/", False),
        ("evil.example", False),
        ("/a\r\nSet-Cookie: x=y", False),
        ("/\t/evil.example", False),
        ("javascript:alert(1)", False),
        ("/" + "a" * 2000, False),
        ("", False),
    ],
)
def test_a_login_returns_to_local_paths_only(path: str, safe: bool) -> None:
    assert local_path(path) == (path if safe else "/")


async def test_a_login_with_a_foreign_return_path_returns_to_the_start(web: httpx.AsyncClient) -> None:
    opened = await logged_in(web, "/login?return_to=https%3A%2F%2Fevil.example%2F")
    assert opened.headers["location"] == str(web.base_url).rstrip("/") + "/"


async def test_a_login_is_completed_only_by_the_browser_that_began_it(web: httpx.AsyncClient) -> None:
    callback = await authorized(await web.get("/login", headers=PAGE))
    web.cookies.clear()
    refused = await web.get(callback)
    assert refused.status_code == 400
    assert NAME not in refused.headers.get("set-cookie", "")
    own = await web.get("/login", headers=PAGE)
    mixed = re.sub(r"state=[\w-]+", f"state={parse_qs(urlsplit(own.headers['location']).query)['state'][0]}", callback)
    assert (await web.get(mixed)).status_code == 403  # its code has another PKCE challenge
    assert NAME not in web.cookies


@pytest.mark.parametrize("problem", ["status", "nonce", "audience"])
async def test_a_login_that_the_provider_refuses_or_confuses_opens_no_session(
    web: httpx.AsyncClient, provider: Provider, problem: str
) -> None:
    provider.problem = problem
    refused = await logged_in(web)
    assert refused.status_code == 403
    assert "s3cret" not in refused.text
    assert NAME not in web.cookies


@pytest.mark.parametrize("query", ["error=access_denied", "code=x&iss=http://evil.example", "code="])
async def test_an_error_of_the_provider_is_reported(web: httpx.AsyncClient, query: str) -> None:
    state = parse_qs(urlsplit((await web.get("/login", headers=PAGE)).headers["location"]).query)["state"][0]
    refused = await web.get(f"/login/callback?state={state}&{query}")
    assert refused.status_code == 403
    assert "evil" not in refused.text


async def test_a_new_login_replaces_the_session(web: httpx.AsyncClient, provider: Provider) -> None:
    await logged_in(web)
    first = session_in(web)
    provider.role = "globalReader"
    await logged_in(web)
    assert session_in(web).access_token != first.access_token
    refused = await web.post("/v2/studies", content=IMAGE, headers=STOW | SAME_ORIGIN)
    assert refused.status_code == 403
    assert "insufficient_scope" in refused.headers["www-authenticate"]


async def test_an_expiring_access_token_is_renewed(web: httpx.AsyncClient, provider: Provider) -> None:
    await logged_in(web)
    before = session_in(web)
    replace_session(web, access_until=int(time.time()) + 5)
    answers = [await web.get("/v2/studies", headers=JSON), await web.get("/v2/studies", headers=JSON)]
    assert [answer.status_code for answer in answers] == [204, 204]
    assert [form["grant_type"] for form in provider.requests] == ["authorization_code", "refresh_token"]
    assert session_in(web).access_until > before.access_until - 60
    assert session_in(web).started == before.started


async def test_a_session_that_the_provider_has_ended_is_removed(web: httpx.AsyncClient, provider: Provider) -> None:
    await logged_in(web)
    replace_session(web, access_until=int(time.time()) - 5, access_token="expired")
    provider.problem = "status"
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 401
    assert NAME not in web.cookies
    assert (await web.get("/viewer/", headers=PAGE)).status_code == 303


async def test_a_session_with_an_invalid_token_is_removed(web: httpx.AsyncClient) -> None:
    await logged_in(web)
    replace_session(web, access_token="not a token", refresh_token="")
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 401
    assert NAME not in web.cookies


@pytest.mark.parametrize("changes", [{"used": -3601}, {"started": -12 * 3600 - 1}])
async def test_a_session_ends_after_idle_and_absolute_time(web: httpx.AsyncClient, changes: dict[str, int]) -> None:
    await logged_in(web)
    now = int(time.time())
    replace_session(web, **{name: now + change + 30 for name, change in changes.items()})
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 204
    replace_session(web, **{name: now + change for name, change in changes.items()})
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 401
    assert NAME not in web.cookies


async def test_use_extends_a_session(web: httpx.AsyncClient) -> None:
    await logged_in(web)
    assert "set-cookie" not in (await web.get("/v2/studies", headers=JSON)).headers
    replace_session(web, used=int(time.time()) - 1800)
    assert "set-cookie" in (await web.get("/v2/studies", headers=JSON)).headers
    assert session_in(web).used > time.time() - 60


async def test_logout_ends_the_session_here_and_at_the_provider(web: httpx.AsyncClient, provider: Provider) -> None:
    await logged_in(web)
    page = await web.get("/logout", headers=PAGE)
    assert '<form method="post" action="/logout">' in page.text
    assert f"form-action 'self' {provider.url}" in page.headers["content-security-policy"]
    assert NAME in web.cookies
    assert (await web.post("/logout", headers={"Sec-Fetch-Site": "same-site"})).status_code == 403
    assert NAME in web.cookies
    ended = await web.post("/logout", headers=SAME_ORIGIN)
    assert ended.status_code == 303
    assert ended.headers["location"].startswith(f"{provider.url}/oauth2/end_session?client_id=facade&post_logout_")
    assert NAME not in web.cookies
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 401


async def test_an_unreachable_provider_does_not_end_sessions(
    tmp_path: Path, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    async with an_archive(tmp_path, provider) as web:
        await logged_in(web)
        replace_session(web, access_until=int(time.time()) + 5)
    async with an_archive(tmp_path, provider, auth_issuer="http://127.0.0.1:1") as restarted:
        restarted.cookies = web.cookies
        assert (await restarted.get("/v2/studies", headers=JSON)).status_code == 204
        assert (await restarted.get("/login", headers=PAGE)).status_code == 503
    assert "s3cret" not in caplog.text


async def test_a_session_outlives_a_change_of_the_key(tmp_path: Path, provider: Provider) -> None:
    async with an_archive(tmp_path, provider, session_key=OLD_KEY) as web:
        await logged_in(web)
    async with an_archive(tmp_path, provider, session_key=f"{KEY},{OLD_KEY}") as changed:
        changed.cookies = web.cookies
        assert (await changed.get("/v2/studies", headers=JSON)).status_code == 204
    async with an_archive(tmp_path, provider) as other:
        other.cookies = web.cookies
        assert (await other.get("/v2/studies", headers=JSON)).status_code == 401


async def test_many_begun_logins_do_not_fill_the_cookies(web: httpx.AsyncClient) -> None:
    for _ in range(12):
        await web.get("/login", headers=PAGE)
    assert len(web.cookies) <= 4
    assert (await logged_in(web)).status_code == 303


async def test_a_share_link_ignores_the_session(web: httpx.AsyncClient) -> None:
    await logged_in(web)
    image = multipart(part10(StudyInstanceUID="1.2"))
    stored = await web.post("/v2/studies", content=image, headers=STOW | SAME_ORIGIN)
    assert stored.status_code == 200, stored.text
    link = await web.post("/v2/studies/1.2/$share", headers=SAME_ORIGIN)
    assert (await web.get(f"{link.json()['dicomwebUrl']}/changefeed")).status_code == 403
    web.cookies.clear()
    assert (await web.get(f"{link.json()['dicomwebUrl']}/studies", headers=JSON)).status_code == 200
    shared = await web.get(link.json()["url"], headers=PAGE)
    assert "/viewer/share-" in shared.headers["location"]
    assert "a viewer" in (await web.get(shared.headers["location"], headers=PAGE)).text


async def test_the_log_has_no_code_state_or_token(web: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        callback = await authorized(await web.get("/login?return_to=/viewer%3FPatientName%3DDoe", headers=PAGE))
        await web.get(callback)
        await web.get("/v2/studies", headers=JSON)
    own = [one for one in caplog.records if one.name.startswith(("facade", "dicomstore"))]
    text = "\n".join(record.getMessage() for record in own)
    assert "route=/login/callback " in text
    query = parse_qs(urlsplit(callback).query)
    for secret in (query["code"][0], query["state"][0], session_in(web).access_token, "s3cret", "Doe"):
        assert secret not in text


def test_a_sealed_value_is_bound_to_its_purpose_and_cannot_be_changed() -> None:
    sealer = Sealer([KEY])
    text = sealer.seal("session", 1, ["content", 7])
    assert sealer.open("session", 1, text) == ["content", 7]
    assert sealer.open("session", 2, text) is None
    assert sealer.open("login", 1, text) is None
    assert Sealer([OLD_KEY]).open("session", 1, text) is None
    flipped = text[:20] + ("B" if text[20] == "A" else "A") + text[21:]
    for changed in (text[:-2], text + "AA", "", "A", "!" + text[1:], flipped):
        assert sealer.open("session", 1, changed) is None


@pytest.mark.parametrize(
    ("version", "fields", "is_session"),
    [
        (1, ["t", "", FUTURE, FUTURE, FUTURE], True),
        (2, ["t", "", FUTURE, FUTURE, FUTURE], False),
        (1, ["t", "", FUTURE, FUTURE, str(FUTURE)], False),
        (1, ["t", "", FUTURE, FUTURE], False),
        (1, [], False),
    ],
)
def test_a_cookie_of_another_version_or_content_is_no_session(
    version: int, fields: list[Any], is_session: bool
) -> None:
    sealer = Sealer([KEY])
    found = Sessions(sealer, idle_s=60, max_s=60).of({NAME: sealer.seal("session", version, fields)}, is_https=False)
    assert found == (Session("t", "", FUTURE, FUTURE, FUTURE) if is_session else None)


def test_long_tokens_are_split_over_cookies_and_too_long_ones_are_refused() -> None:
    sessions = Sessions(Sealer([KEY]), idle_s=60, max_s=60)
    now = int(time.time())
    session = Session(secrets.token_hex(4000), "", now, now, now)
    headers = sessions.headers(session, [f"{NAME}-3"], is_https=False)
    assert all(len(header) < 4096 for header in headers)
    assert headers[-1] == f"{NAME}-3=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    present = dict(header.partition(";")[0].split("=") for header in headers)
    assert sessions.of(present, is_https=False) == session
    with pytest.raises(ValueError, match="too long"):
        sessions.headers(Session(secrets.token_hex(20_000), "", now, now, now), [], is_https=False)


async def test_without_a_provider_a_page_says_how_to_log_in(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>a viewer</title>")
    async with (
        running(settings_for(tmp_path / "data", auth_required=True)) as core,
        serving(core.address, viewer=str(tmp_path)) as web,
    ):
        for path, status in (("/viewer/", 401), ("/login", 200)):
            page = await web.get(path, headers=PAGE)
            assert page.status_code == status
            assert "dicomstore login" in page.text
        assert (await web.get("/viewer/app-config.js")).status_code == 200


async def test_files_of_the_viewer_need_no_session(web: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "part.js").write_text("1")
    for accept in (PAGE, {"Accept": "*/*"}):  # browsers prefetch files with the Accept header of pages
        assert (await web.get("/viewer/part.js", headers=accept)).text == "1"
    for path in ("/viewer/", "/viewer/index.html", "/viewer/viewer"):
        assert (await web.get(path, headers=PAGE)).status_code == 303, path


async def test_while_authentication_is_off_pages_need_no_login(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>a viewer</title>")
    async with (
        running(settings_for(tmp_path / "data")) as core,
        serving(core.address, viewer=str(tmp_path)) as web,
    ):
        assert "a viewer" in (await web.get("/viewer/", headers=PAGE)).text


async def test_the_metadata_of_a_provider_that_does_not_answer_is_not_requested_by_every_login() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # connections are refused
        provider = IdentityProvider(f"http://127.0.0.1:{listener.getsockname()[1]}", "facade", "", "openid")
        for cause in ("cannot be reached", "could not be fetched"):
            with pytest.raises(ProviderError, match=cause):
                await provider.authorization_url("http://127.0.0.1/", state="s", nonce="n", verifier="v")
        provider.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "http://127.0.0.1:1"},
        {"authorization_endpoint": "http://evil.example/"},
        {"token_endpoint": "http://192.0.2.1/"},
        {"token_endpoint": 7},
        {"token_endpoint": None},
        {"authorization_endpoint": "file:///etc/passwd"},
    ],
)
async def test_invalid_metadata_of_a_provider_is_refused(provider: Provider, changes: dict[str, Any]) -> None:
    provider.metadata = changes
    client = IdentityProvider(provider.url, "facade", "", "openid")
    with pytest.raises(ProviderError):
        await client.authorization_url("http://127.0.0.1/", state="s", nonce="n", verifier="v")
    client.close()
