"""gRPC scenarios: for every rpc of the contract, the calls and their expected results."""

import base64
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from dicomstore.v1 import capabilities_service_pb2 as capabilities_pb
from dicomstore.v1 import change_feed_service_pb2 as changes_pb
from dicomstore.v1 import delete_service_pb2 as delete_pb
from dicomstore.v1 import partition_service_pb2 as partition_pb
from dicomstore.v1 import resources_pb2 as resources_pb
from dicomstore.v1 import retrieve_service_pb2 as retrieve_pb
from dicomstore.v1 import search_service_pb2 as search_pb
from dicomstore.v1 import workitem_event_service_pb2 as workitem_event_pb
from dicomstore.v1 import workitem_service_pb2 as workitem_pb
from google.protobuf import json_format, proto
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from bench import data, sets
from bench.archive import Archive
from bench.rpc import rpc
from bench.sets import FRESH, SERIES, SMALL_PER_STUDY, Sets

PARTITION = "Microsoft.Default"
"""Partitions are enabled, because their rpcs need it; so every address has a partition."""

_V1 = "dicomstore.v1."
_CALL_NUMBER = "{{printf `%06d` .RequestNumber | b64enc}}"
"""Placeholder that ghz replaces in JSON: the number of the call, six digits, in base64."""

_STUDY_UID = b"\x20\x00\x0d\x00UI"
_PAGE = 100
_STREAM_OF_SMALL, _STREAM_OF_CT = 2500, 150
_FAR = 0.9
_WORKITEMS = 500
WORKITEM = {
    "00081080": {"vr": "LO"},
    "00081084": {"vr": "SQ"},
    "00081195": {"vr": "UI"},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    "00100020": {"vr": "LO", "Value": ["P1"]},
    "00100021": {"vr": "LO"},
    "00100024": {"vr": "SQ"},
    "00100030": {"vr": "DA", "Value": ["19700101"]},
    "00100040": {"vr": "CS", "Value": ["F"]},
    "00101002": {"vr": "SQ"},
    "00380010": {"vr": "LO"},
    "00380014": {"vr": "SQ"},
    "00400400": {"vr": "LT"},
    "00404005": {"vr": "DT", "Value": ["20240501093000"]},
    "00404018": {"vr": "SQ"},
    "00404021": {"vr": "SQ"},
    "00404025": {"vr": "SQ"},
    "00404026": {"vr": "SQ"},
    "00404027": {"vr": "SQ"},
    "00404041": {"vr": "CS", "Value": ["READY"]},
    "0040A370": {"vr": "SQ"},
    "00741002": {"vr": "SQ"},
    "00741200": {"vr": "CS", "Value": ["MEDIUM"]},
    "00741204": {"vr": "LO", "Value": ["Detect nodules"]},
    "00741210": {"vr": "SQ"},
    "00741216": {"vr": "SQ"},
}
"""A minimal new workitem (PS3.4 Table CC.2.5-3)."""


@dataclass(frozen=True, slots=True)
class Load:
    """The messages of one client program, sent repeatedly."""

    calls: int
    clients: int
    """Concurrent calls, each on its own connection."""
    text: str = ""
    """A JSON array: the messages of each call of a streaming rpc, or of consecutive calls."""
    binary: bytes = b""
    """Alternative to JSON: length-prefixed messages."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Calls of one rpc."""

    name: str
    rpc: str
    unit: str
    items: Callable[[Sets], int]
    """Number of items per call."""
    loads: Callable[[Archive, Sets], list[Load]]
    """The clients, which run concurrently."""
    writes: bool = False
    """Calls cannot be repeated. If they are about instances, the change feed must grow by one entry per item."""
    status: str = "OK"
    """Expected status of every call."""
    messages: int = 0
    """Cancel each call after this many messages; 0 reads them all."""


def sent(scenario: Scenario, load: Load, call: int) -> list[Message]:
    """Return the messages of a call; calls are numbered from 0."""
    kind = rpc.request_type(scenario.rpc)
    if load.binary:
        source = BytesIO(load.binary)
        return list(iter(lambda: proto.parse_length_prefixed(kind, source), None))
    digits = base64.b64encode(b"%06d" % call).decode()
    messages = [
        json_format.ParseDict(message, kind()) for message in json.loads(load.text.replace(_CALL_NUMBER, digits))
    ]
    return messages if rpc.takes_stream(scenario.rpc) else [messages[call % len(messages)]]


