"""The identity provider at which people log in: authorization code with PKCE (RFC 6749, RFC 7636, OpenID Connect)."""

import asyncio
import base64
import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import quote, urlencode

from common.issuers import require_secure_url

_WELL_KNOWN = "/.well-known/openid-configuration"
_METADATA_S = 3600
_RETRY_S = 5.0
_TIMEOUT_S = 10.0
_THREADS = 4
_MAX_BYTES = 512 << 10
_SKEW_S = 60
_DEFAULT_LIFETIME_S = 300
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "end_session_endpoint")


class ProviderError(Exception):
    """The identity provider refuses a request, cannot be reached, or answers wrongly. The message is for the log.

    Attributes:
        is_refusal: it has refused the request, so repeating it does not help.
    """

    def __init__(self, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a user. `access_until` is in seconds since 1970; `refresh_token` may be empty."""

    access_token: str
    refresh_token: str
    access_until: int


class IdentityProvider:
    """One provider, with the client that the facade is there."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, scope: str) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._secret = client_secret
        self._scope = scope
        self._metadata: Mapping[str, Any] = {}
        self._discovering = asyncio.Lock()
        self._discover_at = 0.0
        # Threads of its own: a provider that does not answer must not stop the others of the process.
        self._threads = ThreadPoolExecutor(_THREADS, "identity-provider")

    def close(self) -> None:
        """Release the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def authorization_url(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Return the URL at which a user logs in. Raises: ProviderError."""
        endpoint = (await self._discovered())["authorization_endpoint"]
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def tokens(self, code: str, redirect_uri: str, *, nonce: str, verifier: str) -> Tokens:
        """Return the tokens for an authorization code. Raises: ProviderError."""
        answer = await self._request_tokens(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": verifier,
            }
        )
        self._check_id_token(answer.get("id_token"), nonce)
        return _tokens(answer, "")

    async def refreshed(self, refresh_token: str) -> Tokens:
        """Return new tokens for a refresh token. Raises: ProviderError."""
        answer = await self._request_tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})
        return _tokens(answer, refresh_token)

    async def logout_url(self, return_to: str) -> str:
        """Return the URL that ends the session of the user at the provider; "" if the provider has none.

        See OpenID Connect RP-Initiated Logout 1.0. Raises: ProviderError.
        """
        endpoint: str = (await self._discovered()).get("end_session_endpoint", "")
        query = urlencode({"client_id": self._client_id, "post_logout_redirect_uri": return_to})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}" if endpoint else ""

    def is_issuer(self, issuer: str) -> bool:
        """Return whether an authorization response is of this provider (RFC 9207)."""
        return issuer == self._issuer

    async def _discovered(self) -> Mapping[str, Any]:
        """Return the metadata of the provider, fetched once an hour; earlier ones while it cannot be fetched."""
        async with self._discovering:
            if time.monotonic() >= self._discover_at:
                self._discover_at = time.monotonic() + _RETRY_S
                try:
                    self._metadata = await self._fetched_metadata()
                    self._discover_at = time.monotonic() + _METADATA_S
                except ProviderError:
                    if not self._metadata:
                        raise
        if not self._metadata:
            raise ProviderError("its metadata could not be fetched")
        return self._metadata

    async def _fetched_metadata(self) -> Mapping[str, Any]:
        metadata = await self._fetch(f"{self._issuer.rstrip('/')}{_WELL_KNOWN}")
        if metadata.get("issuer") != self._issuer:
            raise ProviderError("its metadata names another issuer")
        for name in _ENDPOINTS:
            if not isinstance(metadata.get(name, ""), str):
                raise ProviderError(f"its metadata has an invalid {name}")
            if name in metadata:
                _require_secure(metadata[name])
        if not metadata.get("authorization_endpoint") or not metadata.get("token_endpoint"):
            raise ProviderError("its metadata lacks an endpoint")
        return metadata

    async def _request_tokens(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        metadata = await self._discovered()
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        headers, client = {}, {"client_id": self._client_id}
        if self._secret and "client_secret_basic" in methods:
            pair = f"{quote(self._client_id, safe='')}:{quote(self._secret, safe='')}"  # RFC 6749 section 2.3.1
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            client = {}
        elif self._secret:
            client["client_secret"] = self._secret
        return await self._fetch(metadata["token_endpoint"], urlencode({**form, **client}).encode(), headers)

    async def _fetch(
        self, url: str, form: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _fetch_now, url, form, headers or {})

    def _check_id_token(self, token: Any, nonce: str) -> None:
        """Check that the tokens belong to this login (OpenID Connect Core 1.0, section 3.1.3.7).

        The token comes from the provider itself over TLS, so its signature need not be verified. It is not used for
        anything else: the core verifies the access token.
        """
        try:
            payload = str(token).split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
            is_right = (
                claims["iss"] == self._issuer
                and self._client_id in audience
                and claims.get("azp", self._client_id) == self._client_id
                and float(claims["exp"]) + _SKEW_S > time.time()
                and claims["nonce"] == nonce
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            is_right = False
        if not is_right:
            raise ProviderError("its ID token does not belong to this login", is_refusal=True)


def _tokens(answer: Mapping[str, Any], refresh_token: str) -> Tokens:
    access, following = answer.get("access_token"), answer.get("refresh_token", refresh_token)
    lifetime = answer.get("expires_in", _DEFAULT_LIFETIME_S)
    is_text = isinstance(access, str) and access.isascii() and access.isprintable() and isinstance(following, str)
    if not is_text or str(answer.get("token_type")).lower() != "bearer" or not isinstance(lifetime, int | float):
        raise ProviderError("its answer has no bearer token")
    return Tokens(str(access), following, int(time.time() + lifetime))


def _fetch_now(url: str, form: bytes | None, headers: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the JSON object of a GET, or of a POST of a form; blocking. Follows no redirects."""
    _require_secure(url)
    request = urllib.request.Request(url, form, {"Accept": "application/json", **headers})  # noqa: S310 - checked above
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_S) as response:
            body = response.read(_MAX_BYTES + 1)
        answer = json.loads(body) if len(body) <= _MAX_BYTES else None
    except urllib.error.HTTPError as error:
        error.close()
        raise ProviderError(f"status {error.code}", is_refusal=error.code in (400, 401, 403)) from None
    except (OSError, HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ProviderError(f"it cannot be reached: {type(cause).__name__}") from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ProviderError("its answer is not a JSON object")
    return answer


def _require_secure(url: str) -> None:
    try:
        require_secure_url(url)
    except ValueError as error:
        raise ProviderError(str(error)) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)
