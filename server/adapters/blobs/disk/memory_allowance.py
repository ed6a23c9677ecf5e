"""The memory that all writers of a store may use together."""


class Allowance:
    """A number of bytes to take and give back. A writer that gets none writes to disk immediately; none ever waits."""

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes

    def take(self, size_bytes: int) -> bool:
        """Take bytes if enough are left; return whether they were."""
        if size_bytes > self._left_bytes:
            return False
        self._left_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Give taken bytes back."""
        self._left_bytes += size_bytes
