"""The call for which an operation is performed: its principal, request id and deadline."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.model.access import FULL_ACCESS, Action, Grant
from server.model.audit.call_audit import CallAudit


@dataclass(frozen=True, slots=True)
class Principal:
    """The person or program that makes a call, as far as it has been authenticated.

    id: stable and unique, for decisions and the audit trail.
    display_name: for people; may change and need not be unique.
    roles: names of the roles from which the grants follow; for the audit trail.
    claims: other facts that the identity provider states, by name.
    grants: what it may do. Without grants it may do nothing.
    """

    id: str
    display_name: str = ""
    roles: frozenset[str] = frozenset()
    claims: Mapping[str, str] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()

    def grants_of(self, action: Action) -> tuple[Grant, ...]:
        """Return the grants that include an action."""
        return tuple(grant for grant in self.grants if action in grant.actions)


ANONYMOUS = Principal("anonymous")
"""The principal of calls without credentials: it may do nothing."""

EVERYBODY = Principal("anonymous", grants=(FULL_ACCESS,))
"""The principal of every call while authentication is disabled: it may do everything."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client; every operation of the domain receives it.

    request_id: the client's `x-request-id`, or one generated for the call; in every log line of the call.
    deadline: when the client stops waiting, in seconds of the event loop's clock; None if it has set no limit.
    audit: collects what the audit trail says about the call.
    """

    request_id: str
    principal: Principal
    deadline: float | None = None
    audit: CallAudit = field(default_factory=CallAudit, compare=False, repr=False)

    @property
    def client(self) -> str | None:
        """The id of the principal, whose calls are limited together; None while authentication is disabled."""
        return None if self.principal is EVERYBODY else self.principal.id
