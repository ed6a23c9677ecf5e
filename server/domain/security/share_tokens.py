"""Tokens of share links: the id and the expiry of a link, signed with a key of the archive.

A token is `PREFIX` and 56 characters of base64url: 16 bytes of id, 8 bytes of expiry (seconds since 1970-01-01 UTC,
big endian), and the first 18 bytes of the HMAC-SHA256 of both. An invented token is refused without a look-up.
"""

import base64
import binascii
import hmac
import struct
from collections.abc import Sequence
from datetime import UTC, datetime

from server.model.security.share_link import PREFIX, ShareLink

_CONTENT = struct.Struct(">16sQ")
_SIGNATURE_BYTES = 18
_LENGTH = len(PREFIX) + (_CONTENT.size + _SIGNATURE_BYTES) // 3 * 4
_PURPOSE = b"dicomstore share link\0"


class ShareTokens:
    """Makes and verifies tokens."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Sign with the first key, and accept the signatures of all, so that keys can be changed."""
        self._keys = [key.encode() for key in keys]

    def make(self, link: ShareLink) -> str:
        """Return the token of a link."""
        content = _CONTENT.pack(bytes.fromhex(link.id), int(link.expires.timestamp()))
        signed = content + _signature(self._keys[0], content)
        return PREFIX + base64.urlsafe_b64encode(signed).decode()

    def read(self, token: str) -> tuple[str, datetime] | None:
        """Return the id and the expiry of the link of a token; None if this archive has not signed it."""
        if len(token) != _LENGTH or not token.isascii():
            return None
        try:
            signed = base64.b64decode(token[len(PREFIX) :], b"-_", validate=True)
        except binascii.Error:
            return None
        content, signature = signed[: _CONTENT.size], signed[_CONTENT.size :]
        if not any(hmac.compare_digest(_signature(key, content), signature) for key in self._keys):
            return None
        link_id, expires = _CONTENT.unpack(content)
        return link_id.hex(), datetime.fromtimestamp(expires, UTC)


def _signature(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + content, "sha256")[:_SIGNATURE_BYTES]
