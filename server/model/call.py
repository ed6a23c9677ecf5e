"""The call for which an operation is performed: its principal, request id and deadline."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Principal:
    """The person or program that makes a call, as far as it has been authenticated.

    id: stable and unique, for decisions and the audit trail.
    display_name: for people; may change and need not be unique.
    roles: names that access rules refer to; scopes of an access token are roles as well.
    claims: other facts that the identity provider states, by name.
    """

    id: str
    display_name: str = ""
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, str] = field(default_factory=dict)


ANONYMOUS = Principal("anonymous")
"""The principal of calls without authentication."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client; every operation of the domain receives it.

    request_id: the client's `x-request-id`, or one generated for the call; in every log line of the call.
    deadline: when the client stops waiting, in seconds of the event loop's clock; None if it has set no limit.
    """

    request_id: str
    principal: Principal = ANONYMOUS
    deadline: float | None = None
