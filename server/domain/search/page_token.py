"""The opaque token for the next page of a search.

It contains the row key of the last match, so that every page costs the same, and a digest of the query, so that a token
of another query is detected. In an order of values it also contains those of the last match, encrypted, because tokens
are part of URLs, which must not reveal patient data. It is not a credential.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence

from common.sealing import Sealer
from server.model.errors import InvalidRequest, Reason
from server.model.search.query import SortValue

_FORM = struct.Struct(">Q8s")
_TEXT_LENGTH = 22
_LABEL = b"dicomstore sorted page\0"
_VERSION = 1


def make(key: int, query: bytes) -> str:
    """Return the token for the page after the match with row key `key`."""
    return base64.urlsafe_b64encode(_FORM.pack(key, _digest(query))).rstrip(b"=").decode()


def read(token: str, query: bytes) -> int:
    """Return the row key in a token.

    Raises:
        InvalidRequest: INVALID_PAGE_TOKEN, the token belongs to another query or is damaged.
    """
    try:
        if len(token) != _TEXT_LENGTH:
            raise _invalid()
        key, digest = _FORM.unpack(base64.b64decode(token + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as broken:
        raise _invalid() from broken
    if digest != _digest(query) or key >= 2**63:
        raise _invalid()
    return int(key)


class SortedPages:
    """Tokens for the pages of matches in an order of values."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Encrypt with the first key, and decrypt with all, so that keys can be changed."""
        self._sealer = Sealer(keys, _LABEL)

    def make(self, key: int, values: Sequence[SortValue], query: bytes) -> str:
        """Return the token for the page after the match with these values and row key."""
        return self._sealer.seal(_digest(query).hex(), _VERSION, [key, *values])

    def read(self, token: str, query: bytes) -> tuple[int, tuple[SortValue, ...]]:
        """Return row key and values in a token.

        Raises:
            InvalidRequest: INVALID_PAGE_TOKEN, the token belongs to another query, is damaged, or of another archive.
        """
        fields = self._sealer.open(_digest(query).hex(), _VERSION, token)
        if not fields:
            raise _invalid()
        return fields[0], tuple(fields[1:])


def _digest(query: bytes) -> bytes:
    return hashlib.blake2b(query, digest_size=8).digest()


def _invalid() -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_PAGE_TOKEN, "The page token does not belong to this query.")
