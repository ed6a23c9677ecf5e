"""Reports of results to peers over new associations, with retries.

Reports that have not arrived are lost when the process ends; the results remain in the core, and a peer that gets no
report requests again.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from dimse.associations.errors import AssociationLost, CannotConnect, ProtocolError, described
from dimse.associations.peers import Peer

_DELAYS_SECONDS = (0.0, 10.0, 60.0, 300.0, 900.0, *[3600.0] * 24)
"""Before each attempt."""

_MAX_REPORTS = 10_000

_log = logging.getLogger("dimse")


class Report:
    """A report that has not arrived.

    peer: the peer that has requested it.
    transaction_uid: of the request.
    """

    __slots__ = ("attempts", "peer", "transaction_uid")

    def __init__(self, peer: Peer, transaction_uid: str) -> None:
        self.peer = peer
        self.transaction_uid = transaction_uid
        self.attempts = 0


class Reports:
    """Reports to send, by the time of their next attempt; a thread sends them while there are any.

    Args:
        send: sends a report; returns whether it is settled: false for a result that is not known yet.
    """

    def __init__(self, send: Callable[[Report], bool]) -> None:
        self._send = send
        self._queue: list[tuple[float, int, Report]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, report: Report) -> None:
        """Send a report as soon as possible."""
        with self._changed:
            if len(self._queue) >= _MAX_REPORTS:
                _log.error("too many results of storage commitment are not reported yet: one is dropped")
                return
            self._schedule(report)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _schedule(self, report: Report) -> None:
        if report.attempts >= len(_DELAYS_SECONDS):
            _log.error("the result of storage commitment is not reported to %s: it was not reachable", report.peer.uri)
            return
        at = time.monotonic() + _DELAYS_SECONDS[report.attempts]
        report.attempts += 1
        heapq.heappush(self._queue, (at, next(self._numbers), report))

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._thread = None
                    return
                wait = self._queue[0][0] - time.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                _, _, report = heapq.heappop(self._queue)
            if not self._is_settled(report):
                with self._changed:
                    self._schedule(report)

    def _is_settled(self, report: Report) -> bool:
        try:
            return self._send(report)
        except (AssociationLost, CannotConnect, ProtocolError) as error:
            _log.warning("the result of storage commitment is not reported to %s yet: %s", report.peer.uri, error)
        except Exception as error:  # noqa: BLE001 - other reports must be sent
            _log.error("a report to %s failed: %s", report.peer.uri, described(error))
        return False
