"""Memory budget for responses: it sets the size of the pieces that they are read in.

A response whose client reads slowly holds a few of its pieces: as read, as a message, and in the buffers of the
connection. No response waits for another; the more there are, the smaller are the pieces of each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_PIECE_BYTES = 1 << 20
MIN_PIECE_BYTES = 1 << 16
_HELD = 6
"""Pieces that a response over gRPC may hold at once: two as read, one serialised, and gRPC's buffers of both sides.

A node holds two as read, the first of which may still be in the buffer of the connection.
"""

_LARGE_BYTES = 32 << 20
_FIRST_BYTES = 1 << 18
_FIRST_PIECES = 16
"""The first pieces of a large value are small. Many clients may begin a download at the same time and read no more than
the system buffers; the size of later pieces is chosen when the number of responses is known.
"""


class ResponseBudget:
    """The budget that all responses of a process share.

    Args:
        budget_bytes: memory of all responses together; exceeded only where even the smallest pieces are too large.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._responses = 0

    @property
    def responses(self) -> int:
        """Number of responses that are being sent."""
        return self._responses

    @contextmanager
    def responding(self) -> Iterator[None]:
        """Count a response for as long as it is sent."""
        self._responses += 1
        try:
            yield
        finally:
            self._responses -= 1

    def piece_bytes(self) -> int:
        """Return the size of a piece that is read now."""
        share = self._budget_bytes // (_HELD * max(self._responses, 1))
        return max(MIN_PIECE_BYTES, min(MAX_PIECE_BYTES, share))

    def piece_sizes(self, size_bytes: int) -> Callable[[], int]:
        """Return a function that returns the size of the next piece of a value of `size_bytes`."""
        return _cautious(self.piece_bytes) if size_bytes > _LARGE_BYTES else self.piece_bytes


def _cautious(piece_bytes: Callable[[], int]) -> Callable[[], int]:
    first = iter(range(_FIRST_PIECES))

    def next_bytes() -> int:
        return piece_bytes() if next(first, None) is None else min(piece_bytes(), _FIRST_BYTES)

    return next_bytes
