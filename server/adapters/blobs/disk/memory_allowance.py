"""How many bytes the writers of a store may hold in memory, all together."""


class Allowance:
    """A number of bytes to be taken and given back. Whoever gets none writes to disk at once: nobody ever waits."""

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes

    def take(self, size_bytes: int) -> bool:
        """Take bytes if they are there; say whether."""
        if size_bytes > self._left_bytes:
            return False
        self._left_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Give back bytes that were taken."""
        self._left_bytes += size_bytes
