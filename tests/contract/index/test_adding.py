"""The guarantees of `InstanceIndex.add`."""

from dataclasses import replace

import pytest

from server.model.errors import NotFound, Reason
from server.model.ids import DEFAULT_PARTITION, InstanceId, PartitionName
from server.model.instance import Added, AlreadyStored, LevelAttributes, NewInstance, ResourceState, StoredInstance
from server.model.search.query import Condition, Equals, Level, Match, NameMatches, Query
from server.ports.index import ChangeLog, InstanceIndex
from tests.contract.index.samples import (
    EVERYTHING,
    NOON,
    identity,
    modality,
    sample,
    series_ref,
    study_ref,
    text,
    uid,
)


async def only_study(index: InstanceIndex) -> Match:
    (match,) = await index.search(Query(Level.STUDY, EVERYTHING, (), limit=2, counts=True))
    return match


async def has_study(index: InstanceIndex, key: str, value: str) -> bool:
    matcher = NameMatches((value,)) if key == "PatientName" else Equals((value,))
    condition = Condition(key, (matcher,))
    return bool(await index.search(Query(Level.STUDY, EVERYTHING, (condition,), limit=1)))


async def test_an_added_instance_is_found_with_its_blob_metadata_frames_and_bulk_data(index: InstanceIndex) -> None:
    new = sample()
    (outcome,) = await index.add([new], NOON)
    assert isinstance(outcome, Added)
    assert await index.find(new.id.address) == [
        StoredInstance(
            id=new.id,
            version=outcome.version,
            sop_class_uid=new.sop_class_uid,
            transfer_syntax_uid=new.transfer_syntax_uid,
            size_bytes=new.size_bytes,
            crc32c=new.crc32c,
            locator=new.locator,
        )
    ]


async def test_outcomes_are_in_the_order_of_the_instances_and_versions_ascend(index: InstanceIndex) -> None:
    outcomes = await index.add([sample(instance=n) for n in (3, 1, 2)], NOON)
    versions = [outcome.version for outcome in outcomes if isinstance(outcome, Added)]
    assert len(versions) == 3
    assert versions == sorted(versions)
    stored = await index.find(study_ref())
    assert [instance.id for instance in stored] == [identity(instance=n) for n in (3, 1, 2)]


async def test_adding_nothing_changes_nothing(index: InstanceIndex, changes: ChangeLog) -> None:
    assert await index.add([], NOON) == []
    assert await changes.latest(metadata=False) is None


async def test_an_existing_identity_is_reported_and_not_changed(index: InstanceIndex) -> None:
    first = sample(study_keys={"PatientID": "first"})
    await index.add([first], NOON)
    (before,) = await index.find(first.id.address)
    outcomes = await index.add([sample(study_keys={"PatientID": "second"})], NOON)
    assert outcomes == [AlreadyStored(before)]
    assert await index.find(first.id.address) == [before]
    assert await has_study(index, "PatientID", "first")
    assert not await has_study(index, "PatientID", "second")


async def test_of_two_instances_with_one_identity_in_a_batch_the_first_is_added(index: InstanceIndex) -> None:
    first, second = sample(), sample()
    added, refused = await index.add([first, second], NOON)
    assert isinstance(added, Added)
    assert isinstance(refused, AlreadyStored)
    assert refused.existing.version == added.version
    assert refused.existing.locator == first.locator


async def test_a_repeated_batch_leaves_no_trace(index: InstanceIndex, changes: ChangeLog) -> None:
    batch = [sample(instance=n) for n in range(1, 4)]
    await index.add(batch, NOON)
    latest, state = await changes.latest(metadata=True), await index.state(study_ref())
    await index.add([sample(instance=n) for n in range(1, 4)], NOON)
    assert await changes.latest(metadata=True) == latest
    assert await index.state(study_ref()) == state


async def test_a_batch_may_contain_new_and_existing_instances(index: InstanceIndex) -> None:
    await index.add([sample(instance=1)], NOON)
    outcomes = await index.add([sample(instance=2), sample(instance=1), sample(2)], NOON)
    assert [type(outcome) for outcome in outcomes] == [Added, AlreadyStored, Added]


async def test_an_instance_uid_may_occur_in_two_series_and_two_studies(index: InstanceIndex) -> None:
    ids = [InstanceId(DEFAULT_PARTITION, uid(study), uid(series), uid(7)) for study, series in ((1, 1), (1, 2), (2, 1))]
    outcomes = await index.add([sample(id=id) for id in ids], NOON)
    assert all(isinstance(outcome, Added) for outcome in outcomes)
    for id in ids:
        assert [stored.id for stored in await index.find(id.address)] == [id]


async def test_an_unknown_partition_is_refused_and_nothing_of_the_batch_is_added(index: InstanceIndex) -> None:
    with pytest.raises(NotFound) as caught:
        await index.add([sample(), sample(partition=PartitionName("nowhere"))], NOON)
    assert caught.value.reason is Reason.PARTITION_NOT_FOUND
    assert await index.find(study_ref()) == []


async def test_a_later_value_overwrites_and_an_empty_one_does_not(index: InstanceIndex) -> None:
    await index.add([sample(instance=1)], NOON)
    await index.add([sample(instance=2, study_keys={"PatientID": "p1", "StudyID": "s1"})], NOON)
    await index.add([sample(instance=3, study_keys={"PatientID": "p2"})], NOON)
    assert await has_study(index, "PatientID", "p2")
    assert not await has_study(index, "PatientID", "p1")
    assert await has_study(index, "StudyID", "s1")


