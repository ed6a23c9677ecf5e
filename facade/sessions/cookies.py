"""Cookies of the facade (RFC 6265): their names, reading, and Set-Cookie headers.

Over HTTPS the names begin with `__Host-`: browsers then refuse them from other hosts and for other paths. Over plain
HTTP, which is for loopback addresses, browsers do not accept this prefix.
"""

import re
from collections.abc import Iterable, Mapping

from starlette.types import Scope

_HOST = "__Host-"
_PIECE_LENGTH = 3800
"""Characters of a value; browsers refuse cookies of more than 4096 bytes with name and attributes."""

MAX_PIECES = 4
"""Cookies of one value. Proxies refuse requests with large headers, some from 16 KB on."""

_VALUE = re.compile(r"[A-Za-z0-9_-]*")


def cookies_of(scope: Scope) -> Mapping[str, str]:
    """Return the cookies of a request with the characters of base64url only; of equal names the first."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                key, _, text = pair.strip().partition("=")
                if _VALUE.fullmatch(text):
                    found.setdefault(key, text)
    return found


def full_name(name: str, *, is_https: bool) -> str:
    """Return the name of a cookie with its prefix."""
    return f"{_HOST}{name}" if is_https else name


def read(cookies: Mapping[str, str], name: str) -> str:
    """Return a value, which may be in several cookies; "" if there is none."""
    return "".join(cookies.get(piece, "") for piece in _names(name))


def setting(name: str, value: str, present: Iterable[str], *, is_https: bool) -> list[str]:
    """Return the Set-Cookie headers that store a value in as many cookies as needed and delete its other cookies.

    Args:
        name: with its prefix.
        present: names of the cookies in the request.

    Raises:
        ValueError: it needs more than `MAX_PIECES`.
    """
    pieces = [value[start : start + _PIECE_LENGTH] for start in range(0, len(value), _PIECE_LENGTH)]
    if len(pieces) > MAX_PIECES:
        raise ValueError("the value is too long for cookies")
    known = set(present)
    names = _names(name)
    headers = [_header(piece_name, piece, is_https=is_https) for piece_name, piece in zip(names, pieces, strict=False)]
    unused = [each for each in names[len(pieces) :] if each in known]
    return headers + [deleting(each, is_https=is_https) for each in unused]


def setting_for(name: str, value: str, seconds: int, *, is_https: bool) -> str:
    """Return the Set-Cookie header for a short value that expires."""
    return f"{_header(name, value, is_https=is_https)}; Max-Age={seconds}"


def deleting(name: str, *, is_https: bool) -> str:
    """Return the Set-Cookie header that deletes a cookie."""
    return f"{_header(name, '', is_https=is_https)}; Max-Age=0"


def _names(name: str) -> list[str]:
    return [name, *(f"{name}-{number}" for number in range(1, MAX_PIECES))]


def _header(name: str, value: str, *, is_https: bool) -> str:
    # Lax and not Strict: the first request after the login comes from the site of the identity provider.
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if is_https else ''}"
