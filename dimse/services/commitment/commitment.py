"""Storage commitment (PS3.4 Annex J): N-ACTION requests it, N-EVENT-REPORT has the result.

The result is reported on the association of the request if it is known and the peer waits, otherwise on a new one to
the host of the remote. The core records this report before the request is acknowledged.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import grpc
from dicomstore.v1.commitment_service_pb2 import (
    Commitment,
    GetCommitmentRequest,
    GetCommitmentResponse,
    RequestCommitmentRequest,
    RequestCommitmentResponse,
)

from dimse.associations.association import Association, Request
from dimse.associations.commands import CommandField
from dimse.associations.errors import AssociationLost
from dimse.associations.negotiation import UNCOMPRESSED
from dimse.associations.peers import Peer
from dimse.core import Core, call_metadata
from dimse.services import statuses
from dimse.services.commitment.data_sets import (
    INSTANCE,
    STORAGE_COMMITMENT_PUSH,
    CommitmentRequest,
    InvalidAction,
    parse_action,
    send_result,
)
from dimse.services.failures import of_core

_REQUEST_STORAGE_COMMITMENT = 1
"""Action type."""

_PATIENCE_SECONDS = 0.5
"""Time for a peer to release the association; if it does not, it waits for the result there."""

_POLL_SECONDS = 0.5


class PendingReport(Protocol):
    """A report that the core has recorded: it arrives, also if this process is killed."""

    def decide(self, *, is_delivered: bool) -> None:
        """State whether the peer has the result; otherwise it is reported on a new association. Called once."""


BeginReport = Callable[[Peer, str], PendingReport | None]
"""Records that a peer gets the result for a Transaction UID; None if the archive cannot connect to the peer."""


class Commitments:
    """The storage commitment service."""

    commands = (CommandField.N_ACTION,)

    def __init__(self, core: Core, begin_report: BeginReport) -> None:
        self._core = core
        self._begin_report = begin_report

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str]:
        """Return those of the Storage Commitment Push Model SOP Class."""
        return UNCOMPRESSED if abstract_syntax == STORAGE_COMMITMENT_PUSH else ()

    def association_ended(self, association: Association) -> None:
        """Do nothing."""

    def serve(self, request: Request) -> None:
        """Request storage commitment from the core, respond, and report the result."""
        command = request.command
        data = request.data_set()
        if command.requested_sop_instance_uid != INSTANCE:
            request.respond(statuses.NO_SUCH_SOP_INSTANCE)
        elif command.action_type_id != _REQUEST_STORAGE_COMMITMENT:
            request.respond(statuses.NO_SUCH_ACTION, action_type_id=command.action_type_id)
        else:
            try:
                action = parse_action(data, request.context.transfer_syntax)
                commitment = self._requested(request.peer, action)
                report = None if commitment is None else self._begin_report(request.peer, action.transaction_uid)
            except InvalidAction as error:
                request.respond(statuses.INVALID_ARGUMENT_VALUE, error_comment=str(error)[:64])
            except grpc.RpcError as error:
                status, elements = of_core(error, statuses.RESOURCE_LIMITATION, statuses.PROCESSING_FAILURE)
                is_invalid = error.code() is grpc.StatusCode.INVALID_ARGUMENT
                request.respond(statuses.INVALID_ARGUMENT_VALUE if is_invalid else status, **elements)
            else:
                if commitment is None:
                    request.respond(statuses.DUPLICATE_TRANSACTION_UID)
                    return
                request.respond(statuses.SUCCESS, action_type_id=command.action_type_id)
                self._report(request, commitment, report)

    def _requested(self, peer: Peer, action: CommitmentRequest) -> Commitment | None:
        """Return the commitment; None if the transaction UID is in use for other instances.

        A peer that has not got the response repeats its request.
        """
        message = RequestCommitmentRequest(
            partition=peer.partition, transaction_uid=action.transaction_uid, references=action.references
        )
        metadata = call_metadata(peer, "N-ACTION")
        try:
            requested: RequestCommitmentResponse = self._core.commitment.RequestCommitment(
                message, timeout=self._core.call_seconds, metadata=metadata
            )
            return requested.commitment
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        earlier = self._result(peer, action.transaction_uid)
        same = not earlier.done or [result.reference for result in earlier.results] == action.references
        return earlier if same else None

    def _result(self, peer: Peer, transaction_uid: str) -> Commitment:
        message = GetCommitmentRequest(partition=peer.partition, transaction_uid=transaction_uid)
        metadata = call_metadata(peer, "N-EVENT-REPORT")
        found: GetCommitmentResponse = self._core.commitment.GetCommitment(
            message, timeout=self._core.call_seconds, metadata=metadata
        )
        return found.commitment

    def _report(self, request: Request, commitment: Commitment, report: PendingReport | None) -> None:
        """Report the result on the association of the request, if the peer waits there; otherwise `report` does so."""
        is_delivered = False
        try:
            is_delivered = self._is_delivered(request, commitment, must_wait=report is None)
        except AssociationLost:
            if not request.association.is_release_requested:
                raise
        finally:
            if report is not None:
                report.decide(is_delivered=is_delivered)

    def _is_delivered(self, request: Request, commitment: Commitment, *, must_wait: bool) -> bool:
        association = request.association
        if must_wait:
            commitment = self._awaited(association, commitment)
        if not commitment.done or not (must_wait or association.is_silent(_PATIENCE_SECONDS)):
            return False
        return send_result(association, request.context, commitment) == statuses.SUCCESS

    def _awaited(self, association: Association, commitment: Commitment) -> Commitment:
        """Return the result for a peer that can be reached on its association only, as long as it waits there."""
        end = time.monotonic() + association.limits.idle_seconds
        while not commitment.done and time.monotonic() < end and association.is_silent(_POLL_SECONDS):
            commitment = self._result(association.peer, commitment.transaction_uid)
        return commitment
