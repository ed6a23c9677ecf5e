"""Share links at the core: what can be done with their tokens, and by whom they are administered."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from dicomstore.v1 import (
    change_feed_service_pb2,
    change_feed_service_pb2_grpc,
    delete_service_pb2,
    partition_service_pb2,
    retrieve_service_pb2,
    search_service_pb2,
    share_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from dicomstore.v1 import share_service_pb2 as pb
from dicomstore.v1.errors_pb2 import ERROR_REASON_INSTANCE_ALREADY_EXISTS
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION, Address
from google.protobuf.duration_pb2 import Duration

from tests.core import CoreClient, reason_of, store_requests, stream_reason
from tests.data import part10
from tests.integration.conftest import a_core

READ, UPLOAD = pb.SHARE_PURPOSE_READ, pb.SHARE_PURPOSE_UPLOAD
WARD = "ward"
UIDS = {
    "1.1": {"1.1.1": ["1.1.1.1", "1.1.1.2"], "1.1.2": ["1.1.2.1"]},
    "1.2": {"1.2.1": ["1.2.1.1"]},
}
IMAGE = part10(StudyInstanceUID="1.9")
STUDY, SERIES, INSTANCE = (
    Address(partition=WARD, study_instance_uid="1.1"),
    Address(partition=WARD, study_instance_uid="1.1", series_instance_uid="1.1.1"),
    Address(partition=WARD, study_instance_uid="1.1", series_instance_uid="1.1.1", sop_instance_uid="1.1.1.1"),
)


class Links:
    """The service for share links of a core."""

    def __init__(self, core: CoreClient) -> None:
        self.core = core
        self.stub = share_service_pb2_grpc.ShareServiceStub(core.channel)

    async def create(self, scope: Address, purpose: Any = READ, **fields: Any) -> Any:
        """Create a link; return the response."""
        return await self.stub.CreateShareLink(pb.CreateShareLinkRequest(purpose=purpose, scope=scope, **fields))

    async def page(self, **fields: Any) -> Any:
        """Return a page of links."""
        return await self.stub.ListShareLinks(pb.ListShareLinksRequest(**fields))

    async def revoke(self, link_id: str) -> None:
        """Revoke a link."""
        await self.stub.RevokeShareLink(pb.RevokeShareLinkRequest(id=link_id))

    async def search(self, token: str, level: Any, scope: Address | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Search with a token; return the matches."""
        request = search_service_pb2.SearchRequest(level=level, scope=scope or Address(partition=WARD), **fields)
        answer = await self.core.search_stub.Search(request, metadata=bearer(token))
        assert answer.total_count in (0, len(answer.matches))
        return [orjson.loads(match.dicom_json) for match in answer.matches]


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)


