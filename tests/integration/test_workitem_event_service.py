"""WorkitemEventService of a running core."""

import json
from typing import Any

import pytest
from dicomstore.v1 import workitem_event_service_pb2 as pb
from dicomstore.v1 import workitem_event_service_pb2_grpc, workitem_service_pb2_grpc
from dicomstore.v1 import workitem_service_pb2 as workitems
from google.protobuf.message import Message

from server.model.worklist.subscription import FILTERED_WORKLIST, WORKLIST
from tests.core import CoreClient
from tests.integration.test_webhook_service import refused
from tests.worklist import text, workitem

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Worklist:
    """The stubs of the worklist."""

    def __init__(self, core: CoreClient) -> None:
        self.workitems = workitem_service_pb2_grpc.WorkitemServiceStub(core.channel)
        self.events = workitem_event_service_pb2_grpc.WorkitemEventServiceStub(core.channel)

    async def create(self, uid: str, **values: Any) -> None:
        request = workitems.CreateWorkitemRequest(workitem_uid=uid, dicom_json=text(workitem(**values)))
        await self.workitems.CreateWorkitem(request)

    async def subscribe(self, uid: str, ae_title: str, **fields: Any) -> pb.SubscribeToWorkitemsResponse:
        request = pb.SubscribeToWorkitemsRequest(workitem_uid=uid, ae_title=ae_title, **fields)
        response: pb.SubscribeToWorkitemsResponse = await self.events.SubscribeToWorkitems(request)
        return response


@pytest.fixture
def worklist(shared_core: CoreClient) -> Worklist:
    return Worklist(shared_core)


async def first(call: Any, number: int) -> tuple[list[Any], list[Any]]:
    """Return the next events of a stream, and its messages."""
    events: list[Any] = []
    messages: list[Any] = []
    while len(events) < number:
        message = await call.read()
        messages.append(message)
        events += message.events
    call.cancel()
    assert len(events) == number
    return events, messages


async def test_a_subscriber_receives_and_acknowledges_its_events(worklist: Worklist) -> None:
    await worklist.create("1.1")
    await worklist.subscribe("1.1", "FIRST")
    await worklist.workitems.RequestWorkitemCancellation(
        workitems.RequestWorkitemCancellationRequest(workitem_uid="1.1", requesting_ae="SCHEDULER")
    )
    request = pb.ReceiveWorkitemEventsRequest(ae_title="FIRST")
    events, messages = await first(worklist.events.ReceiveWorkitemEvents(request), 4)
    assert [pb.WorkitemEventType.Name(event.type).removeprefix("WORKITEM_EVENT_TYPE_") for event in events] == [
        "STATE_REPORT",
        "CANCEL_REQUESTED",
        "STATE_REPORT",
        "STATE_REPORT",
    ]
    assert json.loads(events[1].dicom_json)["00741236"]["Value"] == ["SCHEDULER"]
    assert all(event.workitem_uid == "1.1" and event.time.seconds for event in events)
    acknowledgement = pb.AcknowledgeWorkitemEventsRequest(ae_title="FIRST", checkpoint=messages[-1].checkpoint)
    await worklist.events.AcknowledgeWorkitemEvents(acknowledgement)
    again = worklist.events.ReceiveWorkitemEvents(request)
    empty = await again.read()
    again.cancel()
    assert (list(empty.events), empty.checkpoint) == ([], messages[-1].checkpoint)


async def test_subscribers_are_listed_with_their_subscriptions(worklist: Worklist) -> None:
    await worklist.create("2.1")
    term = workitems.WorkitemTerm(attribute="00741204", values=["read"])
    unknown = workitems.WorkitemTerm(attribute="Rows", values=["1"])
    response = await worklist.subscribe(FILTERED_WORKLIST, "LIST1", terms=[term, unknown], deletion_lock=True)
    assert list(response.ignored_attributes) == ["Rows"]
    await worklist.subscribe("2.1", "LIST1", deletion_lock=True)
    await worklist.subscribe(WORKLIST, " LIST2 ")
    suspension = pb.SuspendWorklistSubscriptionRequest(ae_title="LIST2")
    assert not (await worklist.events.SuspendWorklistSubscription(suspension)).unchanged
    assert (await worklist.events.SuspendWorklistSubscription(suspension)).unchanged
    found = await worklist.events.ListWorkitemSubscribers(pb.ListWorkitemSubscribersRequest(after_ae_title="LIST"))
    one, two = found.subscribers
    assert (one.ae_title, one.workitems, one.locked_workitems) == ("LIST1", 1, 1)
    assert one.worklist.deletion_lock
    assert [(term.attribute, list(term.values)) for term in one.worklist.terms] == [("ProcedureStepLabel", ["read"])]
    assert (two.ae_title, two.has_earlier_worklist, two.HasField("worklist")) == ("LIST2", True, False)
    end = pb.UnsubscribeFromWorkitemsRequest(workitem_uid=WORKLIST, ae_title="LIST1")
    assert not (await worklist.events.UnsubscribeFromWorkitems(end)).unchanged
    assert (await worklist.events.UnsubscribeFromWorkitems(end)).unchanged


