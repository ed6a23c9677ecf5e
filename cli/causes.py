"""What failed and why, grouped: a thousand files that failed alike are one entry with a count."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.markup import escape

from cli.output import counted

KEPT_CAUSES = 50
"""Different causes that are kept; failures of further ones are only counted."""

KEPT_NAMES = 3
"""Names that are kept of each cause; the others are counted."""


@dataclass(slots=True)
class _Group:
    names: list[str] = field(default_factory=list)
    count: int = 0


class Causes:
    """Failures by cause; memory does not grow with their number."""

    def __init__(self, noun: str) -> None:
        """Take what has failed: `file`, `instance`."""
        self._noun = noun
        self._groups: dict[tuple[str, tuple[str, ...]], _Group] = {}
        self._others = 0
        self.count = 0

    @property
    def are_complete(self) -> bool:
        """Say whether each failure is told by name."""
        return not self._others and all(group.count == len(group.names) for group in self._groups.values())

    def add(self, name: str, reason: str, details: tuple[str, ...]) -> None:
        """Count the failure of `name`, for a reason of the contract that the details explain."""
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
        """Yield what failed as lines of markup, the most frequent cause first."""
        for (reason, details), group in sorted(self._groups.items(), key=lambda item: -item[1].count):
            yield f"[bold red]{counted(group.count, self._noun)} failed[/] ({escape(reason)}):"
            yield from (f"  {escape(detail)}" for detail in details)
            yield from (f"    {escape(name)}" for name in group.names)
            if more := group.count - len(group.names):
                yield f"    … and {more:,} more"
        if self._others:
            yield f"[bold red]{counted(self._others, self._noun)} failed[/] for other reasons"
