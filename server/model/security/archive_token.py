"""Archive tokens: credentials that the archive issues itself, for programs and people without an identity provider."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from server.model.ids import PartitionName

PREFIX = "dcmt_"
"""Of the text of every archive token."""

_SECRET_BYTES = 32
_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class ArchiveToken:
    """The record of an archive token. It does not contain the token itself.

    id: 16 hexadecimal digits; not a secret.
    name: for people; need not be unique.
    roles: names of the roles that it grants.
    partitions: to which its permissions are limited; empty means all.
    creator: id of the principal that created it.
    last_used: of its last use, to the minute; None before the first use.
    """

    id: str
    name: str
    roles: tuple[str, ...]
    partitions: tuple[PartitionName, ...]
    created: datetime
    creator: str
    expires: datetime
    revoked: datetime | None = None
    last_used: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Return whether calls with the token are accepted."""
        return self.revoked is None and now < self.expires


def new_id() -> str:
    """Return a new, random id."""
    return secrets.token_hex(_ID_BYTES)


def new_secret() -> str:
    """Return the text of a new token: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest(secret: str) -> bytes:
    """Return the SHA-256 of the text of a token, which is all that is stored of it."""
    return hashlib.sha256(secret.encode()).digest()
