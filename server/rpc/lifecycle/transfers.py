"""TransferService."""

from collections.abc import Iterable

from dicomstore.v1 import resources_pb2, search_service_pb2, transfer_service_pb2_grpc
from dicomstore.v1 import transfer_service_pb2 as pb

from server.domain.lifecycle.transfers import LEASE, Transfers
from server.model.errors import InvalidRequest, Reason
from server.model.ids import Address, parse_address, parse_uid
from server.model.lifecycle.transfer import (
    CommitmentReport,
    Notification,
    Pull,
    RetrieveMethod,
    Send,
    Transfer,
    TransferOutcome,
    TransferProgress,
    TransferState,
    TransferWork,
)
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class TransferServicer(transfer_service_pb2_grpc.TransferServiceServicer):
    """Implements TransferService with `Transfers`."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    async def CreateTransfer(self, request: pb.CreateTransferRequest, context: Context) -> pb.CreateTransferResponse:
        """See the contract."""
        transfer = await self._transfers.create(
            context.call,
            parse_address(request.partition).partition,
            request.remote,
            _work(request),
            request_id=request.request_id,
            rule=request.rule,
            claim=request.claim,
        )
        duration = LEASE if transfer.lease else None
        return pb.CreateTransferResponse(transfer=_message(transfer), lease=transfer.lease, lease_duration=duration)

    async def GetTransfer(self, request: pb.GetTransferRequest, context: Context) -> pb.GetTransferResponse:
        """See the contract."""
        return pb.GetTransferResponse(transfer=_message(await self._transfers.get(context.call, request.id)))

    async def ListTransfers(self, request: pb.ListTransfersRequest, context: Context) -> pb.ListTransfersResponse:
        """See the contract."""
        page, token = await self._transfers.list(
            context.call,
            page_size=request.page_size,
            token=request.page_token,
            states=[_state(state) for state in request.states],
            remote=request.remote,
            partition=parse_address(request.partition).partition,
        )
        return pb.ListTransfersResponse(transfers=map(_message, page), next_page_token=token)

    async def CancelTransfer(self, request: pb.CancelTransferRequest, context: Context) -> pb.CancelTransferResponse:
        """See the contract."""
        return pb.CancelTransferResponse(transfer=_message(await self._transfers.cancel(context.call, request.id)))

    async def RetryTransfer(self, request: pb.RetryTransferRequest, context: Context) -> pb.RetryTransferResponse:
        """See the contract."""
        return pb.RetryTransferResponse(transfer=_message(await self._transfers.retry(context.call, request.id)))

    async def ClaimTransfers(self, request: pb.ClaimTransfersRequest, context: Context) -> pb.ClaimTransfersResponse:
        """See the contract."""
        claimed = await self._transfers.claim(context.call, request.max_transfers, request.wait_seconds)
        return pb.ClaimTransfersResponse(
            transfers=[
                pb.ClaimedTransfer(transfer=_message(one), lease=one.lease, cursor=one.cursor, traceparent=one.trace)
                for one in claimed
            ],
            lease_duration=LEASE,
        )

    async def ReportTransfer(self, request: pb.ReportTransferRequest, context: Context) -> pb.ReportTransferResponse:
        """See the contract."""
        outcome = request.outcome if request.HasField("outcome") else None
        is_leased = await self._transfers.report(
            context.call,
            request.id,
            request.lease,
            progress=_progress(request.progress) if request.HasField("progress") else None,
            cursor=request.cursor if request.HasField("cursor") else None,
            outcome=None if outcome is None else TransferOutcome(outcome.problem, outcome.permanent),
        )
        return pb.ReportTransferResponse(leased=is_leased)


def _work(request: pb.CreateTransferRequest) -> TransferWork | None:
    match request.WhichOneof("work"):
        case "pull":
            return Pull(_addresses(request.pull.resources), _keys(request.pull.keys), _method(request.pull.method))
        case "send":
            return Send(_addresses(request.send.resources))
        case "notification":
            return Notification(_address(request.notification.study))
        case "commitment_report":
            report = request.commitment_report
            return CommitmentReport(parse_uid(report.transaction_uid, "transaction_uid"), report.ae_title)
        case _:
            return None


def _addresses(messages: Iterable[resources_pb2.Address]) -> tuple[Address, ...]:
    return tuple(map(_address, messages))


def _address(message: resources_pb2.Address) -> Address:
    return parse_address("", message.study_instance_uid, message.series_instance_uid, message.sop_instance_uid)


def _keys(terms: Iterable[search_service_pb2.Term]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for term in terms:
        if len(term.values) != 1 or term.attribute in keys:
            raise _invalid("pull.keys", "A search key has one value.")
        keys[term.attribute] = term.values[0]
    return keys


def _method(value: pb.RetrieveMethod) -> RetrieveMethod:
    try:
        return RetrieveMethod(value)
    except ValueError:
        raise _invalid("pull.method", f"Unknown method {value}.") from None


def _state(value: pb.TransferState) -> TransferState:
    try:
        return TransferState(value)
    except ValueError:
        raise _invalid("states", f"Unknown state {value}.") from None


def _progress(message: pb.TransferProgress) -> TransferProgress:
    return TransferProgress(message.total, message.completed, message.failed, message.warnings)


def _message(transfer: Transfer) -> pb.Transfer:
    progress, waits = transfer.progress, transfer.state is TransferState.WAITING and transfer.due is not None
    message = pb.Transfer(
        id=transfer.id,
        partition=transfer.partition,
        remote=transfer.remote,
        state=int(transfer.state),  # type: ignore[arg-type]  # same numbers
        attempts=transfer.attempts,
        next_attempt_time=convert.timestamp(transfer.due) if waits and transfer.due else None,
        progress=pb.TransferProgress(
            total=progress.total,
            completed=progress.completed,
            failed=progress.failed,
            warnings=progress.warnings,
        ),
        problem=transfer.problem,
        create_time=convert.timestamp(transfer.created),
        update_time=convert.timestamp(transfer.updated),
        creator=transfer.creator,
        rule=transfer.rule,
    )
    match transfer.work:
        case Pull() as pull:
            message.pull.resources.extend(map(convert.address_message, pull.resources))
            message.pull.keys.extend(
                search_service_pb2.Term(attribute=name, values=[value]) for name, value in pull.keys.items()
            )
            message.pull.method = int(pull.method)  # type: ignore[assignment]  # same numbers
        case Send() as send:
            message.send.resources.extend(map(convert.address_message, send.resources))
        case Notification() as notification:
            message.notification.study.CopyFrom(convert.address_message(notification.study))
        case CommitmentReport() as report:
            message.commitment_report.transaction_uid = report.transaction
            message.commitment_report.ae_title = report.ae_title
    return message


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
