"""A browser session: the tokens of its user, and its times. It exists in its encrypted cookie only."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.sealing import Sealer
from facade.sessions import cookies

NAME = "dicomstore-session"
_PURPOSE = "session"
_VERSION = 1
"""Increase it if the fields of a session change; sessions of other versions end."""

_RENEW_S = 60
"""The time of the last use is stored in this precision, so that most responses set no cookie."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session. Times are in seconds since 1970.

    access_token: sent to the core with every call.
    refresh_token: to get the next access token; empty if there is none.
    access_until: end of the access token.
    started, used: time of the login, and of about the last use.
    """

    access_token: str
    refresh_token: str
    access_until: int
    started: int
    used: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """Reads and writes the cookies of sessions.

    idle_s, max_s: a session ends after this time without use, and after this time since its login.
    """

    sealer: Sealer
    idle_s: int
    max_s: int

    def of(self, present: Mapping[str, str], *, is_https: bool) -> Session | None:
        """Return the session in the cookies of a request; None if there is none that is valid."""
        text = cookies.read(present, cookies.full_name(NAME, is_https=is_https))
        session = _session(self.sealer.open(_PURPOSE, _VERSION, text)) if text else None
        if session is None:
            return None
        now = time.time()
        return session if now < session.used + self.idle_s and now < session.started + self.max_s else None

    def used(self, session: Session) -> Session:
        """Return the session with the time of this use; the same one if it was used just before."""
        now = int(time.time())
        return replace(session, used=now) if now >= session.used + min(_RENEW_S, self.idle_s // 2) else session

    def headers(self, session: Session, present: Iterable[str], *, is_https: bool) -> list[str]:
        """Return the Set-Cookie headers that store a session. Raises: ValueError, its tokens are too long."""
        fields = (
            session.access_token,
            session.refresh_token,
            session.access_until,
            session.started,
            session.used,
        )
        text = self.sealer.seal(_PURPOSE, _VERSION, fields)
        return cookies.setting(cookies.full_name(NAME, is_https=is_https), text, present, is_https=is_https)

    def ending(self, present: Iterable[str], *, is_https: bool) -> list[str]:
        """Return the Set-Cookie headers that delete the session of a request."""
        return cookies.setting(cookies.full_name(NAME, is_https=is_https), "", present, is_https=is_https)


def _session(fields: Sequence[Any] | None) -> Session | None:
    """Return the session with these fields; None if they are not those of a session."""
    match fields:
        case [str(access_token), str(refresh_token), int(access_until), int(started), int(used)]:
            return Session(access_token, refresh_token, access_until, started, used)
        case _:
            return None
