"""Access tokens of identity providers at both interfaces."""

import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey
from pydantic import ValidationError

from server.bootstrap.checks import checks
from server.config import Settings
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.identity_provider import AUDIENCE, METADATA, IdentityProvider, running_identity_provider, signed
from tests.integration.conftest import a_core
from tests.integration.facade.serving import JSON, serving, stow
from tests.integration.security.callers import bearer, create_token, operator_token, search_studies, upload

READ = "/v2/studies"
DICOM = {"Content-Type": "application/dicom"}
MISSING, INVALID = "UNAUTHENTICATED missing", "UNAUTHENTICATED invalid"


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with running_identity_provider() as running:
        yield running


@asynccontextmanager
async def an_archive(data: Path, issuer: str, **settings: Any) -> AsyncIterator[tuple[CoreClient, httpx.AsyncClient]]:
    """Run core and facade that accept tokens of an issuer."""
    configured = {"auth_issuer": issuer, "auth_audience": f"urn:unused,{AUDIENCE}", **settings}
    async with a_core(data, **configured) as core, serving(core.address) as web:
        yield core, web


def authorized(token: str) -> dict[str, str]:
    return {**JSON, "Authorization": f"Bearer {token}"}


async def test_roles_of_the_token_decide_at_both_interfaces(tmp_path: Path, provider: IdentityProvider) -> None:
    async with an_archive(tmp_path, provider.url) as (core, web):
        reader, writer = provider.token(roles=["globalReader"]), provider.token(roles=["writer", "unknown"])
        assert await search_studies(core.channel, bearer(reader)) == "OK"
        assert await upload(core.channel, bearer(reader)) == "PERMISSION_DENIED"
        assert await upload(core.channel, bearer(writer)) == "OK"

        assert (await web.get(READ, headers=authorized(reader))).status_code in (200, 204)
        refused = await web.post(
            READ, content=part10(), headers={**authorized(reader), "Content-Type": "application/dicom"}
        )
        assert refused.status_code == 403
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        stored = await web.post(
            READ, content=part10(), headers={**authorized(writer), "Content-Type": "application/dicom"}
        )
        assert stored.status_code == 200, stored.text
        assert (await web.get(READ, headers=authorized(reader))).status_code == 200


