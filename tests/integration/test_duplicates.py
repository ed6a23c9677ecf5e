"""Instances whose UIDs are stored already: the policies `reject` and `new-version`."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import errors_pb2
from dicomstore.v1 import partition_service_pb2 as partitions
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION, DUPLICATE_POLICY_REJECT, Address

from tests.core import CoreClient, reason_of, ref_of
from tests.data import part10
from tests.integration.conftest import a_core

UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}
NEW_VERSION = {"duplicates": DUPLICATE_POLICY_NEW_VERSION}
REJECT = {"duplicates": DUPLICATE_POLICY_REJECT}


def named(name: str, **attributes: Any) -> bytes:
    """Return an instance; all have the same UIDs."""
    return part10(PatientName=name, **UIDS, **attributes)


def reasons(outcomes: list[Any]) -> list[str]:
    """Return the reason of each failed item, and "" for stored ones."""
    names = [errors_pb2.ErrorReason.Name(outcome.failed.reason) for outcome in outcomes]
    return [name.removeprefix("ERROR_REASON_").replace("UNSPECIFIED", "") for name in names]


async def test_other_content_becomes_a_new_version_on_request(core: CoreClient) -> None:
    old, new = named("old"), named("new")
    [first] = await core.stored(old)
    [second] = await core.stored(new, **NEW_VERSION)
    assert (first.replaced_version, second.replaced_version) == (0, first.version)
    assert [data for _, data in await core.retrieve(ref_of(second))] == [new]
    for stored, content in ((first, old), (second, new)):
        [(head, data)] = await core.retrieve(ref_of(second), version=stored.version)
        assert (head.version, data) == (stored.version, content)
    assert [entry.version for entry in await core.changes()] == [first.version, second.version]


async def test_identical_content_is_no_new_version(core: CoreClient) -> None:
    same = named("same")
    [first] = await core.stored(same)
    [again] = await core.stored(same, **NEW_VERSION)
    assert again.identical
    assert (again.version, again.replaced_version) == (first.version, 0)
    assert len(await core.changes()) == 1


async def test_identical_content_is_no_failure_where_only_duplicates_are_rejected(tmp_path: Path) -> None:
    async with a_core(tmp_path, identical_instances="reject") as core:
        await core.stored(named("same"))
        [again] = await core.stored(named("same"), **NEW_VERSION)
        assert again.identical


async def test_a_new_version_replaces_damaged_bytes(core: CoreClient) -> None:
    body = named("same", frames=[b"pixels" * 10_000] * 50)
    [first] = await core.stored(body)
    for path in core.data.rglob("*"):
        if path.is_file() and b"pixels" in (content := path.read_bytes()):
            path.write_bytes(content.replace(b"pixels", b"PIXELS", 1))
    [again] = await core.stored(body, **NEW_VERSION)
    assert again.replaced_version == first.version
    assert [data for _, data in await core.retrieve(ref_of(again))] == [body]


async def test_several_versions_in_one_stream_follow_each_other(core: CoreClient) -> None:
    contents = [named(str(number)) for number in range(5)]
    stored = await core.stored(*contents, **NEW_VERSION)
    assert [one.replaced_version for one in stored] == [0, *(one.version for one in stored[:-1])]
    assert [data for _, data in await core.retrieve(ref_of(stored[0]))] == contents[-1:]


async def test_the_policy_of_the_request_precedes_that_of_the_partition_and_that_of_the_server(tmp_path: Path) -> None:
    async with a_core(tmp_path, partitions=True, duplicates="new-version") as core:
        stub = core.partition_stub

        async def store(name: str, **header: Any) -> str:
            address = Address(partition="ward")
            [reason] = reasons(await core.store(named(name), address=address, create_partition=True, **header))
            return reason

        async def set_policy(policy: Any) -> Any:
            return await stub.UpdatePartition(partitions.UpdatePartitionRequest(name="ward", duplicates=policy))

        assert [await store("one"), await store("two")] == ["", ""]
        assert await store("three", **REJECT) == "INSTANCE_ALREADY_EXISTS"
        assert (await set_policy(DUPLICATE_POLICY_REJECT)).partition.duplicates == DUPLICATE_POLICY_REJECT
        listed = await stub.ListPartitions(partitions.ListPartitionsRequest())
        assert [one.duplicates for one in listed.partitions] == [0, DUPLICATE_POLICY_REJECT]
        assert await store("three") == "INSTANCE_ALREADY_EXISTS"
        assert await store("three", **NEW_VERSION) == ""
        await set_policy(0)
        assert await store("four") == ""


async def test_the_default_partition_has_a_policy_without_the_feature(core: CoreClient) -> None:
    await core.stored(named("one"))
    update = partitions.UpdatePartitionRequest(duplicates=DUPLICATE_POLICY_NEW_VERSION)
    assert (await core.partition_stub.UpdatePartition(update)).partition.name == "Microsoft.Default"
    assert (await core.stored(named("two")))[0].replaced_version


async def test_an_unknown_partition_or_policy_is_an_error(partitioned_core: CoreClient) -> None:
    for fields, reason in (({"name": "nowhere"}, "PARTITION_NOT_FOUND"), ({"duplicates": 9}, "INVALID_FIELD")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await partitioned_core.partition_stub.UpdatePartition(
                partitions.UpdatePartitionRequest(**{"name": "Microsoft.Default", **fields})
            )
        assert reason_of(caught.value) == reason


@pytest.mark.parametrize("reason", ["x" * 501, "a\tb"])
async def test_an_invalid_reason_is_refused(core: CoreClient, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await core.store(named("one"), reason=reason)
    assert reason_of(caught.value) == "INVALID_FIELD"


@pytest.mark.parametrize("header", [NEW_VERSION, REJECT], ids=["new-version", "reject"])
async def test_of_concurrent_writers_one_stores_and_the_others_follow_the_policy(
    core: CoreClient, header: dict[str, Any]
) -> None:
    contents = {named(str(number)) for number in range(16)}
    outcomes = [outcome for [outcome] in await asyncio.gather(*(core.store(one, **header) for one in contents))]
    stored = [outcome.stored for outcome in outcomes if outcome.HasField("stored")]
    if header is REJECT:
        assert sorted(reasons(outcomes)) == [""] + ["INSTANCE_ALREADY_EXISTS"] * 15
    else:
        assert len({one.version for one in stored}) == len(contents)
        assert {one.replaced_version for one in stored} == {0, *sorted(one.version for one in stored)[:-1]}
    latest = max(stored, key=lambda one: one.version)
    current = await core.retrieve(ref_of(latest))
    assert [head.version for head, _ in current] == [latest.version]
    kept = [(await core.retrieve(ref_of(latest), version=one.version))[0][1] for one in stored]
    assert set(kept) == (contents if header is NEW_VERSION else {current[0][1]})
