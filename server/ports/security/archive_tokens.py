"""The record of archive tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from server.model.security.archive_token import ArchiveToken


class ArchiveTokens(Protocol):
    """The record of archive tokens. Tokens are never removed from it.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    """

    async def add(self, token: ArchiveToken, digest: bytes) -> None:
        """Record a new token with the SHA-256 of its text."""
        ...

    async def find(self, digest: bytes) -> ArchiveToken | None:
        """Return the token with this SHA-256; None if there is none."""
        ...

    async def get(self, token_id: str) -> ArchiveToken | None:
        """Return the token with this id; None if there is none."""
        ...

    async def exist(self) -> bool:
        """Return whether a token has ever been created."""
        ...

    async def list(
        self, *, valid_at: datetime | None, before: int | None, limit: int
    ) -> Sequence[tuple[int, ArchiveToken]]:
        """Return tokens with their record keys, newest first.

        Args:
            valid_at: only those that are valid at this time; None returns all.
            before: only those with smaller record keys.
        """
        ...

    async def revoke(self, token_id: str, now: datetime) -> ArchiveToken | None:
        """Revoke a token, unless it is revoked already, and return it; None if there is none."""
        ...

    async def set_last_used(self, times: Mapping[str, datetime]) -> None:
        """Record the last use of tokens, by id. Earlier times than the recorded ones change nothing."""
        ...
