"""Holds, which prevent that stored instances are deleted or changed."""

from dataclasses import dataclass
from datetime import datetime

from server.model.ids import Address


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold on a study, series or instance; it includes instances that are stored later.

    name: distinguishes several holds on the same resource; "" for the one without a name.
    reason: text of the administrator, shown to every client whose change is refused.
    author: id of the principal that set it.
    """

    resource: Address
    name: str
    reason: str
    author: str
    time: datetime