def received(scenario: Scenario, responses: Iterable[Message]) -> int:
    """Return the number of items in the responses of one call."""
    count = _COUNT.get(scenario.rpc.partition("/")[2], lambda _: 1)
    return sum(count(response) for response in itertools.islice(responses, scenario.messages or None))


_COUNT: dict[str, Callable[[Any], int]] = {
    "StoreInstances": lambda response: sum(outcome.HasField("stored") for outcome in response.outcomes),
    "RetrieveInstances": lambda response: sum(piece.last for piece in response.pieces),
    "RetrieveFrames": lambda response: sum(piece.last for piece in response.pieces),
    "RetrieveBulkData": lambda response: response.HasField("head"),
    "RetrieveMetadata": lambda response: len(response.items),
    "Search": lambda response: len(response.matches),
    "SearchWorkitems": lambda response: len(response.matches),
    "DeleteInstances": lambda response: response.deleted_instances,
    "ListChanges": lambda response: len(response.entries),
    "WatchChanges": lambda response: len(response.entries),
    "WatchWorkitems": lambda response: len(response.events),
    "ListPartitions": lambda response: len(response.partitions),
}


def _array(messages: Iterable[Message]) -> str:
    return json.dumps([json_format.MessageToDict(message) for message in messages])


def _calls(
    make: Callable[[Sets], Iterable[Message]], calls: int, clients: int
) -> Callable[[Archive, Sets], list[Load]]:
    """Make calls with the given requests in turn, repeating them if there are fewer; `calls` is their number at scale
    1."""

    def loads(_: Archive, size: Sets) -> list[Load]:
        return [Load(max(clients, round(calls * size.scale)), clients, _array(make(size)))]

    return loads


def _streams(kind: data.Kind, streams: int, per_stream: int) -> Callable[[Archive, Sets], list[Load]]:
    """Store new instances, a hundred per study, over several streams; small ones share messages."""

    def instances(count: int) -> Iterator[bytes]:
        for first in range(0, count, 100):
            study = next(FRESH)
            yield from (data.instance(kind, study, 1, number) for number in range(1, 1 + min(100, count - first)))

    def loads(_: Archive, size: Sets) -> list[Load]:
        return [
            Load(1, 1, binary=_delimited(sets.messages(PARTITION, instances(_scaled(per_stream, size)))))
            for _ in range(streams)
        ]

    return loads


def _scaled(count: int, size: Sets) -> int:
    return max(4, round(count * size.scale))


def _delimited(messages: Iterable[Message]) -> bytes:
    out = BytesIO()
    for message in messages:
        proto.serialize_length_prefixed(message, out)
    return out.getvalue()


def _one_each(calls: int, clients: int) -> Callable[[Archive, Sets], list[Load]]:
    """Store one small instance per call, each in its own study: digits of its UID are the number of the call."""

    def loads(_: Archive, size: Sets) -> list[Load]:
        body = data.instance(data.SMALL, next(FRESH))
        # Base64 encodes groups of three bytes, so six digits at the start of a group can be replaced in it.
        last_component = body.index(_STUDY_UID) + 8 + len(data.uid()) + 1
        start = next(at for at in range(last_component + 1, last_component + 4) if at % 3 == 0)
        before, after = base64.b64encode(body[:start]).decode(), base64.b64encode(body[start + 6 :]).decode()
        piece = {"item": 1, "data": before + _CALL_NUMBER + after, "last": True}
        text = json.dumps([{"header": {"address": {"partition": PARTITION}}, "pieces": [piece]}])
        return [Load(_scaled(calls, size), clients, text)]

    return loads


def _deletions(archive: Archive, size: Sets) -> list[Load]:
    studies = list(itertools.islice(FRESH, _scaled(400, size)))
    sets.store(archive.core, PARTITION, (body for study in studies for body in sets.small_study(study)))
    return [
        Load(len(studies), 1, _array(delete_pb.DeleteInstancesRequest(resource=_address(study)) for study in studies))
    ]


def _new_partitions(_: Archive, size: Sets) -> list[Load]:
    names = [f"bench-{number}" for number in range(_scaled(500, size))]
    return [Load(len(names), 4, _array(partition_pb.CreatePartitionRequest(name=name) for name in names))]


