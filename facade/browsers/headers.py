"""Headers of responses that tell browsers what they may do with them.

Stored objects are data of strangers: an encapsulated document may be HTML, SVG or XML with scripts, and a browser would
execute them with the rights of the viewer. Every response therefore has a Content-Security-Policy that allows nothing
and isolates it from the origin of the service (`sandbox`), unless its endpoint knows better. A test in a real browser
tries malicious objects.
"""

from collections.abc import Mapping

from facade.browsers.origins import Origins

RawHeaders = list[tuple[bytes, bytes]]

_CONTENT_TYPE = b"content-type"
_RESOURCE_POLICY = b"cross-origin-resource-policy"
_FROM_ANOTHER_SITE = (b"sec-fetch-site", b"cross-site")
_POLICY = b"content-security-policy"

_PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"

_NOTHING = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


class BrowserHeaders:
    """Adds the headers to responses; those that an endpoint has set are kept."""

    def __init__(self, origins: Origins, more: Mapping[str, str]) -> None:
        """Let pages of `origins` embed responses; `more` are headers of all responses."""
        ancestors = f"; frame-ancestors {origins.frame_ancestors}"
        self._stored = f"{_NOTHING}{ancestors}; sandbox".encode()
        # Browsers do not play videos and show PDF in a sandbox. Both have no access to the origin: scripts in PDF run
        # in the PDF viewer.
        self._document = f"{_NOTHING}; media-src 'self'{ancestors}".encode()
        self._origins = origins
        self._shares_with_site = origins.resource_policy == "same-site"
        always = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Permissions-Policy": _PERMISSIONS,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": origins.resource_policy,
            **more,
        }
        self._always = [(name.lower().encode(), value.encode()) for name, value in always.items()]

    def add_to(self, headers: RawHeaders, request: RawHeaders) -> None:
        """Add the headers to those of the response to a request, all with lower-case names."""
        present = dict(headers)
        if self._shares_with_site and _FROM_ANOTHER_SITE in request and _RESOURCE_POLICY not in present:
            # To browsers, localhost and 127.0.0.1 are different sites, and a request for an image has no Origin.
            headers.append((b"vary", b"Referer"))
            if self._origins.allows(_origin_of(dict(request).get(b"referer", b""))):
                headers.append((_RESOURCE_POLICY, b"cross-origin"))
                present[_RESOURCE_POLICY] = b"cross-origin"
        headers += [header for header in self._always if header[0] not in present]
        if _POLICY not in present:
            headers.append((_POLICY, self._policy_of(present.get(_CONTENT_TYPE, b""))))

    def _policy_of(self, content_type: bytes) -> bytes:
        if content_type.startswith((b"application/pdf", b"video/")):
            return self._document
        return self._stored


def _origin_of(url: bytes) -> str:
    """Return the origin of an absolute URL."""
    scheme, _, rest = url.decode("latin-1").partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
