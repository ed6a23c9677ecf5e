"""Results of storage commitment for peers, reported on new associations (PS3.4 section J.3.3)."""

import threading
import time
from collections.abc import Callable

from dicomstore.v1.commitment_service_pb2 import Commitment, GetCommitmentRequest

from dimse.associations.negotiation import UNCOMPRESSED
from dimse.associations.pdus import Roles
from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings
from dimse.core import Core
from dimse.local_channel import Metadata
from dimse.services import statuses
from dimse.services.commitment.data_sets import STORAGE_COMMITMENT_PUSH, send_result
from dimse.transfers.work import AttemptFailed, Work

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
"""Time for the core to verify the instances, in one attempt."""


class PendingReport:
    """A report of this gateway, which waits until the association of the request has delivered the result, or not."""

    def __init__(self) -> None:
        self._decided = threading.Event()
        self._is_delivered = False

    def decide(self, *, is_delivered: bool) -> None:
        """State whether the peer has the result; otherwise it is reported on a new association."""
        self._is_delivered = is_delivered
        self._decided.set()

    def is_delivered(self, work: Work) -> bool:
        """Wait for the decision and return it. Raises: as `Work.check`."""
        while not self._decided.wait(_POLL_SECONDS):
            work.check()
        return self._is_delivered


class Reporter:
    """Reports results to remotes.

    Args:
        metadata: returns the metadata of a call with the credentials of the gateway.
    """

    def __init__(self, core: Core, metadata: Callable[[], Metadata], requestor: Requestor) -> None:
        self._core = core
        self._metadata = metadata
        self._requestor = requestor

    def run(self, work: Work, remote: RemoteSettings) -> None:
        """Report a result when it is known. Raises: AttemptFailed, CannotConnect, AssociationLost, ProtocolError."""
        report = work.transfer.commitment_report
        commitment = self._result(work, report.transaction_uid)
        work.progress.total = len(commitment.results)
        # The archive is the SCP, although it requests the association.
        roles = {STORAGE_COMMITMENT_PUSH: Roles(scu=False, scp=True)}
        proposals = [(STORAGE_COMMITMENT_PUSH, UNCOMPRESSED)]
        association = self._requestor.open(remote, proposals, calling=report.ae_title, roles=roles)
        with work.using(association):
            context = association.context_for(STORAGE_COMMITMENT_PUSH)
            assert context is not None, "the only proposed one"
            status = send_result(association, context, commitment)
            association.release()
        if status != statuses.SUCCESS:
            raise AttemptFailed(f"STATUS_{status or 0:04X}", "the remote refuses the result")
        work.progress.completed = work.progress.total

    def _result(self, work: Work, transaction_uid: str) -> Commitment:
        request = GetCommitmentRequest(partition=work.partition, transaction_uid=transaction_uid)
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            commitment: Commitment = self._core.commitment.GetCommitment(
                request, metadata=self._metadata(), timeout=self._core.call_seconds
            ).commitment
            if commitment.done:
                return commitment
            if time.monotonic() > end:
                raise AttemptFailed("NOT_VERIFIED", "the core has not verified the instances yet")
            time.sleep(_POLL_SECONDS)
            work.check()
