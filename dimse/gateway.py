"""One process of the gateway: its parts, and its life from start to stop."""

import logging
import socket
import threading
import time

from common.tls import CHECK_SECONDS
from dimse.associations.acceptor import Acceptor
from dimse.associations.association import Association, Limits, Request
from dimse.associations.limits import AssociationCounts
from dimse.associations.peers import Peers
from dimse.associations.requestor import Requestor
from dimse.associations.tls import TlsListener
from dimse.config import Settings, dimse_tls_files
from dimse.core import Core
from dimse.services.registry import Dispatcher, extension, services_of
from dimse.transfers.service import Transfers

_log = logging.getLogger("dimse")


class Gateway:
    """Serves associations on a listening socket.

    core: the connection to the core.
    """

    def __init__(
        self, settings: Settings, listener: socket.socket, *, is_shared: bool = False, local: str = ""
    ) -> None:
        """Assemble the parts.

        Args:
            is_shared: other processes accept from the same socket.
            local: as of `Core`.

        Raises:
            TlsError: the certificate files cannot be used.
        """
        self._settings = settings
        self._tls_files = dimse_tls_files(settings)
        self._tls = TlsListener(self._tls_files) if self._tls_files and settings.dimse_tls_certificate else None
        self.core = Core(settings, local=local)
        limits = limits_of(settings)
        requestor = Requestor(settings, limits, self._tls_files)
        self._transfers = Transfers(settings, requestor, self._serve, self._association_ended, local=local)
        self._services = services_of(settings, self.core, requestor, self._transfers.begin_report)
        self._dispatcher = dispatcher = Dispatcher(self._services)
        self._acceptor = Acceptor(
            listener,
            tls=self._tls,
            peers=Peers(settings),
            counts=AssociationCounts(settings.max_associations, settings.max_associations_per_address),
            limits=limits,
            supported=dispatcher.transfer_syntaxes,
            extension=extension,
            serve=dispatcher.serve,
            on_end=self._association_ended,
            is_shared=is_shared,
        )
        self._stopped = threading.Event()

    def check_rules(self) -> None:
        """Let the core check the queries of forward rules, if it is reachable. Raises: InvalidRule."""
        self._transfers.check_rules()

    def run(self) -> None:
        """Serve until `stop`; then requests in progress have some time to finish."""
        watch = threading.Thread(target=self._watch_files, name="tls", daemon=True)
        if self._tls is not None:
            watch.start()
        try:
            self._transfers.start()
            self._acceptor.run()
        finally:
            self._stopped.set()
            end = time.monotonic() + self._settings.dimse_shutdown_seconds
            self._transfers.stop(self._settings.dimse_shutdown_seconds)
            self._acceptor.finish(max(end - time.monotonic(), 0))
            self.core.close()

    def stop(self) -> None:
        """Let `run` return; callable from a signal handler."""
        self._acceptor.stop()

    def _serve(self, request: Request) -> None:
        self._dispatcher.serve(request)

    def _association_ended(self, association: Association) -> None:
        for service in self._services:
            service.association_ended(association)

    def _watch_files(self) -> None:
        assert self._tls_files is not None
        assert self._tls is not None
        while not self._stopped.wait(CHECK_SECONDS):
            if self._tls_files.refresh():
                self._tls.refresh()
                self._tls_files.log_change()


def limits_of(settings: Settings) -> Limits:
    """Return the limits of associations."""
    return Limits(
        max_pdu_bytes=settings.max_pdu_bytes,
        idle_seconds=settings.association_idle_seconds,
        silent_seconds=settings.dimse_seconds,
        end_seconds=settings.association_seconds,
    )
