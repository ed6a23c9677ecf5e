"""WorkitemService."""

from collections.abc import Mapping

from dicomstore.v1 import workitem_service_pb2 as pb
from dicomstore.v1 import workitem_service_pb2_grpc

from server.domain.search.request import Term
from server.domain.worklist.search import WorkitemSearch, WorkitemSearches
from server.domain.worklist.workitems import Workitems
from server.model.errors import InvalidRequest, Reason
from server.model.ids import PartitionName, Uid, parse_address, parse_uid
from server.model.worklist.workitem import WorkitemState
from server.rpc.interceptors.call_context import Context

_STATES: Mapping[int, WorkitemState] = {
    pb.WORKITEM_STATE_IN_PROGRESS: WorkitemState.IN_PROGRESS,
    pb.WORKITEM_STATE_COMPLETED: WorkitemState.COMPLETED,
    pb.WORKITEM_STATE_CANCELED: WorkitemState.CANCELED,
}


class WorkitemServicer(workitem_service_pb2_grpc.WorkitemServiceServicer):
    """Implements WorkitemService with `Workitems` and `WorkitemSearches`."""

    def __init__(self, workitems: Workitems, searches: WorkitemSearches) -> None:
        self._workitems = workitems
        self._searches = searches

    async def CreateWorkitem(self, request: pb.CreateWorkitemRequest, context: Context) -> pb.CreateWorkitemResponse:
        """See the contract."""
        uid = _uid(request.workitem_uid) if request.workitem_uid else None
        created = await self._workitems.create(
            context.call,
            _partition(request.partition),
            uid,
            request.dicom_json,
            create_partition=request.create_partition,
        )
        return pb.CreateWorkitemResponse(workitem_uid=created)

    async def GetWorkitem(self, request: pb.GetWorkitemRequest, context: Context) -> pb.GetWorkitemResponse:
        """See the contract."""
        data_set = await self._workitems.get(context.call, _partition(request.partition), _uid(request.workitem_uid))
        return pb.GetWorkitemResponse(dicom_json=data_set)

    async def UpdateWorkitem(self, request: pb.UpdateWorkitemRequest, context: Context) -> pb.UpdateWorkitemResponse:
        """See the contract."""
        transaction = parse_uid(request.transaction_uid, "transaction_uid") if request.transaction_uid else ""
        await self._workitems.update(
            context.call,
            _partition(request.partition),
            _uid(request.workitem_uid),
            transaction,
            request.dicom_json,
        )
        return pb.UpdateWorkitemResponse()

    async def ChangeWorkitemState(
        self, request: pb.ChangeWorkitemStateRequest, context: Context
    ) -> pb.ChangeWorkitemStateResponse:
        """See the contract."""
        state = _STATES.get(request.state)
        if state is None:
            message = "The state must be IN PROGRESS, COMPLETED or CANCELED."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="state")
        changed = await self._workitems.change_state(
            context.call,
            _partition(request.partition),
            _uid(request.workitem_uid),
            parse_uid(request.transaction_uid, "transaction_uid"),
            state,
        )
        return pb.ChangeWorkitemStateResponse(unchanged=not changed)

    async def RequestWorkitemCancellation(
        self, request: pb.RequestWorkitemCancellationRequest, context: Context
    ) -> pb.RequestWorkitemCancellationResponse:
        """See the contract."""
        await self._workitems.request_cancellation(
            context.call,
            _partition(request.partition),
            _uid(request.workitem_uid),
            request.dicom_json,
            request.requesting_ae,
        )
        return pb.RequestWorkitemCancellationResponse()

    async def SearchWorkitems(self, request: pb.SearchWorkitemsRequest, context: Context) -> pb.SearchWorkitemsResponse:
        """See the contract."""
        wanted = WorkitemSearch(
            partition=_partition(request.partition),
            terms=tuple(Term(term.attribute, tuple(term.values)) for term in request.terms),
            fuzzy_matching=request.fuzzy_matching,
            empty_value_matching=request.empty_value_matching,
            include_attributes=tuple(request.include_attributes),
            include_all=request.include_all,
            page_size=request.page_size,
            page_token=request.page_token,
            skip=request.skip,
            strict=request.strict,
            total_count=request.total_count,
        )
        found = await self._searches.search(context.call, wanted)
        return pb.SearchWorkitemsResponse(
            matches=[pb.WorkitemMatch(workitem_uid=uid, dicom_json=data_set) for uid, data_set in found.matches],
            next_page_token=found.next_page_token,
            ignored_attributes=found.ignored_attributes,
            total_count=found.total_count,
        )


def _partition(name: str) -> PartitionName:
    return parse_address(name).partition


def _uid(uid: str) -> Uid:
    return parse_uid(uid, "workitem_uid")