def _new_workitems(_: Archive, size: Sets) -> list[Load]:
    created = (
        workitem_pb.CreateWorkitemRequest(
            partition=PARTITION, workitem_uid=_workitem_uid(number), dicom_json=json.dumps(WORKITEM).encode()
        )
        for number in range(_scaled(_WORKITEMS, size))
    )
    return [Load(_scaled(_WORKITEMS, size), 4, _array(created))]


def _workitem_uid(number: int) -> str:
    return data.uid(99, number)


def _scheduled_workitems() -> workitem_pb.SearchWorkitemsRequest:
    state = workitem_pb.WorkitemTerm(attribute="ProcedureStepState", values=["SCHEDULED"])
    return workitem_pb.SearchWorkitemsRequest(partition=PARTITION, terms=[state], page_size=_PAGE)


def _all_workitem_events() -> workitem_event_pb.WatchWorkitemsRequest:
    """Return the request whose first message has no events, and the second one a page."""
    return workitem_event_pb.WatchWorkitemsRequest(partition=PARTITION, after_position=0)


def _acknowledgement() -> workitem_event_pb.AcknowledgeWorkitemEventsRequest:
    return workitem_event_pb.AcknowledgeWorkitemEventsRequest(partition=PARTITION, ae_title="BENCH", checkpoint="1")


def _address(study: int, series: int = 0, number: int = 0) -> resources_pb.Address:
    return resources_pb.Address(
        partition=PARTITION,
        study_instance_uid=data.study_uid(study),
        series_instance_uid=data.series_uid(study, series) if series else "",
        sop_instance_uid=data.instance_uid(study, series, number) if number else "",
    )


def _instances(addresses: Iterable[resources_pb.Address]) -> Iterator[Message]:
    return (retrieve_pb.RetrieveInstancesRequest(resource=address) for address in addresses)


def _metadata(addresses: Iterable[resources_pb.Address]) -> Iterator[Message]:
    return (retrieve_pb.RetrieveMetadataRequest(resource=address) for address in addresses)


def _frames(kind: data.Kind, studies: Sequence[int]) -> Iterator[Message]:
    """Request single frames, far apart."""
    for step in range(max(1000, kind.frames)):
        study = studies[step % len(studies)]
        yield retrieve_pb.RetrieveFramesRequest(instance=_address(study, 1, 1), frames=[step * 7919 % kind.frames + 1])


def _bulk_data(size: Sets) -> Iterator[Message]:
    for study, number in itertools.product(size.ct_studies, size.slices):
        yield retrieve_pb.RetrieveBulkDataRequest(instance=_address(study, 1, number), path="7FE00010")


def _all_bulk_data(size: Sets) -> Iterator[Message]:
    return (
        retrieve_pb.RetrieveAllBulkDataRequest(resource=_address(study), pixel_data_only=True)
        for study in size.ct_studies
    )


def _rendered(size: Sets) -> Iterator[Message]:
    """Request one rendered image of each slice."""
    for study, number in itertools.product(size.ct_studies, size.slices):
        yield retrieve_pb.RetrieveRenderedRequest(
            resource=_address(study, 1, number), acceptable_media_types=["image/jpeg"], quality=90
        )


def _search(attribute: str = "", value: str = "", page_size: int = _PAGE, skip: int = 0) -> Message:
    return search_pb.SearchRequest(
        level=search_pb.QUERY_LEVEL_STUDY,
        scope=resources_pb.Address(partition=PARTITION),
        terms=[search_pb.Term(attribute=attribute, values=[value])] if attribute else [],
        page_size=page_size,
        skip=skip,
    )


def _search_instances(size: Sets) -> Iterator[Message]:
    for study, series in itertools.product(size.ct_studies, SERIES):
        yield search_pb.SearchRequest(
            level=search_pb.QUERY_LEVEL_INSTANCE, scope=_address(study, series), page_size=_PAGE
        )


def _of_family(size: Sets) -> int:
    family = data.family(size.small_studies[0])
    return min(_PAGE, sum(data.family(study) == family for study in size.all_studies))


def _studies_after(size: Sets) -> int:
    return int(len(size.all_studies) * _FAR)


