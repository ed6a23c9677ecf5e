"""The order in which the instances of an upload are committed."""

import asyncio


class CommitOrder:
    """The position of one instance, which waits for the one before it."""

    __slots__ = ("_before", "_is_released", "_next")

    def __init__(self, before: "CommitOrder | None" = None) -> None:
        self._before = before
        self._is_released = False
        self._next: asyncio.Future[None] | None = None  # the wait of the instance after this one

    async def wait(self) -> None:
        """Wait until the instance before has released its position."""
        before = self._before
        if before is not None:
            if not before._is_released:
                before._next = asyncio.get_running_loop().create_future()
                await before._next
            self._before = None

    def release(self) -> None:
        """Let the next instance proceed. Must be called in any case."""
        self._is_released = True
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
