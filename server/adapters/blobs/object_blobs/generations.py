"""Generations: runs of objects of a process, so that the remains of an ended process are found quickly.

    ingest/<process>/<generation>    exists while the generation may have unsettled blobs; empty

It exists before the first object of the generation. `recover` lists the generations of ended processes, and their
objects; those of running processes, and all generations without such a record, are never listed. A process begins a new
generation from time to time, so that there is little to list after it was killed.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.object_blobs.names import Place, new_id
from server.adapters.blobs.objects.client import ObjectClient
from server.model.errors import DicomStoreError

INGEST = "ingest"

_MAX_OBJECTS = 1000
_MAX_SECONDS = 600


class Processes(Protocol):
    """Which processes use the object store; see `lease.ProcessLease`. All functions block, except `require`."""

    @property
    def id(self) -> str:
        """The id of this process; a new one after its lease was lost. Raises: as `ObjectClient`."""
        ...

    def require(self, id_: str, /) -> None:
        """Check that this process still has this id. Raises: Unavailable."""
        ...

    def ended(self, ids: Iterable[str], /) -> set[str]:
        """Return which of these processes have ended. Raises: as `ObjectClient`."""
        ...


class Generation:
    """A generation of this process. Its state is that of one event loop."""

    def __init__(self, process: str, began: float) -> None:
        self.process = process
        self.id = new_id()
        self.began = began
        self.objects = 0
        self.in_progress = 0  # objects that are being written
        self.unsettled: set[Place] = set()
        self.in_doubt: set[str] = set()  # objects that may exist although writing them failed

    @contextmanager
    def writing(self, path: str) -> Iterator[None]:
        """While an object is written. After a failure or cancellation, it may exist or not."""
        try:
            yield
        except BaseException:
            self.in_doubt.add(path)
            raise

    @property
    def record(self) -> str:
        """The name of the object that says that it may have unsettled blobs."""
        return f"{INGEST}/{self.process}/{self.id}"


class Generations:
    """The generations of this process, for one event loop."""

    def __init__(self, client: ObjectClient, processes: Processes, threads: DiskThreads) -> None:
        self._client = client
        self._processes = processes
        self._threads = threads
        self._current: Generation | None = None
        self._open: dict[str, Generation] = {}

    async def enter(self, now: float) -> Generation:
        """Return the generation for one more object. Call `leave` when the object is written or given up.

        Raises: as `ObjectClient`.
        """
        process = await self._threads.run(lambda: self._processes.id)
        current = self._current
        if current is not None and (
            current.process != process or current.objects >= _MAX_OBJECTS or now - current.began >= _MAX_SECONDS
        ):
            self._current = None
            with suppress(DicomStoreError):  # a record that stays is examined after the end of this process
                await self.resolve_doubts()  # in each process: `recover` is called by one of them only
        if self._current is None:
            found = Generation(process, now)
            found.in_progress += 1  # it is not removed meanwhile
            try:
                await self._threads.run(lambda: self._client.create(found.record, b""))
            finally:
                found.in_progress -= 1
            self._open[found.id] = found
            if self._current is None:
                self._current = found
        current = self._current
        current.objects += 1
        current.in_progress += 1
        return current

    def leave(self, generation: Generation) -> None:
        """Count the end of writing an object."""
        generation.in_progress -= 1

    def require(self, generation: Generation) -> None:
        """Check that the blobs of a generation are still those of this process. Raises: Unavailable."""
        self._processes.require(generation.process)

    def has_unsettled(self, place: Place) -> bool:
        """Return whether a blob is an unsettled one of this process."""
        found = self._open.get(place.name.generation)
        return found is not None and place in found.unsettled

    async def settle(self, places: Iterable[Place]) -> None:
        """Remove blobs from the unsettled ones; those of other processes are ignored."""
        changed = {}
        for place in places:
            if (found := self._open.get(place.name.generation)) is not None:
                found.unsettled.discard(place)
                changed[found.id] = found
        await self._remove([found for found in changed.values() if found is not self._current])

    async def close(self) -> None:
        """End all generations. The records of those with unsettled blobs stay."""
        self._current = None
        await self._remove(list(self._open.values()))

    async def resolve_doubts(self) -> None:
        """Delete objects whose writing failed, if they exist. Raises: as `ObjectClient`."""
        for found in list(self._open.values()):
            if doubted := sorted(found.in_doubt):
                await self._threads.run(lambda: self._client.delete(doubted))
                found.in_doubt.difference_update(doubted)
        await self._remove([found for found in self._open.values() if found is not self._current])

    async def _remove(self, generations: Sequence[Generation]) -> None:
        """Remove the records of generations without unsettled blobs."""
        settled = [found for found in generations if not (found.unsettled or found.in_doubt or found.in_progress)]
        for found in settled:
            self._open.pop(found.id, None)
        if settled:
            await self._threads.run(lambda: self._client.delete([found.record for found in settled]))