async def test_a_watch_has_events_with_present_workitems_on_request(worklist: Worklist) -> None:
    await worklist.create("3.1", ProcedureStepLabel="watched")
    term = workitems.WorkitemTerm(attribute="ProcedureStepLabel", values=["watched"])
    request = pb.WatchWorkitemsRequest(terms=[term], after_position=0, include_workitems=True)
    [watched], messages = await first(worklist.events.WatchWorkitems(request), 1)
    assert json.loads(watched.workitem_dicom_json)["00741204"]["Value"] == ["watched"]
    assert messages[-1].checkpoint_position == watched.event.position
    request.include_workitems = False
    [watched], _ = await first(worklist.events.WatchWorkitems(request), 1)
    assert not watched.workitem_dicom_json


@pytest.mark.parametrize(
    ("rpc", "request_", "reason"),
    [
        (
            "SubscribeToWorkitems",
            pb.SubscribeToWorkitemsRequest(workitem_uid="9.9", ae_title="A"),
            "WORKITEM_NOT_FOUND",
        ),
        ("SubscribeToWorkitems", pb.SubscribeToWorkitemsRequest(workitem_uid="x", ae_title="A"), "INVALID_UID"),
        ("SubscribeToWorkitems", pb.SubscribeToWorkitemsRequest(workitem_uid=WORKLIST, ae_title=" "), "INVALID_FIELD"),
        (
            "SubscribeToWorkitems",
            pb.SubscribeToWorkitemsRequest(workitem_uid=WORKLIST, ae_title="SEVENTEEN_LETTERS"),
            "INVALID_FIELD",
        ),
        (
            "SubscribeToWorkitems",
            pb.SubscribeToWorkitemsRequest(
                workitem_uid=WORKLIST, ae_title="A", terms=[workitems.WorkitemTerm(attribute="PatientID", values=["1"])]
            ),
            "INVALID_FIELD",
        ),
        (
            "SubscribeToWorkitems",
            pb.SubscribeToWorkitemsRequest(
                workitem_uid=FILTERED_WORKLIST,
                ae_title="A",
                strict=True,
                terms=[workitems.WorkitemTerm(attribute="Rows", values=["1"])],
            ),
            "UNSUPPORTED_ATTRIBUTE",
        ),
        (
            "SubscribeToWorkitems",
            pb.SubscribeToWorkitemsRequest(
                workitem_uid=FILTERED_WORKLIST,
                ae_title="A",
                terms=[workitems.WorkitemTerm(attribute="ScheduledProcedureStepStartDateTime", values=["soon"])],
            ),
            "INVALID_QUERY",
        ),
        (
            "UnsubscribeFromWorkitems",
            pb.UnsubscribeFromWorkitemsRequest(workitem_uid="9.9", ae_title="A"),
            "WORKITEM_NOT_FOUND",
        ),
        ("SuspendWorklistSubscription", pb.SuspendWorklistSubscriptionRequest(ae_title="a\\b"), "INVALID_FIELD"),
        ("ReceiveWorkitemEvents", pb.ReceiveWorkitemEventsRequest(), "INVALID_FIELD"),
        (
            "ReceiveWorkitemEvents",
            pb.ReceiveWorkitemEventsRequest(ae_title="A", checkpoint_interval={"nanos": 1}),
            "INVALID_FIELD",
        ),
        ("AcknowledgeWorkitemEvents", pb.AcknowledgeWorkitemEventsRequest(ae_title="A"), "INVALID_FIELD"),
        (
            "AcknowledgeWorkitemEvents",
            pb.AcknowledgeWorkitemEventsRequest(ae_title="A", checkpoint="-1"),
            "INVALID_FIELD",
        ),
        (
            "AcknowledgeWorkitemEvents",
            pb.AcknowledgeWorkitemEventsRequest(ae_title="A", checkpoint="999999999999"),
            "INVALID_FIELD",
        ),
        ("WatchWorkitems", pb.WatchWorkitemsRequest(after_position=-1), "INVALID_FIELD"),
    ],
)
async def test_an_invalid_request_is_refused(worklist: Worklist, rpc: str, request_: Message, reason: str) -> None:
    call = getattr(worklist.events, rpc)(request_)
    is_stream = rpc in ("ReceiveWorkitemEvents", "WatchWorkitems")
    assert await refused(call.read() if is_stream else call) == reason
