"""Share links: access to one study, series or instance, or uploads into one partition, without an account."""

import enum
from dataclasses import dataclass
from datetime import datetime

from server.model.access import Action, Grant
from server.model.call import Principal
from server.model.ids import Address

PREFIX = "dcms_"
"""Of the token of every share link."""

_PRINCIPAL = "share:"


class SharePurpose(enum.IntEnum):
    """Use of a share link. The numbers are those of the contract."""

    READ = 1
    UPLOAD = 2

    @property
    def action(self) -> Action:
        """The action that the link permits."""
        return Action.READ if self is SharePurpose.READ else Action.WRITE


@dataclass(frozen=True, slots=True)
class ShareLink:
    """The record of a share link. It does not contain the token.

    id: 32 hexadecimal digits; not a secret.
    scope: the study, series or instance that can be read, or the partition that instances are stored into.
    label: for people.
    creator: id of the principal that created it.
    """

    id: str
    purpose: SharePurpose
    scope: Address
    label: str
    creator: str
    created: datetime
    expires: datetime

    @property
    def principal(self) -> Principal:
        """The principal of calls with the token of the link."""
        return Principal(f"{_PRINCIPAL}{self.id}", grants=(Grant(frozenset({self.purpose.action}), self.scope),))


def link_of(principal: Principal) -> str | None:
    """Return the id of the link with whose token a principal is authenticated; None if it is not."""
    kind, prefix, link_id = principal.id.partition(_PRINCIPAL)
    return link_id if prefix and not kind else None
