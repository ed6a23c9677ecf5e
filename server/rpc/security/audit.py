"""AuditService."""

from collections.abc import AsyncIterator, Sequence

from dicomstore.v1 import audit_service_pb2 as pb
from dicomstore.v1 import audit_service_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from server.domain.audit_search import paging
from server.domain.audit_search.filters import AuditFilter
from server.domain.audit_search.search import AuditEvent, AuditSearch
from server.model.errors import InvalidRequest, Reason
from server.rpc import convert
from server.rpc.interceptors.call_context import Context

_FORMS: dict[int, str] = {pb.AUDIT_FORM_UNSPECIFIED: "json", pb.AUDIT_FORM_AZURE: "azure", pb.AUDIT_FORM_DICOM: "dicom"}


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Implements AuditService with `AuditSearch`."""

    def __init__(self, search: AuditSearch) -> None:
        self._search = search

    async def SearchAuditEvents(
        self, request: pb.SearchAuditEventsRequest, context: Context
    ) -> AsyncIterator[pb.SearchAuditEventsResponse]:
        """See the contract."""
        wanted, form = _filter(request.filter), _form(request.form)
        found = self._search.search(
            context.call,
            wanted,
            form,
            request.limit,
            page_token=request.page_token,
            newest_first=request.newest_first,
        )
        async for events in found:
            token = paging.token_after(paging.Position.of(events[-1].record), wanted)
            yield pb.SearchAuditEventsResponse(events=_messages(events), next_page_token=token)

    async def WatchAuditEvents(
        self, request: pb.WatchAuditEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchAuditEventsResponse]:
        """See the contract."""
        wanted, form = _filter(request.filter), _form(request.form)
        async for events in self._search.watch(context.call, wanted, form):
            await context.authenticate_again()
            yield pb.WatchAuditEventsResponse(events=_messages(events))

    async def VerifyAuditTrail(
        self, request: pb.VerifyAuditTrailRequest, context: Context
    ) -> pb.VerifyAuditTrailResponse:
        """See the contract."""
        found, public_key = await self._search.verify(
            context.call, trusted_key=request.trusted_key, checkpoint=request.checkpoint
        )
        return pb.VerifyAuditTrailResponse(
            is_intact=found.is_intact,
            writers=found.writers,
            records=found.records,
            checkpoint=found.checkpoint,
            key_fingerprint=found.key,
            public_key=public_key,
            findings=[
                pb.AuditFinding(
                    kind=finding.kind,
                    place=finding.place,
                    message=finding.message,
                    is_tampering=finding.kind.is_tampering,
                )
                for finding in found.findings
            ],
        )


def _messages(events: Sequence[AuditEvent]) -> list[pb.AuditEvent]:
    found = []
    for event in events:
        time = Timestamp()
        time.FromJsonString(event.record.time)
        found.append(pb.AuditEvent(writer=event.record.writer, number=event.record.number, time=time, data=event.data))
    return found


def _form(form: int) -> str:
    if form not in _FORMS:
        raise InvalidRequest(Reason.INVALID_FIELD, f"form: unknown value {form}.", field="form")
    return _FORMS[form]


def _filter(message: pb.AuditFilter) -> AuditFilter:
    return AuditFilter(
        start=_time(message.start_time, "start_time") if message.HasField("start_time") else "",
        end=_time(message.end_time, "end_time") if message.HasField("end_time") else "",
        principal=message.principal,
        partition=message.partition,
        study=message.study_instance_uid,
        series=message.series_instance_uid,
        instance=message.sop_instance_uid,
        action=message.action,
        outcome=message.outcome,
        request=message.request_id,
        client=message.client,
    )


def _time(message: Timestamp, field: str) -> str:
    """Return a time as in records."""
    return paging.as_text(convert.moment(message, field))
