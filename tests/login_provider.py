"""An identity provider: the package oidc-provider-mock, with PKCE, and with access tokens that the core accepts."""

import base64
import hashlib
import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

AUDIENCE = "archive"


@dataclass
class Provider:
    """A running identity provider.

    role: role of the users; of new access tokens.
    lifetime_s: of new access tokens.
    problem: what is wrong with the next answers of the token endpoint: "status", "nonce", "audience".
    metadata: changes of the published metadata; None removes a member.
    requests: forms that the token endpoint has received.
    """

    url: str
    role: str = "globalAdmin"
    lifetime_s: int = 3600
    problem: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def identity_provider() -> Iterator[Provider]:
    """Run an identity provider on a free port of this machine."""
    with warnings.catch_warnings(record=True):  # of its dependencies, about their own modules
        import flask
        from oidc_provider_mock import run_server_in_thread
    challenges: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch, run_server_in_thread() as server:
        patch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
        app: Any = server.app
        provider = Provider(f"http://localhost:{server.server_port}")

        @app.before_request
        def check_proof_key() -> Any:
            form = flask.request.form.to_dict()
            if flask.request.path != "/oauth2/token":
                return None
            provider.requests.append(form)
            if provider.problem == "status":
                return flask.jsonify({"error": "invalid_grant"}), 400
            if form["grant_type"] == "authorization_code":
                digest = hashlib.sha256(form["code_verifier"].encode()).digest()
                challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
                if challenges.pop(form["code"]) != challenge:
                    return flask.jsonify({"error": "invalid_grant"}), 400
            return None

        @app.after_request
        def sign_access_token(response: Any) -> Any:
            if flask.request.path == "/oauth2/authorize" and response.status_code == 302:
                assert flask.request.args["code_challenge_method"] == "S256"
                code = response.headers["Location"].partition("code=")[2].partition("&")[0]
                challenges[code] = flask.request.args["code_challenge"]
            if flask.request.path == "/.well-known/openid-configuration" and provider.metadata:
                published = json.loads(response.get_data()) | provider.metadata
                response.set_data(json.dumps({key: value for key, value in published.items() if value is not None}))
            if flask.request.path == "/oauth2/token" and response.status_code == 200:
                key = RSAKey.import_key(flask.g.oidc_provider_mock_storage.jwk.as_dict(is_private=True))
                answer = json.loads(response.get_data())
                now = int(time.time())
                claims = {
                    "iss": provider.url,
                    "sub": "alice",
                    "aud": AUDIENCE,
                    "iat": now,
                    "exp": now + provider.lifetime_s,
                    "roles": [provider.role],
                }
                answer["access_token"] = jwt.encode({"alg": "RS256", "typ": "at+jwt"}, claims, key)
                answer["expires_in"] = provider.lifetime_s
                if provider.problem in ("nonce", "audience"):
                    changed = {"nonce": "other"} if provider.problem == "nonce" else {"aud": "other"}
                    answer["id_token"] = jwt.encode(
                        {"alg": "RS256"}, jwt.decode(answer["id_token"], key).claims | changed, key
                    )
                response.set_data(json.dumps(answer))
            return response

        yield provider
