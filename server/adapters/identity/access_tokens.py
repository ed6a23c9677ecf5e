"""Access tokens as signed JSON web tokens (RFC 7515, 7519, 9068): parsing, and the checks of header and claims.

Everything that a token says is refused or ignored unless the signature was verified with a key that its issuer
publishes: neither keys nor addresses of keys in the header (`jwk`, `jku`, `x5c`, `x5u`) are used.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from server.adapters.identity.keys import ALGORITHMS
from server.adapters.identity.strict_json import parse_object

MAX_TOKEN_LENGTH = 16 << 10
"""Characters. Longer tokens do not pass through most proxies either."""

_MAX_KID_LENGTH = 512
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_TYPES = {"jwt", "at+jwt"}
_FORBIDDEN_HEADERS = {"crit", "b64", "cty", "zip", "enc"}
_OF_ID_TOKENS = {"at_hash", "c_hash", "s_hash"}
_OTHER_TOKENS = {"id", "refresh", "offline", "logout"}
"""Values of claim `typ` with which Keycloak marks tokens that are not access tokens."""

_LATEST_TIME = 253_402_300_800
"""The year 10,000, in seconds since 1970."""


class InvalidToken(Exception):
    """A token is not acceptable; the message is for its owner and contains nothing of the token."""


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token whose signature has not been verified."""

    algorithm: str
    kid: str | None
    is_marked_as_access_token: bool
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def parse(token: str) -> ParsedToken:
    """Parse a token and check its header. Raises: InvalidToken."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken("The token is too long.")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise InvalidToken("The token is not a signed JSON web token.")
    header_text, payload_text, signature_text = parts.groups()
    try:
        header, claims = parse_object(_decoded(header_text)), parse_object(_decoded(payload_text))
        signature = _decoded(signature_text)
    except ValueError:  # also of base64 and UTF-8
        raise InvalidToken("The token is malformed.") from None
    algorithm, kid, type_ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise InvalidToken("The token is signed with an algorithm that is not accepted.")
    if header.keys() & _FORBIDDEN_HEADERS:
        raise InvalidToken("The token has a header that is not supported.")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= _MAX_KID_LENGTH):
        raise InvalidToken("The token is malformed.")
    if not isinstance(type_, str) or (type_ := type_.lower().removeprefix("application/")) not in _TYPES:
        raise InvalidToken("The token is not an access token.")
    signed = f"{header_text}.{payload_text}".encode()
    return ParsedToken(algorithm, kid, type_ == "at+jwt", claims, signed, signature)


def check_claims(token: ParsedToken, *, audiences: Collection[str], now: float, skew: float) -> float:
    """Check audience, times and kind of a token; return the time until which it is accepted.

    Args:
        audiences: the token must be for one of them.
        now: seconds since 1970, as the result.
        skew: allowed difference between the clocks, in seconds.

    Raises:
        InvalidToken
    """
    claims = token.claims
    audience = claims.get("aud")
    if not set([audience] if isinstance(audience, str) else _texts(audience)) & set(audiences):
        raise InvalidToken("The token is for another audience.")
    expires, not_before, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise InvalidToken("The token has no time of expiry.")
    if now >= expires + skew:
        raise InvalidToken("The token has expired.")
    if (not_before is not None and now < not_before - skew) or (issued is not None and now < issued - skew):
        raise InvalidToken("The token is not valid yet.")
    if _is_other_token(token):
        raise InvalidToken("The token is not an access token.")
    return expires + skew


def _is_other_token(token: ParsedToken) -> bool:
    """Return whether it is an ID token, refresh token or logout token. Those can have the same audience."""
    claims, kind = token.claims, token.claims.get("typ")
    if token.is_marked_as_access_token:
        return False
    if isinstance(kind, str) and kind.lower() in _OTHER_TOKENS:
        return True
    has_nonce = "nonce" in claims and not (isinstance(kind, str) and kind.lower() == "bearer")
    return has_nonce or "events" in claims or bool(claims.keys() & _OF_ID_TOKENS)


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a time in seconds since 1970; None if there is none. Raises: InvalidToken."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST_TIME:
        raise InvalidToken("The token is malformed.")
    return float(value)


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
