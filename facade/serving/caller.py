"""What the core records about an HTTP request in the audit trail: address of the client, method, URI, custom headers.

The core believes this only of facades that it trusts. The custom headers are those of Azure's DICOM service.
"""

import re
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.types import Scope

from facade import proxies
from facade.channel import Metadata
from facade.errors import Refusal
from facade.serving.client_certificate import forwarded_names

_CERTIFICATE = "x-dicomstore-certificate-bin"
_HEADER = b"x-ms-azuredicom-audit-"
_MAX_HEADERS = 10
_MAX_HEADER_LENGTH = 2048
_MAX_URI_LENGTH = 4096

_SECRETS = re.compile(r"(?<=/share/)[^/?#]+|(?<=[?&]token=)[^&#]+|(?<=[?&]access_token=)[^&#]+", re.IGNORECASE)
_NOT_IN_METADATA = re.compile(r"[^\x20-\x7e]")


def caller_metadata(request: Request) -> Metadata:
    """Return the metadata for the core. Raises Refusal (400) for too many or too long custom headers."""
    scope = request.scope
    client = scope.get("client")
    found: list[tuple[str, str | bytes]] = [
        ("x-dicomstore-client", _client(request, client[0]) if client else "unknown"),
        ("x-dicomstore-method", scope["method"]),
        ("x-dicomstore-uri", _uri(scope)),
    ]
    if names := forwarded_names(scope):
        found.append((_CERTIFICATE, orjson.dumps(names)))
    for name, value in scope["headers"]:
        if name.startswith(_HEADER):
            if len(value) > _MAX_HEADER_LENGTH:
                raise Refusal(400, f"A header X-MS-AZUREDICOM-AUDIT-* is longer than {_MAX_HEADER_LENGTH} characters.")
            found.append((name.decode("latin-1"), _printable(value.decode("latin-1"))))
    if sum(name.startswith("x-ms-") for name, _ in found) > _MAX_HEADERS:
        raise Refusal(400, f"There are more than {_MAX_HEADERS} headers X-MS-AZUREDICOM-AUDIT-*.")
    return tuple(found)


def _client(request: Request, host: str) -> str:
    """Return the address of the client: the nearest one that is not a trusted proxy."""
    trusted: str = request.app.state.settings.trusted_proxies
    if not proxies.is_trusted(host, trusted):
        return host
    return proxies.client_of(host, request.headers.getlist("x-forwarded-for"), trusted)


def _uri(scope: Scope) -> str:
    """Return the URI as received, without tokens."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    uri = b"%b://%b%b" % (scope["scheme"].encode(), host, path)
    if query := scope["query_string"]:
        uri = b"%b?%b" % (uri, query)
    text = uri[:_MAX_URI_LENGTH].decode("latin-1")
    if "/share/" in text or "token=" in text:
        text = _SECRETS.sub("***", text)
    return _printable(text)


def _printable(text: str) -> str:
    """Return a text with other characters than printable ASCII percent-encoded, as metadata of gRPC require."""
    return text if text.isascii() and text.isprintable() else _NOT_IN_METADATA.sub(lambda one: quote(one[0]), text)
