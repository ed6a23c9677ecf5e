"""LifecycleService, and immediate erasure, as specified in the contract."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from crc32c import crc32c
from dicomstore.v1 import delete_service_pb2 as delete_pb
from dicomstore.v1 import lifecycle_service_pb2 as pb
from dicomstore.v1 import lifecycle_service_pb2_grpc
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION

from tests.audit import audit_records
from tests.core import CoreClient, Ref, reason_of, ref_of
from tests.data import new_uid, part10
from tests.integration.conftest import a_core


@pytest.fixture
def lifecycle(core: CoreClient) -> Any:
    return lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)


async def delete(core: CoreClient, resource: Any, **fields: Any) -> delete_pb.DeleteInstancesResponse:
    response: delete_pb.DeleteInstancesResponse = await core.delete_stub.DeleteInstances(
        delete_pb.DeleteInstancesRequest(resource=resource, **fields)
    )
    return response


async def undelete(lifecycle: Any, resource: Any) -> int:
    response: pb.UndeleteInstancesResponse = await lifecycle.UndeleteInstances(
        pb.UndeleteInstancesRequest(resource=resource)
    )
    return response.restored_instances


async def test_a_deleted_study_is_restored_byte_for_byte(core: CoreClient, lifecycle: Any) -> None:
    body = part10()
    [stored] = await core.stored(body)
    study = Ref(study_instance_uid=stored.id.study_instance_uid)
    await core.delete(study)
    assert [await undelete(lifecycle, study) for _ in range(2)] == [1, 0]
    [(_, found)] = await core.retrieve(study)
    assert found == body
    assert len(await core.changes()) == 3
    assert not (await lifecycle.ListDeletions(pb.ListDeletionsRequest())).deletions


async def test_deletions_are_listed_in_pages_with_reason_and_author(core: CoreClient, lifecycle: Any) -> None:
    stored = await core.stored(*(part10() for _ in range(3)))
    for number, one in enumerate(stored):
        await delete(core, ref_of(one), reason=f"reason {number}")
    found: list[pb.Deletion] = []
    request = pb.ListDeletionsRequest(page_size=2)
    while True:
        page = await lifecycle.ListDeletions(request)
        found += page.deletions
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert [(one.reason, one.author, one.instances) for one in found] == [
        (f"reason {number}", "anonymous", 1) for number in (2, 1, 0)
    ]
    assert found[0].resource.sop_instance_uid == stored[2].id.sop_instance_uid
    retained = found[0].erase_time.ToDatetime() - found[0].delete_time.ToDatetime()
    assert abs(retained - timedelta(hours=72)) < timedelta(minutes=1)


async def test_a_page_token_of_another_scope_is_refused(core: CoreClient, lifecycle: Any) -> None:
    for one in await core.stored(part10(), part10()):
        await core.delete(ref_of(one))
    token = (await lifecycle.ListDeletions(pb.ListDeletionsRequest(page_size=1))).next_page_token
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await lifecycle.ListDeletions(
            pb.ListDeletionsRequest(page_token=token, scope=Ref(study_instance_uid=new_uid()))
        )
    assert reason_of(caught.value) == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("reason", ["x" * 501, "two\nlines"])
async def test_a_reason_is_a_short_line(core: CoreClient, reason: str) -> None:
    [stored] = await core.stored(part10())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await delete(core, ref_of(stored), reason=reason)
    assert reason_of(caught.value) == "INVALID_FIELD"
    assert len(await core.retrieve(ref_of(stored))) == 1


async def test_a_study_is_required(lifecycle: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await undelete(lifecycle, Ref())
    assert reason_of(caught.value) == "INVALID_FIELD"


async def test_immediate_erasure_starts_garbage_collection_and_is_in_the_audit_trail(tmp_path: Path) -> None:
    """Of all versions, also of instances that were deleted before for another reason."""
    async with a_core(tmp_path, retention_hours=1, erase_interval_seconds=3600) as core:
        study = new_uid()
        bodies = [part10(StudyInstanceUID=study) for _ in range(2)]
        one, other = await core.stored(*bodies)
        uids = {"StudyInstanceUID": study, "SOPInstanceUID": other.id.sop_instance_uid}
        bodies.append(part10(**uids, SeriesInstanceUID=other.id.series_instance_uid, PatientID="new"))
        [newer] = await core.stored(bodies[2], duplicates=DUPLICATE_POLICY_NEW_VERSION)
        await delete(core, ref_of(one), reason="duplicate")
        response = await delete(core, Ref(study_instance_uid=study), erase_now=True, reason="withdrawn consent")
        assert (response.deleted_instances, response.erased_instances) == (1, 2)
        while await core.blob_count():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(core.channel)
        assert await undelete(lifecycle, Ref(study_instance_uid=study)) == 0
    records = audit_records(tmp_path, subtype="delete")
    assert [record.get("reason") for record in records] == ["duplicate"] + ["withdrawn consent"] * 2
    assert [record.get("erase") for record in records] == [None] + ["now"] * 2
    expected = [
        [study, each.id.series_instance_uid, each.id.sop_instance_uid, each.version, len(body), f"{crc32c(body):08x}"]
        for each, body in zip((one, other, newer), bodies, strict=True)
    ]
    erasures = audit_records(tmp_path, subtype="erase")
    assert [record["kind"] for record in erasures] == ["executing", "executed"]
    assert erasures[1]["code"] == "OK"
    for record in erasures:
        assert (record["author"], record["why"], record["items"]) == ("anonymous", "withdrawn consent", 3)
        assert len(record["blobs"]) == 3
        assert sorted(record["erased"]) == sorted(expected)