SCENARIOS = (
    Scenario(
        "retrieve_small",
        f"{_V1}RetrieveService/RetrieveInstances",
        "instances",
        lambda _: 1,
        _calls(lambda size: _instances(_address(study, 1, 1) for study in size.small_studies), 2000, 8),
    ),
    Scenario(
        "retrieve_ct",
        f"{_V1}RetrieveService/RetrieveInstances",
        "instances",
        lambda _: 1,
        _calls(lambda size: _instances(_address(1, 1, number) for number in size.slices), 1000, 8),
    ),
    Scenario(
        "retrieve_study_ct",
        f"{_V1}RetrieveService/RetrieveInstances",
        "instances",
        lambda size: len(SERIES) * len(size.slices),
        _calls(lambda size: _instances(map(_address, size.ct_studies)), 8, 1),
    ),
    Scenario(
        "retrieve_frame",
        f"{_V1}RetrieveService/RetrieveFrames",
        "frames",
        lambda _: 1,
        _calls(lambda size: _frames(size.multiframe, size.multiframe_studies), 2000, 8),
    ),
    Scenario(
        "retrieve_tile",
        f"{_V1}RetrieveService/RetrieveFrames",
        "frames",
        lambda _: 1,
        _calls(lambda size: _frames(size.slide, [size.slide_study]), 2000, 16),
    ),
    Scenario(
        "retrieve_bulk_data",
        f"{_V1}RetrieveService/RetrieveBulkData",
        "values",
        lambda _: 1,
        _calls(_bulk_data, 1000, 8),
    ),
    Scenario(
        "retrieve_all_bulk_data",
        f"{_V1}RetrieveService/RetrieveAllBulkData",
        "values",
        lambda size: len(SERIES) * len(size.slices),
        _calls(_all_bulk_data, 8, 1),
    ),
    Scenario(
        "rendered_ct",
        f"{_V1}RetrieveService/RetrieveRendered",
        "pictures",
        lambda _: 1,
        _calls(_rendered, 1000, 4),
    ),
    Scenario(
        "metadata_series",
        f"{_V1}RetrieveService/RetrieveMetadata",
        "instances",
        lambda size: len(size.slices),
        _calls(lambda size: _metadata(_address(study, 1) for study in size.ct_studies), 400, 2),
    ),
    Scenario(
        "metadata_study",
        f"{_V1}RetrieveService/RetrieveMetadata",
        "instances",
        lambda size: len(SERIES) * len(size.slices),
        _calls(lambda size: _metadata(map(_address, size.ct_studies)), 200, 1),
    ),
    Scenario(
        "metadata_study_rich",
        f"{_V1}RetrieveService/RetrieveMetadata",
        "instances",
        lambda _: SMALL_PER_STUDY,
        _calls(lambda size: _metadata(map(_address, size.small_studies)), 1000, 4),
    ),
    Scenario(
        "search_patient_id",
        f"{_V1}SearchService/Search",
        "matches",
        lambda _: 1,
        _calls(lambda size: (_search("PatientID", data.patient_id(study)) for study in size.small_studies), 2000, 4),
    ),
    Scenario(
        "search_date",
        f"{_V1}SearchService/Search",
        "matches",
        lambda _: 1,
        _calls(lambda size: (_search("StudyDate", f"{data.study_date(n)}-", 1) for n in size.small_studies), 2000, 4),
    ),
    Scenario(
        "search_leading_wildcard",
        f"{_V1}SearchService/Search",
        "matches",
        _of_family,
        _calls(lambda size: [_search("PatientName", f"*{data.family(size.small_studies[0])[2:]}*")], 1000, 4),
    ),
    Scenario(
        "search_instances_of_series",
        f"{_V1}SearchService/Search",
        "matches",
        lambda size: min(_PAGE, len(size.slices)),
        _calls(_search_instances, 500, 4),
    ),
    Scenario(
        "search_first_page",
        f"{_V1}SearchService/Search",
        "matches",
        lambda size: min(_PAGE, len(size.all_studies)),
        _calls(lambda _: [_search()], 500, 4),
    ),
    Scenario(
        "search_far_page",
        f"{_V1}SearchService/Search",
        "matches",
        lambda size: min(_PAGE, len(size.all_studies) - _studies_after(size)),
        _calls(lambda size: [_search(skip=_studies_after(size))], 1000, 4),
    ),
    Scenario(
        "list_changes",
        f"{_V1}ChangeFeedService/ListChanges",
        "entries",
        lambda _: _PAGE,
        _calls(lambda _: [changes_pb.ListChangesRequest(page_size=_PAGE)], 500, 4),
    ),
    Scenario(
        "latest_change",
        f"{_V1}ChangeFeedService/GetLatestChange",
        "entries",
        lambda _: 1,
        _calls(lambda _: [changes_pb.GetLatestChangeRequest()], 2000, 4),
    ),
    Scenario(
        "watch_changes",
        f"{_V1}ChangeFeedService/WatchChanges",
        "entries",
        lambda _: _PAGE,
        _calls(lambda _: [changes_pb.WatchChangesRequest()], 500, 4),
        status="Canceled",
        messages=1,
    ),
    Scenario(
        "move_consumer",
        f"{_V1}ChangeFeedService/SetConsumerPosition",
        "positions",
        lambda _: 1,
        _calls(lambda _: [changes_pb.SetConsumerPositionRequest(name="bench", sequence=1)], 500, 4),
    ),
    Scenario(
        "create_workitem",
        f"{_V1}WorkitemService/CreateWorkitem",
        "workitems",
        lambda _: 1,
        _new_workitems,
        writes=True,
    ),
    Scenario(
        "get_workitem",
        f"{_V1}WorkitemService/GetWorkitem",
        "workitems",
        lambda _: 1,
        _calls(lambda _: [workitem_pb.GetWorkitemRequest(partition=PARTITION, workitem_uid=_workitem_uid(0))], 2000, 4),
    ),
    Scenario(
        "search_workitems",
        f"{_V1}WorkitemService/SearchWorkitems",
        "matches",
        lambda size: min(_PAGE, _scaled(_WORKITEMS, size)),
        _calls(lambda _: [_scheduled_workitems()], 500, 4),
    ),
    Scenario(
        "watch_workitems",
        f"{_V1}WorkitemEventService/WatchWorkitems",
        "events",
        lambda size: min(_PAGE, _scaled(_WORKITEMS, size)),
        _calls(lambda _: [_all_workitem_events()], 500, 4),
        status="Canceled",
        messages=2,
    ),
    Scenario(
        "acknowledge_workitem_events",
        f"{_V1}WorkitemEventService/AcknowledgeWorkitemEvents",
        "acknowledgements",
        lambda _: 1,
        _calls(lambda _: [_acknowledgement()], 500, 4),
    ),
    Scenario(
        "list_partitions",
        f"{_V1}PartitionService/ListPartitions",
        "partitions",
        lambda _: 1,
        _calls(lambda _: [partition_pb.ListPartitionsRequest()], 2000, 4),
    ),
    Scenario(
        "get_partition",
        f"{_V1}PartitionService/GetPartition",
        "partitions",
        lambda _: 1,
        _calls(lambda _: [partition_pb.GetPartitionRequest(name=PARTITION)], 2000, 4),
    ),
    Scenario(
        "create_partition",
        f"{_V1}PartitionService/CreatePartition",
        "partitions",
        lambda _: 1,
        _new_partitions,
        writes=True,
    ),
    Scenario(
        "capabilities",
        f"{_V1}CapabilitiesService/GetCapabilities",
        "answers",
        lambda _: 1,
        _calls(lambda _: [capabilities_pb.GetCapabilitiesRequest()], 2000, 4),
    ),
    Scenario(
        "health", rpc.HEALTH, "answers", lambda _: 1, _calls(lambda _: [health_pb2.HealthCheckRequest()], 2000, 4)
    ),
    Scenario(
        "store_small",
        f"{_V1}StoreService/StoreInstances",
        "instances",
        lambda size: _scaled(_STREAM_OF_SMALL, size),
        _streams(data.SMALL, 8, _STREAM_OF_SMALL),
        writes=True,
    ),
    Scenario(
        "store_ct",
        f"{_V1}StoreService/StoreInstances",
        "instances",
        lambda size: _scaled(_STREAM_OF_CT, size),
        _streams(data.CT_SLICE, 4, _STREAM_OF_CT),
        writes=True,
    ),
    Scenario(
        "store_small_one_a_call",
        f"{_V1}StoreService/StoreInstances",
        "instances",
        lambda _: 1,
        _one_each(1000, 8),
        writes=True,
    ),
    Scenario(
        "delete_study",
        f"{_V1}DeleteService/DeleteInstances",
        "instances",
        lambda _: SMALL_PER_STUDY,
        _deletions,
        writes=True,
    ),
)
"""In this order: reading scenarios rely on the initial data, writing ones add to it."""
