"""How large the pieces of answers are, so that all answers together stay within a budget of memory.

An answer whose reader is slow holds a few of its pieces: as read, as a message, and on their way out. Nobody has to
wait for others here; with more answers, the pieces of each get smaller.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MOST_BYTES = 1 << 20
LEAST_BYTES = 1 << 16
_HELD = 6
"""Pieces that a response may hold at once: two as read, one as a message, two as bytes, one on its way out."""

_LARGE_BYTES = 32 << 20
_FIRST_BYTES = 1 << 18
_FIRST_PIECES = 16
"""The first pieces of a large value are small. Many clients may begin a download at the same time and read no more than
what the system buffers; only later pieces are chosen when it is known how many they are.
"""


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

    def pieces_of(self, size_bytes: int) -> Callable[[], int]:
        """Return what says how large each next piece of a value of `size_bytes` is."""
        return _cautious(self.piece_bytes) if size_bytes > _LARGE_BYTES else self.piece_bytes


def _cautious(piece_bytes: Callable[[], int]) -> Callable[[], int]:
    first = iter(range(_FIRST_PIECES))

    def next_bytes() -> int:
        return piece_bytes() if next(first, None) is None else min(piece_bytes(), _FIRST_BYTES)

    return next_bytes
