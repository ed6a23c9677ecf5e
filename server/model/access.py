"""Actions and grants: what a principal may do, and where."""

import enum
from dataclasses import dataclass

from server.model.ids import ARCHIVE, Address


class Action(enum.Enum):
    """A kind of access. The values are the names in configuration and in texts for people."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    MANAGE_EXTENDED_QUERY_TAGS = "manageExtendedQueryTags"
    EXPORT = "export"
    AUDIT = "audit"
    ADMINISTER = "administer"
    MONITOR = "monitor"


READING = frozenset({Action.READ, Action.AUDIT, Action.MONITOR})
"""Actions that change nothing."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Actions that a principal may perform on everything within `scope`.

    scope: `ARCHIVE`, a partition, or a study, series or instance.
    """

    actions: frozenset[Action]
    scope: Address

    def covers(self, address: Address) -> bool:
        """Return whether the address is the scope or within it."""
        scope = self.scope
        return scope == ARCHIVE or (
            scope.partition == address.partition
            and scope.study in (None, address.study)
            and scope.series in (None, address.series)
            and scope.instance in (None, address.instance)
        )


FULL_ACCESS = Grant(frozenset(Action), ARCHIVE)
"""Every action, everywhere."""
