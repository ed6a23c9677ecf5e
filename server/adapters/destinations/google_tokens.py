"""Access tokens of Google Cloud Storage for the key of a service account (RFC 7523)."""

import http.client
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey

TOKEN_HOST = "oauth2.googleapis.com"  # noqa: S105 - a name, not a secret
"""The key names a URL as well, which is not used: it could be that of any service."""

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_SECONDS = 3600
_TIMEOUT_SECONDS = 30


class GoogleTokens:
    """A provider of credentials for `obstore.store.GCSStore`, called when a token is needed. Blocks.

    Args:
        key: the JSON key of the service account.
        proxy_port: see `ObjectTarget`.

    Attributes:
        is_unreachable: the last call had no response. The library reports it like a refusal.
    """

    def __init__(self, key: str, proxy_port: int) -> None:
        self._key: dict[str, Any] = json.loads(key)
        self._proxy_port = proxy_port
        self.is_unreachable = False

    def __call__(self) -> dict[str, Any]:
        """Return a new token. Raises: OSError, ValueError."""
        now = int(time.time())
        claims = {
            "iss": self._key["client_email"],
            "scope": _SCOPE,
            "aud": f"https://{TOKEN_HOST}/token",
            "iat": now,
            "exp": now + _SECONDS,
        }
        assertion = jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(self._key["private_key"]))
        body = urlencode({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion})
        connection = http.client.HTTPSConnection("127.0.0.1", self._proxy_port, timeout=_TIMEOUT_SECONDS)
        connection.set_tunnel(TOKEN_HOST, 443)
        self.is_unreachable = True
        try:
            connection.request("POST", "/token", body, {"Content-Type": "application/x-www-form-urlencoded"})
            response = connection.getresponse()
            content = response.read(64 << 10)
            self.is_unreachable = response.status >= 500
        finally:
            connection.close()
        if response.status != 200:
            raise PermissionError(f"status {response.status}")
        expires = datetime.now(UTC) + timedelta(seconds=_SECONDS - 300)
        return {"token": json.loads(content)["access_token"], "expires_at": expires}
