"""Accepts connections and serves an association on each, in a thread of its own.

Several processes may share the listening socket. A process waits a short time for each association that it already
has, so that processes with fewer associations accept first.
"""

import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from common.telemetry.catalogue import DIMSE_ASSOCIATION_REQUESTS
from dimse.associations import pdus
from dimse.associations.association import ACCEPTOR, Association, Limits, Request
from dimse.associations.connection import Connection
from dimse.associations.errors import AssociationLost, ProtocolError, Rejected, described
from dimse.associations.limits import AssociationCounts
from dimse.associations.negotiation import Extension, Supported, negotiate
from dimse.associations.pdus import AbortSource, AssociationAcceptance, PduType
from dimse.associations.peers import Peer, Peers
from dimse.associations.tls import TlsListener

_MAX_REQUEST_BYTES = 1 << 20
"""Largest A-ASSOCIATE-RQ: 128 contexts with 60 transfer syntaxes of 64 characters have half of it."""

_DELAY_PER_ASSOCIATION_SECONDS = 0.0005
_MAX_DELAYS = 8
_OUT_OF_RESOURCES_SECONDS = 1.0

_log = logging.getLogger("dimse")


class Acceptor:
    """Serves the associations of one process.

    Args:
        listener: a listening socket.
        tls: for connections with TLS; None without.
        supported: the transfer syntaxes of each SOP class.
        extension: the supported extensions of SOP classes.
        serve: serves one request.
        on_end: called at the end of each association.
        is_shared: other processes accept from the same socket.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        tls: TlsListener | None,
        peers: Peers,
        counts: AssociationCounts,
        limits: Limits,
        supported: Supported,
        extension: Extension,
        serve: Callable[[Request], None],
        on_end: Callable[[Association], None],
        is_shared: bool,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._tls = tls
        self._peers = peers
        self._counts = counts
        self._limits = limits
        self._supported = supported
        self._extension = extension
        self._serve = serve
        self._on_end = on_end
        self._is_shared = is_shared
        self._wake, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._associations: set[Association] = set()
        self._pending: set[socket.socket] = set()
        self._stopping = False

    def run(self) -> None:
        """Accept connections until `stop`."""
        events = select.epoll()
        events.register(self._wake, select.EPOLLIN)
        # All processes are awakened, and the one with the fewest associations accepts: EPOLLEXCLUSIVE would awaken the
        # same one each time.
        events.register(self._listener, select.EPOLLIN)
        try:
            while not self._stopping:
                ready = dict(events.poll())
                if self._listener.fileno() in ready:
                    self._accept_one()
        finally:
            events.close()
            self._listener.close()
            self._wake.close()
            self._waker.close()

    def stop(self) -> None:
        """Accept no more connections; callable from a signal handler."""
        self._stopping = True
        with suppress(OSError):
            self._waker.send(b"x")

    def finish(self, seconds: float) -> None:
        """End all associations: those without a request in progress at once, the others within a time limit."""
        end = time.monotonic() + seconds
        with self._lock:
            associations, pending = list(self._associations), list(self._pending)
        for connected in pending:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        for association in associations:
            association.stop()
        while (left := end - time.monotonic()) > 0:
            with self._lock:
                thread = next(iter(self._threads), None)
            if thread is None:
                return
            thread.join(min(left, 0.1))
        with self._lock:
            associations, threads = list(self._associations), list(self._threads)
        for association in associations:
            association.interrupt()
        for thread in threads:
            thread.join(1)

    def _accept_one(self) -> None:
        if self._is_shared and (delays := min(len(self._threads), _MAX_DELAYS)):
            time.sleep(delays * _DELAY_PER_ASSOCIATION_SECONDS)
        try:
            connected, address = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # another process was faster, or the peer has disconnected
            return
        except OSError:  # too many open files, or no memory
            time.sleep(_OUT_OF_RESOURCES_SECONDS)
            return
        ip = _plain(address[0])
        if not self._counts.connect(ip):
            _log.warning("address=%s event=closed reason=too many connections without association", ip)
            _count("BUSY")
            connected.close()
            return
        thread = threading.Thread(target=self._run_thread, args=(connected, ip), name="association", daemon=True)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # too many threads
            self._forget(thread)
            self._counts.disconnect(ip, was_associated=False)
            connected.close()

    def _run_thread(self, connected: socket.socket, ip: str) -> None:
        was_associated = False
        try:
            association = self._established(connected, ip)
            if association is not None:
                was_associated = True
                self._run_established(association)
        except (AssociationLost, ProtocolError, OSError) as error:
            _log.info("address=%s event=lost reason=%s", ip, error)
            if not was_associated:
                _count("PROTOCOL_ERROR" if isinstance(error, ProtocolError) else "ASSOCIATION_LOST")
        except Exception as error:  # noqa: BLE001 - it must not end the process
            _log.error("address=%s event=failed reason=%s", ip, described(error))
        finally:
            connected.close()
            self._counts.disconnect(ip, was_associated=was_associated)
            self._forget(threading.current_thread())

    def _forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._threads.discard(thread)

    def _established(self, connected: socket.socket, ip: str) -> Association | None:
        """Return the association that the peer requests within the time limit, or None if it is rejected."""
        connected.settimeout(self._limits.end_seconds)
        with self._lock:
            self._pending.add(connected)
        connection = None
        try:
            secured, names = (connected, None) if self._tls is None else self._tls.handshake(connected)
            connection = Connection(secured)
            connection.set_deadline(self._limits.end_seconds)
            association = self._negotiate(connection, ip, names)
            if association is None:
                connection.close()
            return association
        except (AssociationLost, ProtocolError, OSError) as error:
            if connection is not None:
                if isinstance(error, ProtocolError):
                    with suppress(AssociationLost):
                        connection.send(pdus.abort(AbortSource.SERVICE_PROVIDER))
                connection.close()
            raise
        finally:
            with self._lock:
                self._pending.discard(connected)

    def _negotiate(self, connection: Connection, ip: str, names: list[str] | None) -> Association | None:
        """Return the association that the peer requests, or None if it is rejected."""
        head = connection.read(6)
        length = int.from_bytes(head[2:], "big")
        if head[0] != PduType.ASSOCIATE_RQ or length > _MAX_REQUEST_BYTES:
            raise ProtocolError("no association request")
        request = pdus.decode_request(head + connection.read(length))
        results, contexts, roles, extended = negotiate(request, self._supported, self._extension)
        acceptance = AssociationAcceptance(tuple(results), self._limits.max_pdu_bytes, roles, extended)
        encoded = pdus.encode_acceptance(request, acceptance)
        try:
            peer = self._peers.identify(request.calling, request.called, ip, names)
            if self._stopping:
                raise Rejected(2, 3, 1, "STOPPING", "the gateway stops")
            self._counts.associate(ip)
        except Rejected as rejected:
            _log.warning("address=%s event=rejected reason=%s", ip, rejected)
            _count(rejected.problem)
            connection.send(pdus.encode_rejection(rejected.result, rejected.source, rejected.reason))
            connection.wait_for_close(self._limits.end_seconds)
            return None
        _count("ACCEPTED")
        with suppress(AssociationLost):  # which the next read finds out
            connection.send(encoded)
        return Association(
            connection,
            peer,
            contexts,
            self._limits,
            request.max_pdu_bytes,
            role=ACCEPTOR,
            roles=roles,
            extended=extended,
        )

    def _run_established(self, association: Association) -> None:
        association.serve = self._serve
        with self._lock:
            self._associations.add(association)
        if self._stopping:
            association.stop()
        began = time.monotonic()
        _log_line(association.peer, "accepted", f"contexts={len(association.contexts)}")
        end = "released"
        try:
            while (request := association.receive()) is not None:
                association.serve_request(request)
        except (AssociationLost, ProtocolError) as error:
            source = AbortSource.SERVICE_PROVIDER if isinstance(error, ProtocolError) else AbortSource.SERVICE_USER
            association.abort(source)
            end = f"aborted reason={error}"
        finally:
            with self._lock:
                self._associations.discard(association)
            self._on_end(association)
            association.close()
            seconds = time.monotonic() - began
            _log_line(association.peer, end, f"requests={association.requests} seconds={seconds:.1f}")


def _count(result: str) -> None:
    """Count a request for an association."""
    DIMSE_ASSOCIATION_REQUESTS.of(ACCEPTOR, result).value += 1


def _log_line(peer: Peer, event: str, facts: str) -> None:
    _log.info(
        "address=%s calling=%s called=%s event=%s %s", peer.address, peer.ae_title, peer.called_ae_title, event, facts
    )


def _plain(address: str) -> str:
    """Return an IP address without the prefix of an IPv4 address of an IPv6 socket."""
    return address.removeprefix("::ffff:")


def listen(address: str) -> socket.socket:
    """Return a socket that listens on HOST:PORT. Raises OSError if the address is not available."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    listener.listen(512)
    return listener