async def reason(call: Any) -> str:
    """Return the reason of a unary call, which must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


def content_of(folder: Path) -> bytes:
    """Return the content of all files in a folder, except that of its subfolders."""
    return b"".join(path.read_bytes() for path in folder.glob("*") if path.is_file())


@pytest.fixture
async def links(tmp_path: Path) -> AsyncIterator[Links]:
    """A core with two studies in one partition."""
    async with a_core(tmp_path, partitions=True) as core:
        files = [
            part10(
                StudyInstanceUID=study,
                SeriesInstanceUID=series,
                SOPInstanceUID=instance,
                PatientName="Doe^Jane",
                Modality="CT" if series == "1.1.1" else "SR",
                StudyDescription="of the study",
            )
            for study, of_study in UIDS.items()
            for series, instances in of_study.items()
            for instance in instances
        ]
        await core.stored(*files, address=Address(partition=WARD), create_partition=True)
        yield Links(core)


STUDY_LEVEL = search_service_pb2.QUERY_LEVEL_STUDY
SERIES_LEVEL = search_service_pb2.QUERY_LEVEL_SERIES
INSTANCE_LEVEL = search_service_pb2.QUERY_LEVEL_INSTANCE
UID_TAGS = {STUDY_LEVEL: "0020000D", SERIES_LEVEL: "0020000E", INSTANCE_LEVEL: "00080018"}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (STUDY, [{"1.1"}, {"1.1.1", "1.1.2"}, {"1.1.1.1", "1.1.1.2", "1.1.2.1"}]),
        (SERIES, [{"1.1"}, {"1.1.1"}, {"1.1.1.1", "1.1.1.2"}]),
        (INSTANCE, [{"1.1"}, {"1.1.1"}, {"1.1.1.1"}]),
    ],
)
async def test_a_search_shows_only_what_is_shared(links: Links, scope: Address, expected: list[set[str]]) -> None:
    token = (await links.create(scope)).token
    for level, uids in zip(UID_TAGS, expected, strict=True):
        uid = UID_TAGS[level]
        names = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"][: level - STUDY_LEVEL + 1]
        for fields in ({}, {"total_count": True}, {"terms": [{"attribute": "PatientName", "values": ["doe*"]}]}):
            found = await links.search(token, level, include_attributes=names, **fields)
            assert {match[uid]["Value"][0] for match in found} == uids
        for terms in (
            [{"attribute": "StudyInstanceUID", "values": ["1.2"]}],
            [{"attribute": "PatientName", "values": ["roe*"]}],
        ):
            assert await links.search(token, level, terms=terms, total_count=True) == []


@pytest.mark.parametrize(
    ("scope", "series_count", "instance_count", "modalities"),
    [(STUDY, 2, 3, ["CT", "SR"]), (SERIES, 1, 2, ["CT"]), (INSTANCE, 1, 1, ["CT"])],
)
async def test_counts_do_not_reveal_what_is_not_shared(
    links: Links, scope: Address, series_count: int, instance_count: int, modalities: list[str]
) -> None:
    token = (await links.create(scope)).token
    names = ["NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy", "ContentDate"]
    [study] = await links.search(token, STUDY_LEVEL, include_attributes=[*names, "SOPInstanceUID", "StudyDescription"])
    assert study["00201206"]["Value"] == [series_count]
    assert study["00201208"]["Value"] == [instance_count]
    assert study["00080061"]["Value"] == modalities
    assert study["00081030"]["Value"] == ["of the study"]
    assert scope == STUDY or "00080018" not in study
    of_series = Address(partition=WARD, study_instance_uid="1.1")
    found = await links.search(
        token, SERIES_LEVEL, of_series, include_attributes=["SeriesInstanceUID", "NumberOfSeriesRelatedInstances"]
    )
    counts = {match["0020000E"]["Value"][0]: match["00201209"]["Value"][0] for match in found}
    assert counts == ({"1.1.1": 2, "1.1.2": 1} if scope == STUDY else {"1.1.1": min(instance_count, 2)})


@pytest.mark.parametrize("scope", [SERIES, INSTANCE])
@pytest.mark.parametrize("level", list(UID_TAGS))
async def test_conditions_do_not_reveal_what_is_not_shared(links: Links, scope: Address, level: Any) -> None:
    token = (await links.create(scope)).token
    for modality, is_found in (("CT", True), ("SR", False), ("C?", True), ("", True)):
        terms = [{"attribute": "ModalitiesInStudy", "values": [modality]}]
        found = await links.search(token, level, terms=terms, total_count=True)
        assert bool(found) == is_found, modality


async def test_a_token_reads_only_what_is_shared(links: Links) -> None:
    token = (await links.create(SERIES)).token
    stub = links.core.retrieve_stub

    def instances(resource: Address) -> Any:
        return stub.RetrieveInstances(
            retrieve_service_pb2.RetrieveInstancesRequest(resource=resource), metadata=bearer(token)
        )

    assert len([message async for message in instances(INSTANCE)]) > 0
    assert await stream_reason(instances(Address(partition=WARD, study_instance_uid="1.2"))) == "STUDY_NOT_FOUND"
    sibling = Address(partition=WARD, study_instance_uid="1.1", series_instance_uid="1.1.2")
    assert await stream_reason(instances(sibling)) == "SERIES_NOT_FOUND"
    elsewhere = Address(partition="Microsoft.Default", study_instance_uid="1.1")
    assert await stream_reason(instances(elsewhere)) == "PARTITION_NOT_PERMITTED"


@pytest.mark.parametrize("purpose", [READ, UPLOAD])
async def test_a_token_permits_nothing_else(links: Links, purpose: Any) -> None:
    scope = STUDY if purpose == READ else Address(partition=WARD)
    created = await links.create(scope, purpose)
    sent = bearer(created.token)
    changes = change_feed_service_pb2_grpc.ChangeFeedServiceStub(links.core.channel)
    calls: list[Any] = [
        changes.ListChanges(change_feed_service_pb2.ListChangesRequest(), metadata=sent),
        links.core.delete_stub.DeleteInstances(
            delete_service_pb2.DeleteInstancesRequest(resource=STUDY), metadata=sent
        ),
        links.core.partition_stub.ListPartitions(partition_service_pb2.ListPartitionsRequest(), metadata=sent),
        links.stub.ListShareLinks(pb.ListShareLinksRequest(), metadata=sent),
        links.stub.RevokeShareLink(pb.RevokeShareLinkRequest(id=created.link.id), metadata=sent),
        links.stub.CreateShareLink(pb.CreateShareLinkRequest(purpose=READ, scope=STUDY), metadata=sent),
    ]
    assert {await reason(call) for call in calls} == {"PERMISSION_DENIED"}
    if purpose == READ:
        # Without messages: a call that is refused during a write has a status of the client instead of the server's.
        storing = links.core.store_stub.StoreInstances(iter(()), metadata=sent)
        assert await stream_reason(storing) == "PERMISSION_DENIED"
    else:
        request = search_service_pb2.SearchRequest(level=STUDY_LEVEL, scope=Address(partition=WARD))
        assert await reason(links.core.search_stub.Search(request, metadata=sent)) == "PERMISSION_DENIED"


async def test_an_upload_link_stores_into_its_partition_only(links: Links) -> None:
    token = (await links.create(Address(partition=WARD), UPLOAD)).token

    def storing(partition: str, *files: bytes) -> Any:
        requests = store_requests(files, address=Address(partition=partition), create_partition=True)
        return links.core.store_stub.StoreInstances(requests, metadata=bearer(token))

    [answer] = [answer async for answer in storing(WARD, part10(StudyInstanceUID="1.9"))]
    assert answer.outcomes[0].WhichOneof("outcome") == "stored"
    assert await stream_reason(storing("other")) == "PARTITION_NOT_PERMITTED"


async def test_an_upload_link_replaces_nothing(links: Links) -> None:
    token = (await links.create(Address(partition=WARD), UPLOAD)).token
    update = partition_service_pb2.UpdatePartitionRequest(name=WARD, duplicates=DUPLICATE_POLICY_NEW_VERSION)
    await links.core.partition_stub.UpdatePartition(update)
    other = part10(
        StudyInstanceUID=INSTANCE.study_instance_uid,
        SeriesInstanceUID=INSTANCE.series_instance_uid,
        SOPInstanceUID=INSTANCE.sop_instance_uid,
    )

    def storing(*files: bytes, **header: Any) -> Any:
        requests = store_requests(files, address=Address(partition=WARD), **header)
        return links.core.store_stub.StoreInstances(requests, metadata=bearer(token))

    assert await stream_reason(storing(duplicates=DUPLICATE_POLICY_NEW_VERSION)) == "PERMISSION_DENIED"
    [answer] = [answer async for answer in storing(other)]
    assert answer.outcomes[0].failed.reason == ERROR_REASON_INSTANCE_ALREADY_EXISTS
    [stored] = await links.core.stored(other, address=Address(partition=WARD))
    assert stored.replaced_version


async def test_a_link_gives_no_access_to_versions(links: Links) -> None:
    token = (await links.create(INSTANCE)).token
    [(head, _)] = await links.core.retrieve(INSTANCE)
    request = retrieve_service_pb2.RetrieveInstancesRequest(resource=INSTANCE, version=head.version)
    call = links.core.retrieve_stub.RetrieveInstances(request, metadata=bearer(token))
    assert await stream_reason(call) == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("actions", "purpose", "scope"),
    [(["administer", "write"], READ, STUDY), (["administer", "read"], UPLOAD, Address(partition=WARD))],
)
async def test_a_link_has_no_permission_that_its_creator_lacks(
    tmp_path: Path, actions: list[str], purpose: Any, scope: Address
) -> None:
    async with a_core(tmp_path, partitions=True, roles={"clerk": {"actions": actions}}) as core:
        await core.stored(part10(StudyInstanceUID="1.1"), address=Address(partition=WARD), create_partition=True)
        new = token_service_pb2.CreateTokenRequest(name="clerk", roles=["clerk"])
        new.expire_time.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
        secret = (await token_service_pb2_grpc.TokenServiceStub(core.channel).CreateToken(new)).secret
        links = Links(core)
        wanted = pb.CreateShareLinkRequest(purpose=purpose, scope=scope)
        assert await reason(links.stub.CreateShareLink(wanted, metadata=bearer(secret))) == "PERMISSION_DENIED"
        listed = await links.stub.ListShareLinks(pb.ListShareLinksRequest(), metadata=bearer(secret))
        assert not listed.links


async def test_a_revoked_link_is_refused_and_no_longer_listed(links: Links) -> None:
    first, second = [await links.create(scope, label=f"to {number}") for number, scope in enumerate((STUDY, SERIES))]
    page = await links.page(page_size=1)
    rest = await links.page(page_size=1, page_token=page.next_page_token)
    assert [*page.links, *rest.links] == [second.link, first.link]
    assert not rest.next_page_token
    assert len(await links.search(first.token, STUDY_LEVEL)) == 1
    await links.revoke(first.link.id)
    assert await reason(links.search(first.token, STUDY_LEVEL)) == "UNAUTHENTICATED"
    assert [link.label for link in (await links.page()).links] == ["to 1"]
    assert await reason(links.revoke(first.link.id)) == "SHARE_LINK_NOT_FOUND"


async def test_a_link_outlives_a_restart_of_the_core(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        await core.stored(part10(StudyInstanceUID="1.1"))
        created = await Links(core).create(Address(study_instance_uid="1.1"), label="for a colleague")
    async with a_core(tmp_path) as core:
        own = pb.GetOwnShareLinkRequest()
        answer = await Links(core).stub.GetOwnShareLink(own, metadata=bearer(created.token))
        assert created.link.label == "for a colleague"
        created.link.ClearField("label")  # for administrators, as the creator
        created.link.ClearField("creator")
        assert answer.link == created.link
        assert await reason(Links(core).stub.GetOwnShareLink(own)) == "SHARE_LINK_NOT_FOUND"
    assert created.token.encode() not in content_of(tmp_path)


async def test_a_link_expires_after_seven_days_unless_requested_otherwise(links: Links) -> None:
    for fields, expected in (({}, timedelta(days=7)), ({"lifetime": Duration(seconds=90)}, timedelta(seconds=90))):
        link = (await links.create(STUDY, **fields)).link
        lifetime = link.expire_time.ToDatetime(UTC) - datetime.now(UTC)
        assert expected - timedelta(seconds=30) < lifetime <= expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"scope": Address(partition=WARD, study_instance_uid="9")}, "STUDY_NOT_FOUND"),
        ({"scope": Address(partition=WARD, study_instance_uid="1.1", series_instance_uid="9")}, "SERIES_NOT_FOUND"),
        ({"scope": Address(partition=WARD)}, "INVALID_FIELD"),
        ({"scope": Address(partition="nowhere"), "purpose": UPLOAD}, "PARTITION_NOT_FOUND"),
        ({"scope": STUDY, "purpose": UPLOAD}, "INVALID_FIELD"),
        ({"scope": STUDY, "purpose": pb.SHARE_PURPOSE_UNSPECIFIED}, "INVALID_FIELD"),
        ({"scope": STUDY, "lifetime": Duration(seconds=31 * 86400)}, "INVALID_FIELD"),
        ({"scope": STUDY, "lifetime": Duration()}, "INVALID_FIELD"),
        ({"scope": STUDY, "label": "x" * 201}, "INVALID_FIELD"),
        ({"scope": STUDY, "label": "\x1b[2J"}, "INVALID_FIELD"),
    ],
)
async def test_an_invalid_link_is_not_created(links: Links, fields: dict[str, Any], expected: str) -> None:
    assert await reason(links.create(**fields)) == expected
    assert not (await links.page()).links


async def test_share_links_can_be_disabled(tmp_path: Path) -> None:
    async with a_core(tmp_path, share_max_days=0) as core:
        await core.stored(part10(StudyInstanceUID="1.1"))
        assert await reason(Links(core).create(Address(study_instance_uid="1.1"))) == "INVALID_FIELD"
