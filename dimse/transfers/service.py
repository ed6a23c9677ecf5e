"""Transfers of a gateway process: what performs them, and what creates them."""

import logging
from collections.abc import Callable

import grpc
from dicomstore.v1.capabilities_service_pb2 import GetCapabilitiesRequest
from dicomstore.v1.transfer_service_pb2 import ClaimedTransfer, CommitmentReport, CreateTransferRequest

from dimse.associations.association import Association, Request
from dimse.associations.peers import Peer
from dimse.associations.requestor import Requestor
from dimse.config import Settings
from dimse.core import Core, own_metadata
from dimse.local_channel import Metadata
from dimse.transfers.forwarding import Forwarding, rules_of
from dimse.transfers.notifying import Notifier
from dimse.transfers.pulling import Puller
from dimse.transfers.reporting import PendingReport, Reporter
from dimse.transfers.runner import TransferRunner
from dimse.transfers.sending import Sender
from dimse.transfers.work import AttemptFailed, Work

_DEFAULT_PARTITION = "Microsoft.Default"

_NOT_POSSIBLE = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
)
"""Codes with which the core does not record a report, now and later."""

_log = logging.getLogger("dimse.transfers")


class Transfers:
    """Performs transfers with the remotes of the settings, and applies forward rules.

    Args:
        serve: serves requests of remotes on associations of C-GET.
        on_end: called at the end of such an association.
        local: as of `Core`.

    Raises:
        TlsError: the certificate files for the core cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        requestor: Requestor,
        serve: Callable[[Request], None],
        on_end: Callable[[Association], None],
        *,
        local: str = "",
    ) -> None:
        self._settings = settings
        self._requestor = requestor
        self._core = core = Core(settings, local=local, is_separate=True)
        self._has_partitions: bool | None = None
        self._puller = Puller(requestor, serve, on_end, settings.retrieve_seconds)
        self._sender = Sender(core, self._metadata, requestor)
        self._notifier = Notifier(core, self._metadata, requestor)
        self._reporter = Reporter(core, self._metadata, requestor)
        self._runner = TransferRunner(
            core, self._metadata, settings.transfers, self._perform, self._partition_in_requests
        )
        rules = rules_of(settings) if settings.transfers else []
        self._forwarding = Forwarding(core, self._metadata, rules, self._partition_in_requests)

    def check_rules(self) -> None:
        """Let the core check the queries of forward rules, if it is reachable. Raises: InvalidRule."""
        self._forwarding.check(self._settings.dimse_partition)

    def start(self) -> None:
        """Begin."""
        self._runner.start()
        self._forwarding.start()

    def stop(self, seconds: float) -> None:
        """Interrupt running transfers, which other processes continue, and wait for a limited time until they end."""
        self._forwarding.stop()
        self._runner.stop(seconds)
        self._core.close()

    def begin_report(self, peer: Peer, transaction_uid: str) -> PendingReport | None:
        """Record a report of a result of storage commitment, of which this process makes the first attempt.

        Returns:
            The report; None if the archive cannot connect to the peer, or the gateway may not create transfers.

        Raises:
            RpcError: the core does not record it now.
        """
        name = self._requestor.remote_name(peer.ae_title)
        if name is None:
            return None
        request = CreateTransferRequest(
            partition=peer.partition,
            remote=name,
            commitment_report=CommitmentReport(transaction_uid=transaction_uid, ae_title=peer.called_ae_title),
            claim=True,
        )
        metadata = self._metadata()
        try:
            created = self._core.transfers.CreateTransfer(request, metadata=metadata, timeout=self._core.call_seconds)
        except grpc.RpcError as error:
            if error.code() not in _NOT_POSSIBLE:
                raise
            _log.warning("remote=%s event=report_not_recorded reason=%s", name, error.code().name)
            return None
        claimed = ClaimedTransfer(transfer=created.transfer, lease=created.lease)
        seconds = created.lease_duration.ToTimedelta().total_seconds()
        report, remote = PendingReport(), self._settings.remotes[name]

        def perform(work: Work) -> None:
            if not report.is_delivered(work):
                self._reporter.run(work, remote)

        self._runner.start_claimed(Work(self._core, metadata, claimed, seconds, peer.partition), perform)
        return report

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
            case "commitment_report":
                self._reporter.run(work, remote)
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
