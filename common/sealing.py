"""Authenticated encryption (AES-256-GCM). Sealed texts have the version of their format, so that it can change."""

import base64
import binascii
import hashlib
import os
import zlib
from collections.abc import Sequence
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_MAX_PLAIN_BYTES = 64 << 10
_SESSIONS = b"dicomstore session\0"


class Sealer:
    """Encrypts and decrypts fields, such as those of cookies."""

    def __init__(self, keys: Sequence[str], label: bytes = _SESSIONS) -> None:
        """Encrypt with the first key, and decrypt with all, so that keys can be changed.

        Args:
            label: what is encrypted; the same key with another label is another key.
        """
        self._ciphers = [AESGCM(hashlib.sha256(label + key.encode()).digest()) for key in keys]

    def seal(self, purpose: str, version: int, fields: Sequence[Any]) -> str:
        """Return encrypted fields, which are JSON values, as base64url; they can be opened for the same purpose only.

        Args:
            version: of the format.
        """
        nonce = os.urandom(_NONCE_BYTES)
        plain = orjson.dumps([version, *fields])
        sealed = self._ciphers[0].encrypt(nonce, zlib.compress(plain), purpose.encode())
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, purpose: str, version: int, text: str) -> list[Any] | None:
        """Return decrypted fields; None if they were not sealed for this purpose and version with one of the keys."""
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        for cipher in self._ciphers:
            try:
                plain = cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
            except (InvalidTag, ValueError):  # a ValueError for a nonce that is too short
                continue
            return _fields(plain, version)
        return None


def _fields(compressed: bytes, version: int) -> list[Any] | None:
    try:
        found = orjson.loads(zlib.decompressobj().decompress(compressed, _MAX_PLAIN_BYTES))
    except (zlib.error, ValueError):
        return None
    return found[1:] if isinstance(found, list) and found[:1] == [version] else None
