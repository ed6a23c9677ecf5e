"""Calls of StoreInstances: one for each association that stores, for any number of instances."""

import threading
import time
from collections.abc import Callable

import grpc
from dicomstore.v1.store_service_pb2 import StoreHeader, StoreOutcome

from dimse.core import Core
from dimse.local_channel import Metadata
from dimse.store_stream import message_with

_IDLE_SECONDS = 2.0
"""Time without an instance after which a call is ended: it counts to the limits of the core, and its record in the
audit trail is complete at its end."""

_CHECK_SECONDS = 0.5


class UploadFailed(Exception):
    """A call has failed.

    code: its status.
    """

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code.name)
        self.code = code


class Upload:
    """One call of StoreInstances. It is used by one thread; `end_if_idle` is for another one."""

    def __init__(self, core: Core, header: StoreHeader, metadata: Metadata) -> None:
        self._header: StoreHeader | None = header
        self._stream = core.open_store(metadata)
        self._seconds = core.call_seconds
        self._lock = threading.Lock()
        self._item = 0
        self._deadline = 0.0
        self._used = time.monotonic()
        self._ended = False

    def __enter__(self) -> bool:
        """Begin an instance; return whether the call can still be used."""
        self._lock.acquire()
        self._item += 1
        return not self._ended

    def __exit__(self, *_: object) -> None:
        """The instance has an outcome, or has failed."""
        self._deadline = 0.0
        self._used = time.monotonic()
        self._lock.release()

    def send(self, data: memoryview, *, last: bool) -> None:
        """Send a piece of the instance. Raises UploadFailed if the core does not accept it in time."""
        header, self._header = self._header, None
        self._deadline = time.monotonic() + self._seconds
        try:
            self._stream.write(message_with(header, self._item, data, last=last))
        except grpc.RpcError as error:
            raise UploadFailed(error.code()) from None

    def outcome(self) -> StoreOutcome:
        """Return the outcome of the instance, whose last piece was sent. Raises UploadFailed if there is none."""
        self._deadline = time.monotonic() + self._seconds
        try:
            while True:
                outcome: StoreOutcome
                for outcome in next(self._stream).outcomes:
                    if outcome.item == self._item:
                        return outcome
        except grpc.RpcError as error:
            raise UploadFailed(error.code()) from None
        except StopIteration:
            raise UploadFailed(grpc.StatusCode.UNAVAILABLE) from None

    def check(self) -> None:
        """End the call if it has not been used for some time; cancel it if the core is silent for too long."""
        if self._deadline and time.monotonic() > self._deadline:
            self._stream.cancel()
        elif time.monotonic() - self._used > _IDLE_SECONDS and self._lock.acquire(blocking=False):
            try:
                self.end()
            finally:
                self._lock.release()

    @property
    def has_ended(self) -> bool:
        """Whether no more instances can be sent."""
        return self._ended

    def end(self) -> None:
        """End the call after its last outcome."""
        if not self._ended:
            self._ended = True
            self._stream.end()

    def cancel(self) -> None:
        """End the call at once; an instance without its last piece is discarded."""
        self._ended = True
        self._stream.cancel()


class Uploads:
    """The calls of all associations, by the association. A thread checks them."""

    def __init__(self) -> None:
        self._uploads: dict[int, Upload] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def of(self, key: int, begin: Callable[[], Upload]) -> Upload:
        """Return the call of an association; `begin` begins one if there is none, or it has ended."""
        with self._lock:
            upload = self._uploads.get(key)
            if upload is None or upload.has_ended:
                upload = self._uploads[key] = begin()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._check, name="uploads", daemon=True)
                    self._thread.start()
            return upload

    def forget(self, key: int) -> Upload | None:
        """Return the call of an association that is over, if it has one, and forget it."""
        with self._lock:
            return self._uploads.pop(key, None)

    def _check(self) -> None:
        while True:
            time.sleep(_CHECK_SECONDS)
            with self._lock:
                uploads = list(self._uploads.values())
                if not uploads:
                    self._thread = None
                    return
            for upload in uploads:
                upload.check()
