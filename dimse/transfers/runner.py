"""Claims transfers and processes each in a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable

import grpc
from dicomstore.v1.transfer_service_pb2 import ClaimTransfersRequest, ClaimTransfersResponse

from common.telemetry import tracing
from common.telemetry.catalogue import DIMSE_TRANSFER_SECONDS, DIMSE_TRANSFERS
from dimse.associations.errors import AssociationLost, CannotConnect, ProtocolError, described
from dimse.core import Core
from dimse.local_channel import Metadata
from dimse.transfers.work import STOPPED, AttemptFailed, LeaseLost, Work

_WAIT_SECONDS = 60
_MIN_PAUSE_SECONDS = 1.0
_RENEW_SECONDS = 2.0
_MAX_PAUSE_SECONDS = 30.0
_NOT_RETRIED = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)

_log = logging.getLogger("dimse.transfers")


class TransferRunner:
    """Processes up to `limit` transfers at a time, until `stop`.

    Args:
        limit: 0: it claims none.
        metadata: returns the metadata of a call with the credentials of the gateway.
        perform: processes a transfer.
        partition_in_requests: returns the name of a partition as requests state it.
    """

    def __init__(
        self,
        core: Core,
        metadata: Callable[[], Metadata],
        limit: int,
        perform: Callable[[Work], None],
        partition_in_requests: Callable[[str], str],
    ) -> None:
        self._core = core
        self._metadata = metadata
        self._limit = limit
        self._perform = perform
        self._partition_in_requests = partition_in_requests
        self._lease_seconds = _RENEW_SECONDS * 3
        self._active: dict[Work, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._changed = threading.Event()
        self._waiting: grpc.Future[ClaimTransfersResponse] | None = None
        self._threads = [
            threading.Thread(target=self._renew_all, name="transfer-leases", daemon=True),
            *([threading.Thread(target=self._claim_all, name="transfers", daemon=True)] if limit else []),
        ]

    def start(self) -> None:
        """Begin to claim transfers."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Claim no more, interrupt running transfers, and wait for a limited time until they have ended."""
        end = time.monotonic() + seconds
        self._stopped.set()
        self._changed.set()
        with self._lock:
            active, waiting = dict(self._active), self._waiting
        if waiting is not None:
            waiting.cancel()
        for work in active:
            work.stop()
        for thread in (*active.values(), *self._threads[1:]):
            if thread.is_alive():
                thread.join(max(end - time.monotonic(), 0))

    def _claim_all(self) -> None:
        pause = _MIN_PAUSE_SECONDS
        while not self._stopped.is_set():
            self._changed.clear()
            with self._lock:
                free = self._limit - len(self._active)
            if free <= 0:
                self._changed.wait(_MAX_PAUSE_SECONDS)
                continue
            began = time.monotonic()
            try:
                if not self._claim(free):
                    # A core that stops, or an earlier version of it, does not wait.
                    self._stopped.wait(began + _MIN_PAUSE_SECONDS - time.monotonic())
                pause = _MIN_PAUSE_SECONDS
            except grpc.RpcError as error:
                if pause == _MIN_PAUSE_SECONDS:
                    _log.warning("transfers cannot be claimed: %s", error.code().name)
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)
                self._stopped.wait(pause)
            except grpc.FutureCancelledError:
                return

    def _claim(self, most: int) -> bool:
        """Wait until transfers are due, for a limited time; start them. Return whether there were any.

        Raises:
            grpc.RpcError: of the call.
            grpc.FutureCancelledError: the gateway stops.
        """
        call = self._core.transfers.ClaimTransfers.future(
            ClaimTransfersRequest(max_transfers=most, wait_seconds=_WAIT_SECONDS),
            metadata=self._metadata(),
            timeout=_WAIT_SECONDS + self._core.call_seconds,
        )
        with self._lock:
            self._waiting = call
        if self._stopped.is_set():
            call.cancel()
        answer = call.result()
        seconds = self._lease_seconds = answer.lease_duration.ToTimedelta().total_seconds()
        for claimed in answer.transfers:
            partition = self._partition_in_requests(claimed.transfer.partition)
            self.start_claimed(Work(self._core, self._metadata(), claimed, seconds, partition), self._perform)
        return bool(answer.transfers)

    def start_claimed(self, work: Work, perform: Callable[[Work], None]) -> None:
        """Process a transfer that is claimed already, beyond the limit."""
        thread = threading.Thread(target=self._run, args=(work, perform), name="transfer", daemon=True)
        with self._lock:
            self._active[work] = thread
        if self._stopped.is_set():
            work.stop()
        thread.start()

    def _run(self, work: Work, perform: Callable[[Work], None]) -> None:
        kind = str(work.transfer.WhichOneof("work"))
        began = time.monotonic()
        attributes = {"dicomstore.attempt": work.transfer.attempts}
        with tracing.following(f"transfer {kind}", work.trace, attributes):
            result = self._attempt(work, kind, perform)
        DIMSE_TRANSFERS.of(kind, result).value += 1
        DIMSE_TRANSFER_SECONDS.of(kind).observe(time.monotonic() - began)

    def _attempt(self, work: Work, kind: str, perform: Callable[[Work], None]) -> str:
        """Process a transfer, and report its end; return the result for the metrics."""
        transfer = work.transfer
        facts = f"transfer={transfer.id} remote={transfer.remote} work={kind}"
        _log.info("%s event=started attempt=%d", facts, transfer.attempts)
        try:
            failure = self._failure(work, perform)
            if failure is None:
                work.end()
                _log.info("%s event=succeeded instances=%d", facts, work.progress.completed)
                return "succeeded"
            work.end(failure.problem, is_permanent=failure.is_permanent)
            _log.warning("%s event=failed problem=%s reason=%s", facts, failure.problem, failure)
            if (span := tracing.current_span()) is not None:
                span.fault = failure.problem
            return "stopped" if failure.problem == STOPPED else "failed"
        except LeaseLost:
            _log.info("%s event=stopped reason=the lease is lost, or it was cancelled", facts)
            return "stopped"
        finally:
            with self._lock:
                del self._active[work]
            self._changed.set()

    def _failure(self, work: Work, perform: Callable[[Work], None]) -> AttemptFailed | None:
        """Process a transfer; return why it failed. Raises: LeaseLost."""
        try:
            try:
                perform(work)
            except Exception:
                work.check()
                raise
            return None
        except (AttemptFailed, LeaseLost) as error:
            if isinstance(error, LeaseLost):
                raise
            return error
        except CannotConnect as error:
            return AttemptFailed(error.problem, str(error))
        except AssociationLost as error:
            return AttemptFailed("TIMEOUT" if "timeout" in str(error) else "ASSOCIATION_LOST", str(error))
        except ProtocolError as error:
            return AttemptFailed("PROTOCOL_ERROR", str(error))
        except grpc.RpcError as error:
            return AttemptFailed(f"CORE_{error.code().name}", is_permanent=error.code() in _NOT_RETRIED)
        except Exception as error:  # noqa: BLE001 - other transfers are not affected
            return AttemptFailed("INTERNAL", described(error))

    def _renew_all(self) -> None:
        while not self._stopped.wait(min(_RENEW_SECONDS, self._lease_seconds / 3)):
            with self._lock:
                active = list(self._active)
            for work in active:
                work.renew()
