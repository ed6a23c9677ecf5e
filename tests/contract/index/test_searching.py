"""Levels, scopes, and the contents of matches."""

import dataclasses

import pytest

from server.model.ids import Address, PartitionName
from server.model.search.query import MAX_METADATA, Condition, Equals, Level, Like, Matcher
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, modality, sample, series_ref, study_ref, text, uid
from tests.contract.index.searches import search, studies


async def test_any_value_of_a_request_attribute_may_match(index: InstanceIndex) -> None:
    key = "RequestAttributesSequence.ScheduledProcedureStepID"
    await index.add([sample(1, 1, series_keys={key: "step1\\other"}), sample(1, 2, series_keys={key: "step2"})], NOON)

    async def found(matcher: Matcher) -> list[str | None]:
        return [m.resource.series for m in await search(index, Condition(key, (matcher,)), level=Level.SERIES)]

    assert await found(Equals(("other",))) == [uid(1, 1)]
    assert await found(Like("st*1")) == [uid(1, 1)]
    assert await found(Like("step?")) == [uid(1, 2), uid(1, 1)]
    assert await found(Like("s*o*r")) == []
    assert await found(Equals(("step1\\other",))) == []
    await index.add([sample(1, 1, 2, series_keys={key: "new"})], NOON)
    assert await found(Equals(("step1",))) == []
    assert await found(Equals(("new",))) == [uid(1, 1)]


async def test_modalities_in_study_matches_any_series(index: InstanceIndex) -> None:
    await index.add(
        [sample(1, 1, **modality("CT")), sample(1, 2, **modality("PT")), sample(2, 1, **modality("MR")), sample(3)],
        NOON,
    )
    assert await studies(index, "ModalitiesInStudy", Equals(("pt",))) == [1]
    assert await studies(index, "ModalitiesInStudy", Equals(("pt", "mr"))) == [1, 2]
    assert await studies(index, "ModalitiesInStudy", Like("?t")) == [1]
    for level, count in ((Level.SERIES, 2), (Level.INSTANCE, 2)):
        found = await search(index, Condition("ModalitiesInStudy", (Equals(("pt",)),)), level=level)
        assert [match.resource.study for match in found] == [uid(1)] * count


async def test_conditions_on_levels_above_restrict_the_levels_below(index: InstanceIndex) -> None:
    await index.add(
        [
            sample(study, series, n, study_keys={"PatientID": f"p{study}"}, **modality(("CT", "MR")[series - 1]))
            for study in (1, 2)
            for series in (1, 2)
            for n in (1, 2)
        ],
        NOON,
    )
    conditions = (Condition("PatientID", (Equals(("p2",)),)), Condition("Modality", (Equals(("mr",)),)))
    series = await search(index, *conditions, level=Level.SERIES)
    instances = await search(index, *conditions, level=Level.INSTANCE)
    assert [match.resource for match in series] == [series_ref(2, 2)]
    assert [match.resource for match in instances] == [identity(2, 2, 2).address, identity(2, 2, 1).address]


@pytest.mark.parametrize(
    ("level", "scope", "found"),
    [
        (Level.STUDY, EVERYTHING, 2),
        (Level.STUDY, study_ref(2), 1),
        (Level.SERIES, EVERYTHING, 4),
        (Level.SERIES, study_ref(2), 2),
        (Level.SERIES, series_ref(2, 1), 1),
        (Level.INSTANCE, EVERYTHING, 8),
        (Level.INSTANCE, study_ref(1), 4),
        (Level.INSTANCE, series_ref(1, 2), 2),
        (Level.INSTANCE, identity(1, 2, 1).address, 1),
        (Level.SERIES, study_ref(3), 0),
        (Level.INSTANCE, series_ref(2, 3), 0),
        (Level.STUDY, Address(PartitionName("nowhere")), 0),
    ],
)
async def test_a_search_stays_within_its_scope(index: InstanceIndex, level: Level, scope: Address, found: int) -> None:
    await index.add([sample(s, e, i) for s in (1, 2) for e in (1, 2) for i in (1, 2)], NOON)
    matches = await search(index, level=level, scope=scope)
    assert len(matches) == found
    for match in matches:
        ours, wanted = dataclasses.astuple(match.resource), dataclasses.astuple(scope)
        assert all(want in (None, have) for have, want in zip(ours, wanted, strict=True) if have is not None)


async def test_a_match_has_the_elements_of_its_level_and_the_levels_above(index: InstanceIndex) -> None:
    study, series, instance = ({f"0010002{n}": text("LO", f"{n}"), "00080005": text("CS", f"{n}")} for n in (1, 2, 3))
    await index.add([sample(study_elements=study, series_elements=series, instance_elements=instance)], NOON)
    expected = [study, study | series, study | series | instance]
    for level, elements in zip(Level, expected, strict=True):
        (match,) = await search(index, level=level)
        assert match.elements == elements


async def test_counts_are_returned_on_request(index: InstanceIndex) -> None:
    await index.add([sample(1, 1, **modality("CT")), sample(1, 2, 1, **modality("SR"))], NOON)
    await index.add([sample(1, 2, 2, **modality("SR")), sample(1, 3, **modality("CT")), sample(2)], NOON)
    bare, full = await search(index, counts=True)
    assert (bare.modalities, bare.series_count, bare.instance_count) == ((), 1, 1)
    assert (full.modalities, full.series_count, full.instance_count) == (("CT", "SR"), 3, 4)
    assert [m.instance_count for m in await search(index, level=Level.SERIES, counts=True)] == [1, 1, 2, 1]
    assert (await search(index))[1].instance_count == 0


async def test_metadata_is_that_of_the_newest_instance_of_the_match(index: InstanceIndex) -> None:
    await index.add([sample(1, s, i, dicom_json=b"{%d}" % (10 * s + i)) for s, i in ((1, 1), (2, 1), (1, 2))], NOON)
    assert [m.metadata for m in await search(index, metadata=True)] == [b"{12}"]
    assert [m.metadata for m in await search(index, level=Level.SERIES, metadata=True)] == [b"{21}", b"{12}"]
    instances = await search(index, level=Level.INSTANCE, metadata=True)
    assert [m.metadata for m in instances] == [b"{12}", b"{21}", b"{11}"]
    assert [m.metadata for m in await search(index)] == [None]


async def test_only_matches_within_the_size_limit_have_metadata(index: InstanceIndex) -> None:
    half, too_much = b" " * (MAX_METADATA // 2), b" " * (MAX_METADATA + 1)
    await index.add([sample(n, dicom_json=json) for n, json in enumerate((b"{}", too_much, half, half), 1)], NOON)
    assert [m.metadata for m in await search(index, metadata=True)] == [half, half, None, None]
    beyond = await search(index, metadata=True, after=(await search(index))[1].key)
    assert [m.metadata for m in beyond] == [too_much, None]


async def test_metadata_and_counts_follow_a_delete(index: InstanceIndex) -> None:
    await index.add([sample(1, 1, n, dicom_json=b"{%d}" % n) for n in (1, 2, 3)], NOON)
    await index.delete(identity(1, 1, 3).address, NOON, NOON)
    (match,) = await search(index, metadata=True, counts=True)
    assert (match.metadata, match.instance_count) == (b"{2}", 2)
