"""Re-encoded frames that are asked for again, and at the same time by several."""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Hashable
from typing import Any

_OVERHEAD_BYTES = 500


class FrameCache:
    """Keeps the frames that were used last, up to a number of bytes, and makes each only once for all who wait for it.

    What has been begun is finished even if all who waited for it have gone: it is kept for the next.
    All use is from one event loop.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[bytes]] = {}

    def known(self, key: Hashable) -> bytes | None:
        """Return a frame if it is here."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    async def get(self, key: Hashable, making: Coroutine[Any, Any, bytes]) -> bytes:
        """Return the frame that `key` stands for; `making` makes it if nobody else does already.

        Raises: what `making` raises, to all who wait.
        """
        if (frame := self.known(key)) is not None:
            making.close()
            return frame
        if key in self._making:
            making.close()
        else:
            self._making[key] = task = asyncio.create_task(making)
            task.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(self._making[key])

    def _made(self, key: Hashable, task: "asyncio.Task[bytes]") -> None:
        del self._making[key]
        if task.cancelled() or task.exception() is not None:
            return
        frame = task.result()
        cost = len(frame) + _OVERHEAD_BYTES
        if cost > self._max_bytes // 2:
            return
        self._kept[key] = frame
        self._bytes += cost
        while self._bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped) + _OVERHEAD_BYTES
