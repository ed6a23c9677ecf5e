"""The memory that all writers of a store may use together."""


class Allowance:
    """A number of bytes to be taken and given back. A writer that gets none writes to disk at once; none ever waits."""

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes

    def take(self, size_bytes: int) -> bool:
        """Take bytes if there are enough; say whether."""
        if size_bytes > self._left_bytes:
            return False
        self._left_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Give back bytes that were taken."""
        self._left_bytes += size_bytes
