"""The order in which the instances of an upload are committed."""

import asyncio


class CommitOrder:
    """The position of one instance, which waits for the one before it."""

    def __init__(self, before: "CommitOrder | None" = None) -> None:
        self._before = before
        self._released = asyncio.Event()

    async def wait(self) -> None:
        """Wait until the instance before has released its position."""
        if self._before is not None:
            await self._before._released.wait()
            self._before = None

    def release(self) -> None:
        """Let the next instance proceed. Must be called in any case."""
        self._released.set()
