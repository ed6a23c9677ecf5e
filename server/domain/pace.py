"""How large the pieces of answers are, so that all answers together stay within a budget of memory.

An answer whose reader is slow holds a few of its pieces: as read, as a message, and on their way out. Nobody has to
wait for others here; with more answers, the pieces of each get smaller.
"""

from collections.abc import Iterator
from contextlib import contextmanager

MOST_BYTES = 1 << 20
LEAST_BYTES = 1 << 16
_HELD = 4
"""Pieces that an answer may hold at once."""


class Pace:
    """The pace of all answers of a process.

    Args:
        budget_bytes: what the answers may hold together; exceeded only where even the smallest pieces are too large.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._answers = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count an answer as long as it goes on."""
        self._answers += 1
        try:
            yield
        finally:
            self._answers -= 1

    def piece_bytes(self) -> int:
        """Return the size of a piece that is read now."""
        share = self._budget_bytes // (_HELD * max(self._answers, 1))
        return max(LEAST_BYTES, min(MOST_BYTES, share))
