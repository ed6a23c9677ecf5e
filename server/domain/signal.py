"""A signal between tasks of a process."""

import asyncio


class Signal:
    """Wakes all tasks that wait for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake all tasks that wait."""
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Return the event that the next `notify` sets. To be taken before what it announces is looked for."""
        return self._event


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, for at most some seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
