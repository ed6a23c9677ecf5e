"""Failures grouped by cause: a thousand files with the same failure are one entry with a count."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.markup import escape

from common.counting import counted

KEPT_CAUSES = 50
"""Maximum number of different causes; failures with further causes are only counted."""

KEPT_NAMES = 3
"""Number of names kept for each cause; the others are counted."""


@dataclass(slots=True)
class _Group:
    names: list[str] = field(default_factory=list)
    count: int = 0


class Causes:
    """Failures by cause; memory does not grow with the number of failures."""

    def __init__(self, noun: str) -> None:
        """Create an empty collection; `noun` names an item: `file`, `instance`."""
        self._noun = noun
        self._groups: dict[tuple[str, tuple[str, ...]], _Group] = {}
        self._others = 0
        self.count = 0

    @property
    def are_complete(self) -> bool:
        """Whether all failures are kept with their names."""
        return not self._others and all(group.count == len(group.names) for group in self._groups.values())

    def add(self, name: str, reason: str, details: tuple[str, ...]) -> None:
        """Add the failure of `name` with its reason of the contract and explanatory details."""
        self.count += 1
        cause = (reason, details)
        if cause not in self._groups and len(self._groups) == KEPT_CAUSES:
            self._others += 1
            return
        group = self._groups.setdefault(cause, _Group())
        group.count += 1
        if len(group.names) < KEPT_NAMES:
            group.names.append(name)

    def lines(self) -> Iterator[str]:
        """Yield the failures as lines of markup, the most frequent cause first."""
        for (reason, details), group in sorted(self._groups.items(), key=lambda item: -item[1].count):
            yield f"[bold red]{counted(group.count, self._noun)} failed[/] ({escape(reason)}):"
            yield from (f"  {escape(detail)}" for detail in details)
            yield from (f"    {escape(name)}" for name in group.names)
            if more := group.count - len(group.names):
                yield f"    … and {more:,} more"
        if self._others:
            yield f"[bold red]{counted(self._others, self._noun)} failed[/] for other reasons"
