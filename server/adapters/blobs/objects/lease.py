"""Leases: which processes use an object store. All functions block.

    processes/<id>    the number of renewals; replaced every few seconds as long as its process runs

A process registers with a lease before it creates anything else that has its id in the name. A process has ended if
its lease is missing, or is older than `Timing.ended` by the clock of the service. Who finds an old lease removes it
with a conditional write, so that its process cannot renew it any more: it continues with a new lease and a new id. A
process trusts its lease for `Timing.trusted` only, which is less, because it cannot ask before each write.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from server.adapters.blobs.objects.client import Changed, Exists, Listed, NotFound, ObjectClient
from server.model.errors import DicomStoreError, Reason, Unavailable

ProcessId = str
"""32 hexadecimal digits."""

_PREFIX = "processes/"
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 1.0

_log = logging.getLogger("dicomstore.blobs")


class Timing(NamedTuple):
    """Times in seconds.

    renew: interval between renewals.
    trusted: after the beginning of a renewal, its process assumes that the lease is valid.
    ended: after this time without a renewal, a process has ended for the others.
    granularity: of the clock of the service; it states times in whole seconds.
    """

    renew: float = 5.0
    trusted: float = 15.0
    ended: float = 30.0
    granularity: float = 2.0


_TIMING = Timing()


def _now() -> float:
    """Return the seconds since the system started, including the time in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ProcessLease:
    """The lease of this process, and the leases of others.

    A thread renews it from the first use to `leave`.
    """

    def __init__(self, client: ObjectClient, *, timing: Timing = _TIMING, now: Callable[[], float] = _now) -> None:
        self._client = client
        self._timing = timing
        self._now = now
        self._lock = threading.Lock()  # for all attributes below; held during a renewal
        self._id: ProcessId | None = None
        self._etag = ""
        self._count = 0
        self._trusted_until = 0.0
        self._thread: threading.Thread | None = None
        self._is_leaving = threading.Event()
        self.tokens: set[str] = set()
        """Of locks that this process holds; see `locks`."""
        self.on_new_id: Callable[[], None] = lambda: None
        """Called when the process gets another id because it lost its lease; must not block."""

    @property
    def id(self) -> ProcessId:
        """The id of this process; a new one after the lease was lost.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE, the lease could not be created, or not be renewed in time.
            Exhausted: STORAGE_FULL.
        """
        id_ = self._id
        if id_ is not None and self._now() < self._trusted_until:
            return id_
        with self._lock:
            if self._id is None or self._now() >= self._trusted_until:
                self._renew()
            assert self._id is not None
            return self._id

    def holds(self, id_: ProcessId) -> bool:
        """Return whether this process has this id and its lease was renewed in time; reads nothing."""
        return id_ == self._id and self._now() < self._trusted_until

    def require(self, id_: ProcessId) -> None:
        """Check that this process has this id and its lease was renewed in time; reads nothing.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        if not self.holds(id_):
            message = "This process could not renew its lease on the object store in time."
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, message)

    def ended(self, ids: Iterable[ProcessId]) -> set[ProcessId]:
        """Return which of these processes have ended. The ids must be known from names on the object store.

        Raises: as `id`.
        """
        others = {id_ for id_ in ids if id_ != self._id}
        if not others:
            return set()
        with self._lock:
            self._renew()  # so that its time is the present one of the service
            own = self._id
            assert own is not None
        found = {one.name.removeprefix(_PREFIX): one for one in self._client.names(_PREFIX)}
        missing = {id_ for id_ in others if id_ not in found}
        if own not in found:
            return missing
        oldest = found[own].last_modified - timedelta(seconds=self._timing.ended + self._timing.granularity)
        late = [found[id_] for id_ in others - missing if found[id_].last_modified < oldest]
        return missing | {one.name.removeprefix(_PREFIX) for one in late if self._end(one)}

    def end_old(self) -> None:
        """Remove the leases of processes that have ended without doing so. Raises: as `id`."""
        self.ended([one.name.removeprefix(_PREFIX) for one in self._client.names(_PREFIX)])

    def running(self, ids: Iterable[ProcessId]) -> set[ProcessId]:
        """Return some of these processes that certainly run, or none if all have ended.

        Waits until one renews its lease, or the last lease is old. Raises: as `id`.
        """
        left = set(ids)
        first: dict[ProcessId, str] = {}
        while left := left - self.ended(left):
            found = {one.name.removeprefix(_PREFIX): one.etag for one in self._client.names(_PREFIX)}
            first = found | first
            if renewed := {id_ for id_ in left if id_ == self._id or found.get(id_, first.get(id_)) != first.get(id_)}:
                return renewed
            time.sleep(min(self._timing.renew, _LOOK_SECONDS))
        return set()

    def exists(self, id_: ProcessId) -> bool:
        """Return whether a process has a lease, maybe an old one; needs no lease. Raises: as `id`."""
        try:
            self._client.head(_PREFIX + id_)
        except NotFound:
            return False
        return True

    def leave(self) -> None:
        """End the lease. Never fails: without an answer of the service the lease ends by its age."""
        self._is_leaving.set()
        if self._thread is not None:
            self._thread.join(self._timing.trusted)
        with self._lock:
            id_, self._id, self._trusted_until = self._id, None, 0.0
        if id_ is not None:
            with suppress(DicomStoreError):
                self._client.delete([_PREFIX + id_])

    def _end(self, lease: Listed) -> bool:
        """Remove an old lease; return whether its process has ended."""
        try:
            self._client.replace(lease.name, b"ended", lease.etag)
        except Changed:  # it was renewed meanwhile
            return False
        _log.warning("a process ended without removing its lease on the object store lease=%s", lease.name)
        with suppress(DicomStoreError):
            self._client.delete([lease.name])
        return True

    def _renew(self) -> None:
        """Renew the lease, or begin a new one if there is none. The lock must be held."""
        began, is_lost = self._now(), False
        if self._id is not None:
            count = self._count + 1  # the same one again after a failure, which may have been a success
            try:
                self._etag = self._client.replace(_PREFIX + self._id, b"%d" % count, self._etag)
                self._count = count
            except Changed:
                _log.warning("another process has ended the lease of this one process=%s", self._id)
                self._id, self._trusted_until = None, 0.0
                is_lost = True
        if self._id is None:
            id_ = uuid.uuid4().hex
            self._etag, self._count = self._client.create(_PREFIX + id_, b"0"), 0
            self._id = id_
        self._trusted_until = began + self._timing.trusted
        if is_lost:
            self.on_new_id()
        if self._thread is None and not self._is_leaving.is_set():
            self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        seconds = self._timing.renew
        while not self._is_leaving.wait(seconds):
            seconds = self._timing.renew
            try:
                with self._lock:
                    self._renew()
            except (DicomStoreError, Exists) as error:
                seconds = min(_RETRY_SECONDS, self._timing.renew)
                _log.warning("the lease on the object store could not be renewed error=%s", type(error).__name__)