async def test_the_latest_value_wins_within_a_batch_too(index: InstanceIndex) -> None:
    await index.add(
        [sample(instance=n, study_keys={"PatientID": f"p{n}"} if n < 3 else {}) for n in range(1, 4)],
        NOON,
    )
    assert await has_study(index, "PatientID", "p2")
    assert not await has_study(index, "PatientID", "p1")


async def test_an_overwritten_name_leaves_no_part_of_the_previous_one(index: InstanceIndex) -> None:
    await index.add([sample(instance=1, study_keys={"PatientName": "yamada^tarou=山田^太郎"})], NOON)
    await index.add([sample(instance=2, study_keys={"PatientName": "doe^john"})], NOON)
    assert await has_study(index, "PatientName", "doe^john")
    assert not await has_study(index, "PatientName", "山田^太郎")


async def test_return_keys_of_study_and_series_have_the_latest_value(index: InstanceIndex) -> None:
    await index.add(
        [
            sample(instance=1, study_elements={"00100020": text("LO", "P1"), "00200010": text("SH", "S1")}),
            sample(instance=2, study_elements={"00100020": text("LO", "P2")}, **modality("CT")),
        ],
        NOON,
    )
    await index.add([sample(instance=3, series_elements={"00200011": {"vr": "IS", "Value": [3]}})], NOON)
    (match,) = await index.search(Query(Level.SERIES, EVERYTHING, (), limit=2))
    assert match.elements == {
        "00100020": text("LO", "P2"),
        "00200010": text("SH", "S1"),
        "00080060": text("CS", "CT"),
        "00200011": {"vr": "IS", "Value": [3]},
    }


def described(instance: int, element: str, key: str | None = None, *, invalid: bool = False) -> NewInstance:
    """Return an instance with a study description."""
    keys = {} if key is None else {"StudyDescription": key}
    tags = {"00081030": tuple(keys)} if invalid else {}
    return replace(sample(instance=instance), study=LevelAttributes(keys, {"00081030": text("LO", element)}, tags))


async def test_an_invalid_value_is_used_if_there_is_no_other(index: InstanceIndex) -> None:
    await index.add([sample(instance=1)], NOON)
    await index.add([described(2, "bad\t", "bad", invalid=True)], NOON)
    assert (await only_study(index)).elements == {"00081030": text("LO", "bad\t")}
    assert await has_study(index, "StudyDescription", "bad")


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("key", ["bad", None])
async def test_an_invalid_value_never_replaces_another_and_is_replaced(
    index: InstanceIndex, together: bool, key: str | None
) -> None:
    new = [
        described(1, "bad 1\t", key, invalid=True),
        described(2, "good", "good"),
        described(3, "bad 3\t", key, invalid=True),
    ]
    for batch in [new] if together else [[one] for one in new]:
        await index.add(batch, NOON)
    assert (await only_study(index)).elements == {"00081030": text("LO", "good")}
    assert await has_study(index, "StudyDescription", "good")


async def test_an_invalid_modality_is_not_a_modality_of_the_study(index: InstanceIndex) -> None:
    bad = LevelAttributes({"Modality": "ct?"}, {"00080060": text("CS", "ct?")}, {"00080060": ("Modality",)})
    await index.add([sample(instance=1, **modality("CT")), replace(sample(instance=2), series=bad)], NOON)
    assert (await only_study(index)).modalities == ("CT",)


async def test_counts_grow_with_every_added_instance(index: InstanceIndex) -> None:
    await index.add([sample(1, 1, 1), sample(1, 1, 2), sample(1, 2, 1)], NOON)
    await index.add([sample(1, 2, 2), sample(1, 3, 1), sample(1, 1, 1)], NOON)
    study = await only_study(index)
    assert (study.series_count, study.instance_count) == (3, 5)
    series = await index.search(Query(Level.SERIES, EVERYTHING, (), limit=9, counts=True))
    assert [match.instance_count for match in series] == [1, 2, 2]


async def test_the_state_has_the_newest_version_and_the_count(index: InstanceIndex) -> None:
    outcomes = await index.add([sample(1, 1, 1), sample(1, 1, 2), sample(1, 2, 1)], NOON)
    first, second, third = (outcome.version for outcome in outcomes if isinstance(outcome, Added))
    assert await index.state(study_ref()) == ResourceState(max_version=third, instance_count=3)
    assert await index.state(series_ref()) == ResourceState(max_version=second, instance_count=2)
    assert await index.state(identity().address) == ResourceState(max_version=first, instance_count=1)


@pytest.mark.parametrize(
    "resource", [study_ref(9), series_ref(1, 9), identity(1, 1, 9).address, study_ref(1, PartitionName("nowhere"))]
)
async def test_an_unknown_resource_has_no_state(index: InstanceIndex, resource: object) -> None:
    await index.add([sample()], NOON)
    assert await index.state(resource) is None  # type: ignore[arg-type]


async def test_values_with_nul_or_of_any_length_are_accepted(index: InstanceIndex) -> None:
    long = "".join(chr(0x4E00 + n) for n in range(20_000))
    await index.add([sample(study_keys={"PatientID": "a\0b", "StudyDescription": long, "PatientName": long})], NOON)
    assert await has_study(index, "PatientID", "a\0b")
    assert await has_study(index, "StudyDescription", long)
    assert await has_study(index, "PatientName", long)


async def test_metadata_is_returned_byte_for_byte(index: InstanceIndex) -> None:
    json = '{"00100010":{"vr":"PN","Value":[{"Alphabetic":"Äneas\\u0000😀"}]}}'.encode()
    await index.add([sample(dicom_json=json)], NOON)
    (item,) = await index.metadata(identity().address, after=0, limit=10)
    assert (item.id, item.dicom_json) == (identity(), json)
