"""ExtendedQueryTagService and OperationService, as specified in protos/dicomstore/v1."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from dicomstore.v1 import extended_query_tag_service_pb2 as tag_pb
from dicomstore.v1 import (
    extended_query_tag_service_pb2_grpc,
    operation_service_pb2_grpc,
)
from dicomstore.v1 import operation_service_pb2 as operation_pb
from dicomstore.v1.operation_types_pb2 import ReindexRequest

from server.adapters.sql.engine import open_database
from server.dicom.matching.query_tags import extract
from tests.core import CoreClient, reason_of, settings_for
from tests.data import part10
from tests.operations import index_all

STATION = tag_pb.NewExtendedQueryTag(path="StationName", level=tag_pb.TAG_LEVEL_SERIES)
OPERATORS = tag_pb.NewExtendedQueryTag(path="OperatorsName", level=tag_pb.TAG_LEVEL_INSTANCE)
EXPOSURE = tag_pb.NewExtendedQueryTag(path="ExposureTime", level=tag_pb.TAG_LEVEL_INSTANCE)
UNKNOWN = "0" * 32


def tags_of(core: CoreClient) -> Any:
    return extended_query_tag_service_pb2_grpc.ExtendedQueryTagServiceStub(core.channel)


def operations_of(core: CoreClient) -> Any:
    return operation_service_pb2_grpc.OperationServiceStub(core.channel)


async def add(core: CoreClient, *tags: tag_pb.NewExtendedQueryTag, request_id: str = "") -> Any:
    request = tag_pb.AddExtendedQueryTagsRequest(tags=tags, request_id=request_id)
    return (await tags_of(core).AddExtendedQueryTags(request)).operation


async def run_operation(core: CoreClient, operation_id: str) -> None:
    """Run an operation as a worker does."""
    database = open_database(settings_for(core.data).database_url, extract=extract)
    await index_all(database, operation_id, datetime.now(UTC), most=2)
    await database.close()


async def reason(call: Awaitable[Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return str(reason_of(refused.value))


async def test_a_request_sent_again_returns_the_operation_that_it_started(core: CoreClient) -> None:
    first = await add(core, STATION, request_id="r1")
    request = ReindexRequest()
    assert first.request.Unpack(request)
    assert (first.type, first.state) == ("reindex", operation_pb.OPERATION_STATE_NOT_STARTED)
    assert list(request.tags) == ["00081010"]
    await run_operation(core, first.id)
    again = await add(core, STATION, request_id="r1")
    assert (again.id, again.state) == (first.id, operation_pb.OPERATION_STATE_SUCCEEDED)
    assert await reason(add(core, STATION, request_id="r2")) == "TAG_ALREADY_EXISTS"


async def test_only_one_operation_adds_tags_at_a_time_until_it_is_cancelled(core: CoreClient) -> None:
    first = await add(core, STATION)
    assert await reason(add(core, OPERATORS)) == "OPERATION_RUNNING"
    cancelled = await operations_of(core).CancelOperation(operation_pb.CancelOperationRequest(id=first.id))
    assert cancelled.operation.state == operation_pb.OPERATION_STATE_CANCELED
    assert (await add(core, OPERATORS)).id != first.id
    got = await tags_of(core).GetExtendedQueryTag(tag_pb.GetExtendedQueryTagRequest(path="StationName"))
    assert got.tag.status == tag_pb.TAG_STATUS_ADDING


async def test_cancelling_a_cancelled_or_finished_operation_changes_nothing(core: CoreClient) -> None:
    first = await add(core, STATION)
    stub = operations_of(core)
    cancelled = (await stub.CancelOperation(operation_pb.CancelOperationRequest(id=first.id))).operation
    await run_operation(core, first.id)
    assert (await stub.GetOperation(operation_pb.GetOperationRequest(id=first.id))).operation == cancelled
    second = await add(core, OPERATORS)
    await run_operation(core, second.id)
    finished = (await stub.CancelOperation(operation_pb.CancelOperationRequest(id=second.id))).operation
    assert finished.state == operation_pb.OPERATION_STATE_SUCCEEDED


async def test_waiting_returns_at_the_end_of_the_operation(core: CoreClient) -> None:
    await core.stored(*(part10(StationName="A") for _ in range(3)))
    started = await add(core, STATION)
    request = operation_pb.WaitOperationRequest(id=started.id)
    waiting = asyncio.ensure_future(operations_of(core).WaitOperation(request))
    await run_operation(core, started.id)
    async with asyncio.timeout(30):
        ended = (await waiting).operation
    assert (ended.state, ended.percent_complete) == (operation_pb.OPERATION_STATE_SUCCEEDED, 100)
    assert (ended.done, ended.total) == (3, 3)


async def test_waiting_returns_at_its_time_limit(core: CoreClient) -> None:
    started = await add(core, STATION)
    request = operation_pb.WaitOperationRequest(id=started.id, timeout_seconds=1)
    async with asyncio.timeout(30):
        answer = await operations_of(core).WaitOperation(request)
    assert answer.operation.state == operation_pb.OPERATION_STATE_NOT_STARTED


async def test_waiting_returns_before_the_deadline_of_the_call(core: CoreClient) -> None:
    started = await add(core, STATION)
    answer = await operations_of(core).WaitOperation(operation_pb.WaitOperationRequest(id=started.id), timeout=4)
    assert answer.operation.state == operation_pb.OPERATION_STATE_NOT_STARTED


@pytest.mark.parametrize("seconds", [-1, 61])
async def test_a_wait_is_limited_to_one_minute(core: CoreClient, seconds: int) -> None:
    request = operation_pb.WaitOperationRequest(id=UNKNOWN, timeout_seconds=seconds)
    assert await reason(operations_of(core).WaitOperation(request)) == "INVALID_FIELD"


@pytest.mark.parametrize(("id_", "expected"), [(UNKNOWN, "OPERATION_NOT_FOUND"), ("x", "INVALID_OPERATION_ID")])
async def test_an_unknown_operation_is_not_found(core: CoreClient, id_: str, expected: str) -> None:
    stub = operations_of(core)
    assert await reason(stub.GetOperation(operation_pb.GetOperationRequest(id=id_))) == expected
    assert await reason(stub.WaitOperation(operation_pb.WaitOperationRequest(id=id_))) == expected
    assert await reason(stub.CancelOperation(operation_pb.CancelOperationRequest(id=id_))) == expected


async def test_operations_are_listed_by_type_and_state(core: CoreClient) -> None:
    first = await add(core, STATION)
    await run_operation(core, first.id)
    second = await add(core, OPERATORS)
    stub = operations_of(core)

    async def listed(**fields: Any) -> list[str]:
        found = await stub.ListOperations(operation_pb.ListOperationsRequest(**fields))
        return [one.id for one in found.operations]

    assert await listed(states=[operation_pb.OPERATION_STATE_SUCCEEDED]) == [first.id]
    unfinished = [operation_pb.OPERATION_STATE_NOT_STARTED, operation_pb.OPERATION_STATE_RUNNING]
    assert await listed(states=unfinished, types=["reindex", "another"]) == [second.id]
    assert await listed(types=["another"]) == []
    page = await stub.ListOperations(operation_pb.ListOperationsRequest(page_size=1, types=["reindex"]))
    of_others = operation_pb.ListOperationsRequest(page_token=page.next_page_token)
    assert await reason(stub.ListOperations(of_others)) == "INVALID_PAGE_TOKEN"
    unknown = operation_pb.ListOperationsRequest(states=[99])  # type: ignore[list-item] # a newer client's
    assert await reason(stub.ListOperations(unknown)) == "INVALID_FIELD"


async def test_operations_come_in_pages_newest_first(core: CoreClient) -> None:
    ids = []
    for tag in (STATION, OPERATORS, EXPOSURE):
        ids.append((await add(core, tag)).id)
        await run_operation(core, ids[-1])
    stub = operations_of(core)
    first = await stub.ListOperations(operation_pb.ListOperationsRequest(page_size=2))
    assert [one.id for one in first.operations] == [ids[2], ids[1]]
    second = await stub.ListOperations(
        operation_pb.ListOperationsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert ([one.id for one in second.operations], second.next_page_token) == ([ids[0]], "")
    forged = operation_pb.ListOperationsRequest(page_token="forged")
    assert await reason(stub.ListOperations(forged)) == "INVALID_PAGE_TOKEN"
    assert await reason(stub.ListOperations(operation_pb.ListOperationsRequest(page_size=-1))) == "INVALID_FIELD"


async def test_tags_come_in_pages_in_the_order_they_were_added(core: CoreClient) -> None:
    await add(core, STATION, OPERATORS, EXPOSURE)
    stub = tags_of(core)
    first = await stub.ListExtendedQueryTags(tag_pb.ListExtendedQueryTagsRequest(page_size=1, skip=1))
    assert [one.keyword for one in first.tags] == ["OperatorsName"]
    second = await stub.ListExtendedQueryTags(
        tag_pb.ListExtendedQueryTagsRequest(page_size=1, skip=1, page_token=first.next_page_token)
    )
    assert ([one.keyword for one in second.tags], second.next_page_token) == (["ExposureTime"], "")
    negative = tag_pb.ListExtendedQueryTagsRequest(skip=-1)
    assert await reason(stub.ListExtendedQueryTags(negative)) == "INVALID_FIELD"


async def test_a_page_token_is_only_valid_for_its_list(core: CoreClient) -> None:
    await add(core, STATION, OPERATORS)
    stub = tags_of(core)
    token = (await stub.ListExtendedQueryTags(tag_pb.ListExtendedQueryTagsRequest(page_size=1))).next_page_token
    assert token
    of_errors = tag_pb.ListExtendedQueryTagErrorsRequest(path="StationName", page_token=token)
    assert await reason(stub.ListExtendedQueryTagErrors(of_errors)) == "INVALID_PAGE_TOKEN"
    of_operations = operation_pb.ListOperationsRequest(page_token=token)
    assert await reason(operations_of(core).ListOperations(of_operations)) == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("StationName", "TAG_NOT_FOUND"), ("nonsense", "INVALID_TAG"), ("", "INVALID_TAG")],
)
async def test_an_unknown_query_tag_is_not_found(core: CoreClient, path: str, expected: str) -> None:
    stub = tags_of(core)
    enabled = tag_pb.QUERY_STATUS_ENABLED
    for call in (
        stub.GetExtendedQueryTag(tag_pb.GetExtendedQueryTagRequest(path=path)),
        stub.DeleteExtendedQueryTag(tag_pb.DeleteExtendedQueryTagRequest(path=path)),
        stub.UpdateExtendedQueryTag(tag_pb.UpdateExtendedQueryTagRequest(path=path, query_status=enabled)),
        stub.ListExtendedQueryTagErrors(tag_pb.ListExtendedQueryTagErrorsRequest(path=path)),
    ):
        assert await reason(call) == expected


async def test_a_query_status_is_required(core: CoreClient) -> None:
    await add(core, STATION)
    request = tag_pb.UpdateExtendedQueryTagRequest(path="StationName")
    assert await reason(tags_of(core).UpdateExtendedQueryTag(request)) == "INVALID_FIELD"


async def test_a_request_without_query_tags_or_with_a_long_id_is_refused(core: CoreClient) -> None:
    assert await reason(add(core)) == "INVALID_TAG"
    assert await reason(add(core, tag_pb.NewExtendedQueryTag(path="StationName"))) == "INVALID_TAG"
    assert await reason(add(core, STATION, request_id="x" * 65)) == "INVALID_FIELD"


async def test_a_deleted_tag_can_be_added_again(core: CoreClient) -> None:
    await core.stored(part10(StationName="A"))
    await run_operation(core, (await add(core, STATION)).id)
    await tags_of(core).DeleteExtendedQueryTag(tag_pb.DeleteExtendedQueryTagRequest(path="00081010"))
    await run_operation(core, (await add(core, STATION)).id)
    got = await tags_of(core).GetExtendedQueryTag(tag_pb.GetExtendedQueryTagRequest(path="00081010"))
    assert (got.tag.status, got.tag.operation_id) == (tag_pb.TAG_STATUS_READY, "")
