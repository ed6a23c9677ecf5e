"""Storage commitment (PS3.4 Annex J): N-ACTION requests it, N-EVENT-REPORT has the result.

The result is reported on the association of the request if it is known and the peer waits, otherwise on a new one to
the host of the remote.
"""

import time
from collections.abc import Sequence

import grpc
from dicomstore.v1.commitment_service_pb2 import (
    Commitment,
    GetCommitmentRequest,
    GetCommitmentResponse,
    RequestCommitmentRequest,
    RequestCommitmentResponse,
)

from dimse.associations.association import Association, Context, Request
from dimse.associations.commands import Command, CommandField
from dimse.associations.errors import AssociationLost, CannotConnect
from dimse.associations.negotiation import UNCOMPRESSED
from dimse.associations.pdus import Roles
from dimse.associations.peers import Peer
from dimse.associations.requestor import Requestor
from dimse.core import Core, call_metadata
from dimse.services import statuses
from dimse.services.commitment.data_sets import CommitmentRequest, InvalidAction, event_of, parse_action
from dimse.services.commitment.reports import Report, Reports
from dimse.services.failures import of_core

STORAGE_COMMITMENT_PUSH = "1.2.840.10008.1.20.1"
_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance."""

_REQUEST_STORAGE_COMMITMENT = 1
"""Action type."""

_PATIENCE_SECONDS = 0.5
"""Time for a peer to release the association; if it does not, it waits for the result there."""

_POLL_SECONDS = 0.5


class Commitments:
    """The storage commitment service."""

    commands = (CommandField.N_ACTION,)

    def __init__(self, core: Core, requestor: Requestor) -> None:
        self._core = core
        self._requestor = requestor
        self._reports = Reports(self._report_on_new_association)

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str]:
        """Return those of the Storage Commitment Push Model SOP Class."""
        return UNCOMPRESSED if abstract_syntax == STORAGE_COMMITMENT_PUSH else ()

    def association_ended(self, association: Association) -> None:
        """Do nothing."""

    def serve(self, request: Request) -> None:
        """Request storage commitment from the core, respond, and report the result."""
        command = request.command
        data = request.data_set()
        if command.requested_sop_instance_uid != _INSTANCE:
            request.respond(statuses.NO_SUCH_SOP_INSTANCE)
        elif command.action_type_id != _REQUEST_STORAGE_COMMITMENT:
            request.respond(statuses.NO_SUCH_ACTION, action_type_id=command.action_type_id)
        else:
            try:
                action = parse_action(data, request.context.transfer_syntax)
                commitment = self._requested(request.peer, action)
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
                self._report(request, commitment)

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

    def _report(self, request: Request, commitment: Commitment) -> None:
        association, peer = request.association, request.peer
        can_connect = self._requestor.remote(peer.ae_title) is not None
        try:
            if not can_connect:
                commitment = self._awaited(association, commitment)
            if commitment.done and (not can_connect or association.is_silent(_PATIENCE_SECONDS)):
                status = self._send(association, request.context, commitment)
                if status == statuses.SUCCESS or not can_connect:
                    return
        except AssociationLost:
            if can_connect:
                self._reports.add(Report(peer, commitment.transaction_uid))
            if not association.is_release_requested:
                raise
            return
        if can_connect:
            self._reports.add(Report(peer, commitment.transaction_uid))

    def _awaited(self, association: Association, commitment: Commitment) -> Commitment:
        """Return the result for a peer that can be reached on its association only, as long as it waits there."""
        end = time.monotonic() + association.limits.idle_seconds
        while not commitment.done and time.monotonic() < end and association.is_silent(_POLL_SECONDS):
            commitment = self._result(association.peer, commitment.transaction_uid)
        return commitment

    def _report_on_new_association(self, report: Report) -> bool:
        peer = report.peer
        commitment = self._result(peer, report.transaction_uid)
        if not commitment.done:
            return False
        remote = self._requestor.remote(peer.ae_title)
        if remote is None:
            raise CannotConnect("no remote has this AE title")
        # The archive is the SCP, although it requests the association.
        roles = {STORAGE_COMMITMENT_PUSH: Roles(scu=False, scp=True)}
        association = self._requestor.open(
            remote, [(STORAGE_COMMITMENT_PUSH, UNCOMPRESSED)], calling=peer.called_ae_title, roles=roles
        )
        try:
            context = association.context_for(STORAGE_COMMITMENT_PUSH)
            if context is None:
                raise CannotConnect("the remote does not accept storage commitment")
            return self._send(association, context, commitment) == statuses.SUCCESS
        finally:
            association.release()

    def _send(self, association: Association, context: Context, commitment: Commitment) -> int | None:
        """Send a result; return the status of the response."""
        event_type, data_set = event_of(commitment, association.peer.called_ae_title, context.transfer_syntax)
        event = Command(
            CommandField.N_EVENT_REPORT,
            affected_sop_class_uid=STORAGE_COMMITMENT_PUSH,
            affected_sop_instance_uid=_INSTANCE,
            event_type_id=event_type,
        )
        return association.perform(context, event, [data_set]).status
