"""VersionService, as specified in protos/dicomstore/v1/version_service.proto."""

from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from dicomstore.v1 import version_service_pb2 as pb
from dicomstore.v1 import version_service_pb2_grpc
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION, Address

from tests.core import CoreClient, Ref, reason_of, stream_reason
from tests.data import element, padded_uid, part10, part10_of, required_elements, sequence
from tests.integration.conftest import a_core

UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}
INSTANCE = Address(study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", sop_instance_uid="1.2.3.4.5")
ADDED, REMOVED, CHANGED = pb.DIFFERENCE_KIND_ADDED, pb.DIFFERENCE_KIND_REMOVED, pb.DIFFERENCE_KIND_CHANGED


class Versions:
    """The service for versions of a core."""

    def __init__(self, core: CoreClient) -> None:
        self.core = core
        self.stub = version_service_pb2_grpc.VersionServiceStub(core.channel)

    async def store(self, *bodies: bytes, reason: str = "") -> list[int]:
        """Store contents of one instance; return their versions."""
        stored = await self.core.stored(*bodies, duplicates=DUPLICATE_POLICY_NEW_VERSION, reason=reason)
        return [one.version for one in stored]

    async def page(self, resource: Any = INSTANCE, **fields: Any) -> Any:
        """Return a page of versions."""
        return await self.stub.ListVersions(pb.ListVersionsRequest(resource=resource, **fields))

    async def compare(self, before: int, after: int) -> list[pb.AttributeDifference]:
        """Return the differences of two versions."""
        request = pb.CompareVersionsRequest(instance=INSTANCE, from_version=before, version=after)
        return [one async for response in self.stub.CompareVersions(request) for one in response.differences]

    async def revert(self, version: int, reason: str = "") -> int:
        """Revert to a version; return the current one."""
        request = pb.RevertInstanceRequest(instance=INSTANCE, version=version, reason=reason)
        return int((await self.stub.RevertInstance(request)).version)


@pytest.fixture
def versions(core: CoreClient) -> Versions:
    return Versions(core)


def content(name: str, **attributes: Any) -> bytes:
    return part10(PatientName=name, **UIDS, **attributes)


async def test_the_history_has_author_reason_and_origin_of_each_version(versions: Versions) -> None:
    first, second = await versions.store(content("one"), content("two"), reason="wrong patient")
    third = await versions.revert(first, "as it was")
    listed = (await versions.page()).versions
    assert [(one.version, one.origin, one.reason, one.author) for one in listed] == [
        (first, pb.VERSION_ORIGIN_STORED, "wrong patient", "anonymous"),
        (second, pb.VERSION_ORIGIN_REPLACED, "wrong patient", "anonymous"),
        (third, pb.VERSION_ORIGIN_REVERTED, "as it was", "anonymous"),
    ]
    assert [one.HasField("replace_time") for one in listed] == [True, True, False]
    assert listed[0].replace_time == listed[1].create_time
    assert listed[0].crc32c == listed[2].crc32c
    assert {one.instance.sop_instance_uid for one in listed} == {"1.2.3.4.5"}


async def test_the_history_of_a_study_has_pages(versions: Versions) -> None:
    stored = await versions.store(*(content(str(number)) for number in range(4)))
    [other] = await versions.core.stored(part10(**{**UIDS, "SOPInstanceUID": "1.2.3.4.6"}))
    study = Ref(study_instance_uid="1.2.3")
    found, token = [], ""
    while page := await versions.page(study, page_size=2, page_token=token):
        found += [one.version for one in page.versions]
        if not (token := page.next_page_token):
            break
    assert found == [*stored, other.version]


async def test_reverting_restores_the_content_as_a_new_version(versions: Versions) -> None:
    bodies = [content("one"), content("two", frames=[bytes(range(256))] * 40), content("three")]
    stored = await versions.store(*bodies)
    new = await versions.revert(stored[1])
    assert new > stored[2]
    assert [data for _, data in await versions.core.retrieve(INSTANCE)] == [bodies[1]]
    assert await versions.revert(new) == new
    for version, body in zip(stored, bodies, strict=True):
        assert [data for _, data in await versions.core.retrieve(INSTANCE, version=version)] == [body]
    latest = (await versions.core.changes())[-1]
    assert (latest.version, latest.instance.sop_instance_uid) == (new, "1.2.3.4.5")


async def test_every_form_of_a_version_can_be_retrieved(versions: Versions) -> None:
    frames = [bytes([number]) * 256 for number in range(3)]
    first, _ = await versions.store(content("one", frames=frames), content("two"))
    core, version = versions.core, {"version": first}
    state, [metadata] = await core.metadata(INSTANCE, **version)
    assert (state.max_version, state.instance_count) == (first, 1)
    assert orjson.loads(metadata)["00100010"]["Value"] == [{"Alphabetic": "one"}]
    assert (await core.metadata(INSTANCE, known_state=state, **version))[1] == []
    assert (await core.bulk_data(INSTANCE, "7FE00010", **version))[1] == b"".join(frames)
    assert [data for _, data in await core.all_bulk_data(INSTANCE, **version)] == frames
    assert [data for _, data in await core.frames(INSTANCE, [2, 1], **version)] == [frames[1], frames[0]]


async def test_differences_name_the_attributes_and_their_values(versions: Versions) -> None:
    old, new = await versions.store(
        content("one", PatientID="1", SeriesDescription="CT", frames=[bytes(256)] * 8),
        content("two", PatientID="1", StudyDescription="added", frames=[bytes(255) + b"x"] * 8),
    )
    found = {one.keyword: one for one in await versions.compare(old, new)}
    assert {keyword: one.kind for keyword, one in found.items()} == {
        "SeriesDescription": REMOVED,
        "StudyDescription": ADDED,
        "PatientName": CHANGED,
        "PixelData": CHANGED,
    }
    name = found["PatientName"]
    assert (name.path, name.vr) == ("00100010", "PN")
    assert orjson.loads(name.before)["Value"] == [{"Alphabetic": "one"}]
    assert orjson.loads(name.after)["Value"] == [{"Alphabetic": "two"}]
    assert found["StudyDescription"].before == b""
    assert await versions.compare(0, new) == list(found.values())
    assert await versions.compare(new, new) == []
    assert [one.kind for one in await versions.compare(new, old) if one.keyword == "SeriesDescription"] == [ADDED]


async def test_items_of_sequences_are_compared_by_position(versions: Versions) -> None:
    def body(*codes: str) -> bytes:
        items = [element(0x00080050, "SH", code.encode()) for code in codes]
        uids = {keyword: padded_uid(uid) for keyword, uid in UIDS.items()}
        return part10_of([*required_elements(**uids), sequence(0x00400275, items)])

    old, new = await versions.store(body("A ", "B ", "C "), body("A ", "X "))
    found = await versions.compare(old, new)
    assert [(one.path, one.keyword, one.kind) for one in found] == [
        ("00400275/2/00080050", "AccessionNumber", CHANGED),
        ("00400275/3", "RequestAttributesSequence", REMOVED),
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 99}, "VERSION_NOT_FOUND"),
        ({"version": -1}, "INVALID_FIELD"),
        ({}, "INVALID_FIELD"),
        ({"version": 1, "instance": Ref(study_instance_uid="1.2.9")}, "INVALID_FIELD"),
        ({"version": 1, "instance": INSTANCE, "series": "9"}, "SERIES_NOT_FOUND"),
        ({"version": 1, "reason": "a\nb"}, "INVALID_FIELD"),
    ],
)
async def test_a_version_that_does_not_exist_is_an_error(
    versions: Versions, fields: dict[str, Any], reason: str
) -> None:
    await versions.store(content("one"))
    instance = Address()
    instance.CopyFrom(fields.get("instance", INSTANCE))
    instance.series_instance_uid = fields.pop("series", instance.series_instance_uid)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await versions.stub.RevertInstance(pb.RevertInstanceRequest(**{**fields, "instance": instance}))
    assert reason_of(caught.value) == reason
    if "reason" not in fields:
        comparing = versions.stub.CompareVersions(pb.CompareVersionsRequest(**{**fields, "instance": instance}))
        assert await stream_reason(comparing) == reason


async def test_reverting_respects_the_quota(tmp_path: Path) -> None:
    body = content("one", frames=[bytes(1000)] * 20)
    async with a_core(tmp_path, partition_quotas={"*": 2 * len(body) + 100}) as core:
        versions = Versions(core)
        first, _ = await versions.store(body, content("two", frames=[bytes(1000)] * 20))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await versions.revert(first)
        assert reason_of(caught.value) == "QUOTA_EXCEEDED"
        assert len((await versions.page()).versions) == 2


async def test_reverting_to_damaged_bytes_changes_nothing(versions: Versions) -> None:
    first, second = await versions.store(content("one", frames=[b"pixels" * 10_000] * 50), content("two"))
    for path in versions.core.data.rglob("*"):
        if path.is_file() and b"pixels" in (data := path.read_bytes()):
            path.write_bytes(data.replace(b"pixels", b"PIXELS", 1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await versions.revert(first)
    assert reason_of(caught.value) == "BLOB_DAMAGED"
    assert [head.version for head, _ in await versions.core.retrieve(INSTANCE)] == [second]
