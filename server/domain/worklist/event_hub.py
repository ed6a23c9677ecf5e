"""Distribution of new events of workitems within a process: one reader of the log, however many clients listen."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from server.domain.signal import Signal, wait
from server.model.errors import DicomStoreError
from server.model.ids import PartitionName
from server.model.worklist.event import EventKind, LoggedEvent
from server.ports.worklist.subscriptions import EventLog

_PAGE = 500
_PAGE_BYTES = 4 << 20
_MOST_WAITING = 200
_MOST_WAITING_BYTES = 128 << 10
_POLL_SECONDS = 1.0

Route = int | PartitionName | tuple[PartitionName, str]
"""The key of a subscriber, or a partition, or partition and AE title of one that is not a subscriber yet."""

_log = logging.getLogger("dicomstore.worklist.events")


class Listener:
    """A client that listens. Its new events wait here up to a limit; beyond it they are dropped, and the client has to
    read them from the log, so that a slow one delays nobody.

    is_behind: events were dropped since the last `restart`; also at the beginning.
    route: whose events it gets.
    """

    def __init__(self) -> None:
        self.is_behind = True
        self.route: Route | None = None
        self._waiting: deque[LoggedEvent] = deque()
        self._bytes = 0
        self._woken = asyncio.Event()

    def offer(self, event: LoggedEvent) -> None:
        """Let an event wait."""
        if self.is_behind:
            return
        self._waiting.append(event)
        self._bytes += event.size
        if len(self._waiting) > _MOST_WAITING or self._bytes > _MOST_WAITING_BYTES:
            self.fall_behind()
        self._woken.set()

    def fall_behind(self) -> None:
        """Drop the events that wait, so that the client reads the log."""
        self._clear()
        self.is_behind = True
        self._woken.set()

    def restart(self) -> None:
        """Keep all events from now on. Earlier ones are to be read from the log after this call."""
        self._clear()
        self.is_behind = False

    def take(self) -> list[LoggedEvent]:
        """Return the events that wait, ascending."""
        found = list(self._waiting)
        self._clear()
        return found

    def wake(self) -> None:
        """End the wait of the client."""
        self._woken.set()

    def calm(self) -> None:
        """Let the next `wait` wait unless there are events."""
        if not self._waiting:
            self._woken.clear()

    async def wait(self, seconds: float) -> None:
        """Wait until there are events, for at most some seconds."""
        await wait(self._woken, seconds)

    def _clear(self) -> None:
        self._waiting.clear()
        self._bytes = 0
        self._woken.clear()


class EventHub:
    """Reads the log while clients listen, and offers each event to those it is for.

    New events of this process are read at once, those of others within 100 ms; see `EventLog.listen`. In addition, the
    log is polled once a second.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._changed = Signal()
        self._listeners: set[Listener] = set()
        self._routes: dict[Route, set[Listener]] = {}
        self._watches = 0
        self._task: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()
        self.is_closing = False
        self.position = 0
        """That of the last event that was read; the log may have more."""

    def notify(self) -> None:
        """Read the log now, because there may be new events."""
        self._changed.notify()

    def subscribed(self, partition: PartitionName, ae_title: str) -> None:
        """Wake the clients of an AE title that may have become a subscriber in this process."""
        for listener in self._routes.get((partition, ae_title), ()):
            listener.wake()

    def close(self) -> None:
        """Let all clients end."""
        self.is_closing = True
        for listener in self._listeners:
            listener.wake()

    @contextmanager
    def listener(self) -> Iterator[Listener]:
        """Return a listener; see `route`."""
        listener = Listener()
        self._listeners.add(listener)
        if self._task is None:
            self._is_ready.clear()
            self._task = asyncio.create_task(self._run())
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._leave(listener)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    async def route(self, listener: Listener, route: Route) -> None:
        """Offer the events of a subscriber, or those of changes in a partition, to a listener from now on; or let it be
        woken by `subscribed`."""
        await self._is_ready.wait()
        self._leave(listener)
        listener.route = route
        self._routes.setdefault(route, set()).add(listener)
        self._watches += isinstance(route, str)

    def _leave(self, listener: Listener) -> None:
        route, listener.route = listener.route, None
        if route is None:
            return
        self._watches -= isinstance(route, str)
        self._routes[route].discard(listener)
        if not self._routes[route]:
            del self._routes[route]

    async def _run(self) -> None:
        listening = asyncio.create_task(self._log.listen(self.notify))
        try:
            position = None
            while True:
                changed = self._changed.next()  # taken before the query, so that no notification is missed
                try:
                    if position is None:
                        position = self.position = (await self._log.state()).last
                        self._is_ready.set()
                    read = await self._read(position)
                except DicomStoreError as error:
                    _log.warning("events of workitems are delayed reason=%s", error.reason)
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                except Exception:  # noqa: BLE001 - otherwise clients would wait for events forever
                    _log.exception("events of workitems are delayed by an unexpected fault")
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                if read is None:
                    await wait(changed, _POLL_SECONDS)
                else:
                    position = self.position = read
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def _read(self, position: int) -> int | None:
        """Distribute a page of events after a position; return the position of the last one, None without events."""
        with_data_sets = self._watches > 0
        page = await self._log.after(position, _PAGE, _PAGE_BYTES, with_data_sets=with_data_sets)
        for event in page:
            alone = replace(event, recipients=())
            if event.kind is EventKind.CHANGE:
                for watch in self._routes.get(event.partition, ()):
                    if with_data_sets:
                        watch.offer(alone)
                    else:  # it began meanwhile
                        watch.fall_behind()
            if event.recipients:
                short = replace(alone, data_set=None)
                for key in event.recipients:
                    for listener in self._routes.get(key, ()):
                        listener.offer(short)
        return page[-1].position if page else None