async def test_a_request_without_a_token_gets_a_challenge_without_an_error_code(
    tmp_path: Path, provider: IdentityProvider
) -> None:
    async with an_archive(tmp_path, provider.url) as (core, web):
        assert await search_studies(core.channel) == MISSING
        for headers in (JSON, {**JSON, "Authorization": "Basic dXNlcjpwYXNz"}):
            response = await web.get(READ, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == (
                f'Bearer realm="dicomstore", authorization_uri="{provider.url}/authorize", resource_id="urn:unused"'
            )
            assert response.text == "Authentication is required."
        assert (await stow(web, part10())).status_code == 401


@pytest.mark.parametrize(
    ("claims", "description"),
    [
        ({"exp": time.time() - 100}, "The token has expired."),
        ({"aud": "https://elsewhere.example"}, "The token is for another audience."),
        ({"iss": "https://elsewhere.example"}, "The token is of another issuer."),
    ],
)
async def test_a_bad_token_gets_a_challenge_with_its_reason(
    tmp_path: Path, provider: IdentityProvider, claims: dict[str, Any], description: str
) -> None:
    async with an_archive(tmp_path, provider.url) as (core, web):
        token = provider.token(**claims)
        assert await search_studies(core.channel, bearer(token)) == INVALID
        response = await web.get(READ, headers=authorized(token))
        assert response.status_code == 401
        assert response.headers["www-authenticate"].endswith(
            f', error="invalid_token", error_description="{description}"'
        )
        assert response.text == description


@pytest.mark.parametrize("value", ["Bearer", "Bearer \xff\xfe", "Bearer a\tb", "Bearer x, Bearer y", "bearer x y"])
async def test_a_malformed_authorization_header_is_401(tmp_path: Path, provider: IdentityProvider, value: str) -> None:
    async with an_archive(tmp_path, provider.url) as (_, web):
        response = await web.get(READ, headers=[(b"authorization", value.encode("latin-1")), (b"accept", b"*/*")])
        assert response.status_code == 401, response.text


async def test_several_authorization_headers_are_refused(tmp_path: Path, provider: IdentityProvider) -> None:
    async with an_archive(tmp_path, provider.url) as (_, web):
        good = f"Bearer {provider.token()}"
        for values in ((good, "Bearer x"), ("Bearer x", good), (good, good)):
            response = await web.get(READ, headers=[("authorization", value) for value in values])
            assert response.status_code in (400, 401), response.text


async def test_health_preflight_and_description_need_no_token(tmp_path: Path, provider: IdentityProvider) -> None:
    async with an_archive(tmp_path, provider.url) as (_, web):
        health = await web.get("/health/check")
        assert health.status_code == 200
        assert {"name": "authentication", "status": "Healthy", "description": "Serves."} in health.json()["details"]
        assert (await web.get("/v2/api.json")).status_code == 200
        preflight = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"}
        assert (await web.options(READ, headers=preflight)).status_code in (200, 204)


async def test_a_large_token_is_accepted_at_both_interfaces(tmp_path: Path, provider: IdentityProvider) -> None:
    async with an_archive(tmp_path, provider.url) as (core, web):
        token = provider.token(groups=[f"group {number:05}" for number in range(700)])
        assert len(token) > 14_000
        assert await search_studies(core.channel, bearer(token)) == "OK"
        assert (await web.get(READ, headers=authorized(token))).status_code in (200, 204)


async def test_archive_tokens_and_the_operator_are_accepted_beside_an_issuer(
    tmp_path: Path, provider: IdentityProvider
) -> None:
    async with an_archive(tmp_path, provider.url) as (core, _):
        operator = bearer(operator_token(tmp_path))
        created = await create_token(core.channel, "globalReader", by=operator)
        assert await search_studies(core.channel, bearer(created.secret)) == "OK"


async def test_nested_role_claims_and_roles_of_the_configuration(tmp_path: Path, provider: IdentityProvider) -> None:
    settings = {
        "auth_roles_claim": "realm_access.roles",
        "roles": {"cleaner": {"actions": ["*"], "not_actions": ["write"]}},
    }
    async with an_archive(tmp_path, provider.url, **settings) as (core, _):
        credentials = bearer(provider.token(realm_access={"roles": ["cleaner"]}, roles=["globalAdmin"]))
        assert await search_studies(core.channel, credentials) == "OK"
        assert await upload(core.channel, credentials) == "PERMISSION_DENIED"


async def test_without_its_provider_the_archive_starts_and_reports_it(
    tmp_path: Path, provider: IdentityProvider
) -> None:
    provider.respond(METADATA, status=500)
    async with an_archive(tmp_path, provider.url) as (core, web):
        response = await web.get(READ, headers=authorized(provider.token()))
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert await search_studies(core.channel, bearer(operator_token(tmp_path))) == "OK"
        configured = settings_for(tmp_path, auth_issuer=provider.url, auth_audience=AUDIENCE)
        [check] = [one for one in await checks(configured, deep=False) if one["name"] == "identity provider"]
        assert (check["status"], "status 500" in check["detail"]) == ("failed", True)
        del provider.responses[METADATA]
        [check] = [one for one in await checks(configured, deep=False) if one["name"] == "identity provider"]
        assert check == {"name": "identity provider", "status": "ok", "detail": f"1 key of {provider.url}"}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"auth_issuer": "https://login.example"}, "requires auth_audience"),
        ({"auth_issuer": "http://login.example", "auth_audience": "a"}, "must be https"),
        ({"auth_issuer": "https://login.example,http://localhost.example", "auth_audience": "a"}, "must be https"),
        ({"auth_issuer": "https://login.example?a=b", "auth_audience": "a"}, "neither query"),
        ({"auth_issuer": "https://user:password@login.example", "auth_audience": "a"}, "nor user"),
        ({"auth_issuer": "login.example", "auth_audience": "a"}, "must be https"),
    ],
)
def test_unsafe_settings_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings(**settings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in the provider
async def test_a_login_with_a_real_provider(tmp_path: Path) -> None:
    """Its ID token and its opaque access token are refused, an access token with its key is accepted."""
    with real_provider() as (issuer, key):
        async with an_archive(tmp_path, issuer) as (core, web):
            tokens = await asyncio.to_thread(log_in, issuer, "alice")
            for name in ("id_token", "access_token"):
                assert await search_studies(core.channel, bearer(tokens[name])) == INVALID, name
                assert (await web.get(READ, headers=authorized(tokens[name]))).status_code == 401, name
            claims = {
                "iss": issuer,
                "sub": "alice",
                "aud": AUDIENCE,
                "exp": time.time() + 60,
                "roles": ["globalReader"],
            }
            header = {"alg": "RS256", "typ": "at+jwt"}
            assert await search_studies(core.channel, bearer(signed(header, claims, key[0], "RS256"))) == "OK"
            id_claims = {**claims, "nonce": "n"}
            id_token = signed({"alg": "RS256"}, id_claims, key[0], "RS256")
            assert await search_studies(core.channel, bearer(id_token)) == INVALID


@contextmanager
def real_provider() -> Iterator[tuple[str, list[RSAKey]]]:
    """Run the package oidc-provider-mock; yield its URL, and its signing key once it has served a request."""
    with warnings.catch_warnings(record=True):  # of its dependencies, about their own modules
        import flask
        from oidc_provider_mock import run_server_in_thread
    found: list[RSAKey] = []
    with pytest.MonkeyPatch.context() as patch, run_server_in_thread() as server:
        patch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
        app: Any = server.app

        @app.before_request
        def find_key() -> None:
            if not found:
                storage = flask.g.oidc_provider_mock_storage
                found.append(RSAKey.import_key(storage.jwk.as_dict(is_private=True)))

        yield f"http://localhost:{server.server_port}", found


def log_in(issuer: str, user: str) -> dict[str, str]:
    """Log in with an authorization code, as a web application does; return the tokens."""
    with httpx.Client(timeout=20) as client:
        metadata = client.get(f"{issuer}{METADATA}").json()
        application = {"client_id": "viewer", "redirect_uri": "http://127.0.0.1/callback"}
        query = {**application, "response_type": "code", "scope": "openid", "state": "s", "nonce": "n"}
        redirect = client.post(metadata["authorization_endpoint"], params=query, data={"sub": user})
        code = parse_qs(urlsplit(redirect.headers["location"]).query)["code"][0]
        tokens: dict[str, str] = client.post(
            metadata["token_endpoint"],
            data={**application, "grant_type": "authorization_code", "code": code},
            auth=("viewer", "secret"),
        ).json()
        return tokens
