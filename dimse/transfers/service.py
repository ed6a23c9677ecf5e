"""Transfers of a gateway process: what performs them, and what creates them."""

import logging
from collections.abc import Callable

from dicomstore.v1.capabilities_service_pb2 import GetCapabilitiesRequest

from dimse.associations.association import Association, Request
from dimse.associations.requestor import Requestor
from dimse.config import Settings
from dimse.core import Core, Metadata, own_metadata
from dimse.transfers.forwarding import Forwarding, rules_of
from dimse.transfers.notifying import Notifier
from dimse.transfers.pulling import Puller
from dimse.transfers.runner import TransferRunner
from dimse.transfers.sending import Sender
from dimse.transfers.work import AttemptFailed, Work

_DEFAULT_PARTITION = "Microsoft.Default"

_log = logging.getLogger("dimse.transfers")


class Transfers:
    """Performs transfers with the remotes of the settings, and applies forward rules.

    Args:
        serve: serves requests of remotes on associations of C-GET.
        on_end: called at the end of such an association.

    Raises:
        TlsError: the certificate files for the core cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        requestor: Requestor,
        serve: Callable[[Request], None],
        on_end: Callable[[Association], None],
    ) -> None:
        self._settings = settings
        self._core = core = Core(settings, is_separate=True)
        self._has_partitions: bool | None = None
        self._puller = Puller(requestor, serve, on_end, settings.retrieve_seconds)
        self._sender = Sender(core, self._metadata, requestor)
        self._notifier = Notifier(core, self._metadata, requestor)
        self._runner = TransferRunner(
            core, self._metadata, settings.transfers, self._perform, self._partition_in_requests
        )
        self._forwarding = Forwarding(core, self._metadata, rules_of(settings), self._partition_in_requests)

    def start(self) -> None:
        """Begin."""
        self._runner.start()
        self._forwarding.start()

    def stop(self, seconds: float) -> None:
        """Interrupt running transfers, which other processes continue, and wait for a limited time until they end."""
        self._forwarding.stop()
        self._runner.stop(seconds)
        self._core.close()

    def _perform(self, work: Work) -> None:
        remote = self._settings.remotes.get(work.transfer.remote)
        if remote is None:
            raise AttemptFailed("UNKNOWN_REMOTE", "the settings do not have this remote", is_permanent=True)
        match work.transfer.WhichOneof("work"):
            case "pull":
                self._puller.run(work, remote)
            case "send":
                self._sender.run(work, remote)
            case "notification":
                self._notifier.run(work, remote)
            case _:
                raise AttemptFailed("UNKNOWN_WORK", "a later version has created the transfer")

    def _metadata(self) -> Metadata:
        """Return the metadata of a call with the credentials of the gateway."""
        return own_metadata(self._settings.dimse_token)

    def _partition_in_requests(self, partition: str) -> str:
        """Return the name of a partition as requests state it: empty while partitions are disabled."""
        if partition != _DEFAULT_PARTITION:
            return partition
        if self._has_partitions is None:
            answer = self._core.capabilities.GetCapabilities(
                GetCapabilitiesRequest(), metadata=self._metadata(), timeout=self._core.call_seconds
            )
            self._has_partitions = bool(answer.features.partitions)
        return partition if self._has_partitions else ""
