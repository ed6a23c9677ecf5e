"""Login links: codes that open a browser session once."""

import secrets
from dataclasses import dataclass
from datetime import datetime

PREFIX = "dcml_"
"""Of the code of every login link."""

SESSION_NAME = "browser session"
"""Name of the archive tokens that login links create."""


@dataclass(frozen=True, slots=True)
class LoginLink:
    """The record of a login link. It does not contain the code.

    roles: of the session.
    creator: id of the principal that created it.
    """

    roles: tuple[str, ...]
    creator: str
    expires: datetime


def new_code() -> str:
    """Return a new code: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)
