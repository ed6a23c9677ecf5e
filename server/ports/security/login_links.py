"""The record of login links."""

from datetime import datetime
from typing import Protocol

from server.model.security.login_link import LoginLink


class LoginLinks(Protocol):
    """The record of login links that have not been used.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    """

    async def add(self, link: LoginLink, digest: bytes, now: datetime) -> None:
        """Record a link with the SHA-256 of its code, and remove those that have expired."""
        ...

    async def exists(self, digest: bytes) -> bool:
        """Return whether there is a link with this SHA-256."""
        ...

    async def take(self, digest: bytes) -> LoginLink | None:
        """Remove the link with this SHA-256 and return it; None if there is none. Of several calls, one gets it."""
        ...
