"""URLs of identity providers in settings."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def listed(text: str) -> tuple[str, ...]:
    """Return the parts of a text with commas between them."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def require_secure_url(url: str) -> None:
    """Raise ValueError unless a URL is https, or http on a loopback address."""
    parts = urlsplit(url)
    host = parts.hostname
    _ = parts.port  # raises ValueError if it is not a number
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise ValueError("a URL of an identity provider must be https, or http on a loopback address")


def require_issuer(url: str) -> None:
    """Raise ValueError unless a URL may be that of an issuer (OpenID Connect Discovery 1.0, section 3)."""
    require_secure_url(url)
    parts = urlsplit(url)
    if parts.query or parts.fragment or parts.username is not None or not url.isprintable() or " " in url:
        raise ValueError("the URL of an issuer has neither query nor fragment nor user")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
