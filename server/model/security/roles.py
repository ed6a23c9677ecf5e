"""Roles: names for sets of actions, from which the grants of a principal follow."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from server.model.access import Action, Grant
from server.model.ids import ARCHIVE, Address, PartitionName


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of actions, in the whole archive (`partitions` is None) or in some partitions.

    In partitions, actions that concern the whole archive have no effect: managing query tags, audit, administration,
    monitoring.
    """

    name: str
    actions: frozenset[Action]
    partitions: frozenset[PartitionName] | None = None


GLOBAL_ADMIN = "globalAdmin"

BUILT_IN: Mapping[str, Role] = MappingProxyType(
    {
        role.name: role
        for role in (
            Role("globalReader", frozenset({Action.READ})),
            Role(GLOBAL_ADMIN, frozenset(Action)),
            Role("writer", frozenset({Action.READ, Action.WRITE})),
            Role("auditor", frozenset({Action.AUDIT})),
            Role("monitor", frozenset({Action.MONITOR})),
        )
    }
)
"""The roles of every archive, by name. The first two are those of Azure's DICOM service."""


class Roles:
    """The roles of an archive: the built-in ones, and those of its configuration."""

    def __init__(self, configured: Iterable[Role] = ()) -> None:
        self._by_name = {**BUILT_IN, **{role.name: role for role in configured}}

    @property
    def names(self) -> list[str]:
        """The names of all roles, ascending."""
        return sorted(self._by_name)

    def unknown(self, names: Collection[str]) -> list[str]:
        """Return those names that are not roles."""
        return sorted(name for name in names if name not in self._by_name)

    def known(self, names: Collection[str]) -> frozenset[str]:
        """Return those names that are roles."""
        return frozenset(name for name in names if name in self._by_name)

    def grants(self, names: Collection[str], partitions: Collection[PartitionName] = ()) -> tuple[Grant, ...]:
        """Return the permissions of all these roles together, one grant for each scope.

        Names that are not roles grant nothing.

        Args:
            partitions: limit the grants to these; empty means all.
        """
        actions: dict[Address, frozenset[Action]] = {}
        for name in self.known(names):
            role = self._by_name[name]
            for scope in _scopes(role.partitions, frozenset(partitions) or None):
                actions[scope] = actions.get(scope, frozenset()) | role.actions
        ordered = sorted(actions.items(), key=lambda item: item[0].partition)
        return tuple(Grant(allowed, scope) for scope, allowed in ordered if allowed)


def _scopes(first: frozenset[PartitionName] | None, second: frozenset[PartitionName] | None) -> list[Address]:
    """Return the archive, or the partitions that are in both limits; None is no limit."""
    if first is None and second is None:
        return [ARCHIVE]
    limits = [limit for limit in (first, second) if limit is not None]
    return [Address(partition) for partition in frozenset.intersection(*limits)]
