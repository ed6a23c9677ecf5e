"""An identity provider for tests: serves its metadata and keys, and signs whatever a test wants to have signed."""

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "https://archive.example"
METADATA = "/.well-known/openid-configuration"

Key = RSAKey | ECKey | OKPKey | OctKey

_RSA = {kid: RSAKey.generate_key(2048, {"kid": kid}) for kid in ("first", "second")}


def rsa_key(kid: str = "first") -> RSAKey:
    """Return a key; making one takes a tenth of a second."""
    return _RSA[kid]


def encoded(value: Any) -> str:
    """Return JSON, or bytes as they are, in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Any, payload: Any, key: Key, algorithm: str) -> str:
    """Return a token with a signature of an algorithm, whatever its header says."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"


class IdentityProvider:
    """What the provider publishes, and how often it was asked. A test may change everything at any time."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[Any] = [rsa_key().as_dict(private=False)]
        self.metadata: dict[str, Any] = {}
        self.responses: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        """By path: a response other than the regular one."""
        self.requests: list[str] = []
        self.is_answering = threading.Event()
        self.is_answering.set()
        self.is_asked = threading.Event()
        """Set when a request has to wait because it is not answering."""

    def token(
        self,
        *,
        key: Key | None = None,
        algorithm: str = "RS256",
        header: Mapping[str, Any] | None = None,
        omit: tuple[str, ...] = (),
        **claims: Any,
    ) -> str:
        """Return a valid access token with other claims and header fields as given; None removes a header field."""
        now = int(time.time())
        defaults = {"iss": self.url, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 600, "roles": ["writer"]}
        payload = {name: value for name, value in {**defaults, **claims}.items() if name not in omit}
        fields = {"alg": algorithm, "kid": "first", "typ": "at+jwt", **(header or {})}
        fields = {name: value for name, value in fields.items() if value is not None}
        return signed(fields, payload, key or rsa_key(), algorithm)

    def response(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body for a path."""
        if path in self.responses:
            return self.responses[path]
        documents = {
            METADATA: {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                **self.metadata,
            },
            "/keys": {"keys": self.keys},
        }
        if path not in documents:
            return 404, {}, b""
        return 200, {"Content-Type": "application/json"}, json.dumps(documents[path]).encode()

    def respond(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> None:
        """Respond to a path with this from now on."""
        self.responses[path] = (status, headers, body)

    def count(self, path: str = "/keys") -> int:
        """Return the number of requests for a path."""
        return self.requests.count(path)


@contextmanager
def running_identity_provider(tls: ssl.SSLContext | None = None) -> Iterator[IdentityProvider]:
    """Serve a provider on a loopback address, with TLS if there is a context for it."""
    provider = IdentityProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.requests.append(self.path)
            if not provider.is_answering.is_set():
                provider.is_asked.set()
                provider.is_answering.wait(20)
            status, headers, body = provider.response(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    provider.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield provider
    finally:
        provider.is_answering.set()
        server.shutdown()
        server.server_close()
        thread.join()
