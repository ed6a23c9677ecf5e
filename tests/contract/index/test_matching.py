"""Matching of lists, ranges and wildcards with any characters."""

import dataclasses

import pytest

from server.model.errors import InvalidRequest, Reason
from server.model.ids import Address
from server.model.search.query import Between, Condition, Equals, Level, Like, NameMatches, NameWords
from server.ports.index import InstanceIndex
from tests.contract.index.samples import NOON, identity, sample, uid
from tests.contract.index.searches import search, store_values, studies


@pytest.mark.parametrize(
    "key",
    [
        "PatientID",
        "PatientBirthDate",
        "AccessionNumber",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "StudyDescription",
    ],
)
async def test_each_search_key_of_studies_can_be_searched(index: InstanceIndex, key: str) -> None:
    await store_values(index, key, "10", "20", "30")
    assert await studies(index, key, Equals(("20",))) == [2]
    assert await studies(index, key, Equals(("30", "10", "40"))) == [1, 3]
    assert await studies(index, key, Between("20", None)) == [2, 3]
    assert await studies(index, key, Like("?0")) == [1, 2, 3]


@pytest.mark.parametrize(
    "key",
    [
        "Modality",
        "SeriesNumber",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "ManufacturerModelName",
        "SeriesDescription",
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "RequestAttributesSequence.RequestedProcedureID",
    ],
)
async def test_each_search_key_of_series_can_be_searched(index: InstanceIndex, key: str) -> None:
    await index.add([sample(1, n, series_keys={key: f"{n}0"}) for n in (1, 2, 3)], NOON)
    for level in (Level.SERIES, Level.INSTANCE):
        found = await search(index, Condition(key, (Equals(("20",)), Like("3*"))), level=level)
        assert [match.resource.series for match in found] == [uid(1, 3), uid(1, 2)]


async def test_instances_can_be_searched_by_number_and_sop_class(index: InstanceIndex) -> None:
    await index.add(
        [sample(instance=n, instance_keys={"InstanceNumber": f"{n}"}, sop_class_uid=f"1.2.{n % 2}") for n in (1, 2, 3)],
        NOON,
    )
    by_number = await search(index, Condition("InstanceNumber", (Equals(("2",)),)), level=Level.INSTANCE)
    by_class = await search(index, Condition("SOPClassUID", (Equals(("1.2.1",)),)), level=Level.INSTANCE)
    assert [match.resource for match in by_number] == [identity(instance=2).address]
    assert [match.resource for match in by_class] == [identity(instance=3).address, identity(instance=1).address]


async def test_each_level_can_be_searched_by_uid(index: InstanceIndex) -> None:
    await index.add([sample(s, e, i) for s in (1, 2) for e in (1, 2) for i in (1, 2)], NOON)
    wanted = identity(2, 1, 2)
    uids = {"StudyInstanceUID": wanted.study, "SeriesInstanceUID": wanted.series, "SOPInstanceUID": wanted.instance}
    conditions = [Condition(key, (Equals(("9.9", value)),)) for key, value in uids.items()]
    for number, level in enumerate(Level, start=1):
        (match,) = await search(index, *conditions[:number], level=level)
        assert match.resource == Address(*dataclasses.astuple(wanted.address)[: number + 1])


async def test_between_is_inclusive_and_does_not_match_empty_values(index: InstanceIndex) -> None:
    await store_values(index, "StudyDate", "20200101", "20200102", "20200103", "20200104")
    await index.add([sample(9)], NOON)
    assert await studies(index, "StudyDate", Between("20200102", "20200103")) == [2, 3]
    assert await studies(index, "StudyDate", Between(None, "20200102")) == [1, 2]
    assert await studies(index, "StudyDate", Between("20200104", None)) == [4]
    assert await studies(index, "StudyDate", Between(None, None)) == [1, 2, 3, 4]


async def test_one_matcher_of_every_condition_must_match(index: InstanceIndex) -> None:
    await index.add(
        [sample(n, study_keys={"PatientID": f"p{n}", "StudyDate": f"2020010{n}"}) for n in range(1, 6)],
        NOON,
    )
    found = await search(
        index,
        Condition("PatientID", (Equals(("p1",)), Like("p2*"), Between("p4", None))),
        Condition("StudyDate", (Between("20200102", "20200104"),)),
    )
    assert [match.resource.study for match in found] == [uid(4), uid(2)]


async def test_a_condition_without_matchers_matches_nothing(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    assert await studies(index, "PatientID") == []
    assert await studies(index, "PatientID", Equals(())) == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a*", [1, 2, 3, 4]),
        ("*a", [1, 3]),
        ("*b*", [2, 3, 4, 5]),
        ("a?", [2]),
        ("a?a", [3]),
        ("?", [1]),
        ("a*b*", [2, 3, 4]),
        ("*", [1, 2, 3, 4, 5]),
        ("**", [1, 2, 3, 4, 5]),
        ("?*?", [2, 3, 4, 5]),
        ("ab", [2]),
        ("A*", []),
    ],
)
async def test_wildcards(index: InstanceIndex, pattern: str, found: list[int]) -> None:
    await store_values(index, "PatientID", "a", "ab", "aba", "abab", "bb")
    assert await studies(index, "PatientID", Like(pattern)) == found


SPECIAL = ["100%", "100_", "100x", "a\\b", "axb", "a!b", "[ab]", "a", "'; drop table studies --", "$1", ":x", "%s"]


@pytest.mark.parametrize("number", range(1, len(SPECIAL) + 1))
async def test_special_characters_of_databases_are_literal(index: InstanceIndex, number: int) -> None:
    await store_values(index, "PatientID", *SPECIAL)
    value = SPECIAL[number - 1]
    assert await studies(index, "PatientID", Equals((value,))) == [number]
    assert await studies(index, "PatientID", Like(value)) == [number]
    begins = [n for n, other in enumerate(SPECIAL, start=1) if other.startswith(value)]
    assert await studies(index, "PatientID", Like(f"{value}*")) == begins
    contains = [n for n, other in enumerate(SPECIAL, start=1) if value in other]
    assert await studies(index, "PatientID", Like(f"*{value}*")) == contains


async def test_wildcard_characters_are_literal_outside_of_patterns(index: InstanceIndex) -> None:
    await store_values(index, "PatientID", "a*", "a?", "ab", "abc")
    assert await studies(index, "PatientID", Equals(("a*",))) == [1]
    assert await studies(index, "PatientID", Between("a*", "a?")) == [1, 2]
    await index.add([sample(9, study_keys={"PatientName": "a* b?"})], NOON)
    assert await studies(index, "PatientName", NameWords(("a*", "b?"))) == [9]
    assert await studies(index, "PatientName", NameWords(("a", "bx"))) == []


@pytest.mark.parametrize("last", ["z", "\x7f", "\ud7ff", "\uffff", "\U0010ffff", "字", "é"])
async def test_a_trailing_wildcard_matches_the_prefix(index: InstanceIndex, last: str) -> None:
    await store_values(index, "PatientID", f"a{last}", f"a{last}\U0010ffff", f"a{last}a", "a", f"b{last}")
    assert await studies(index, "PatientID", Like(f"a{last}*")) == [1, 2, 3]


async def test_text_is_compared_by_code_point(index: InstanceIndex) -> None:
    await store_values(index, "PatientID", "z", "ä", "\uffff", "\U00010000")
    assert await studies(index, "PatientID", Between("z", "ä")) == [1, 2]
    assert await studies(index, "PatientID", Between("\uffff", None)) == [3, 4]


async def test_more_values_than_a_statement_supports_are_refused(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    many = Equals(tuple(f"1.{n}" for n in range(2000)))
    assert await studies(index, "StudyInstanceUID", many, Equals((uid(1),))) == [1]
    with pytest.raises(InvalidRequest) as caught:
        await studies(index, "StudyInstanceUID", *[many] * 6)
    assert caught.value.reason is Reason.INVALID_QUERY
    with pytest.raises(InvalidRequest):
        await studies(index, "PatientID", *(Like(f"{n}*") for n in range(1000)))


async def test_a_hundred_patterns_for_each_of_two_names_are_supported(index: InstanceIndex) -> None:
    await store_values(index, "PatientName", "doe", "roe")
    patterns = NameMatches((*(f"x{n}*" for n in range(99)), "ro*"))
    assert await studies(index, "PatientName", patterns) == [2]


async def test_a_pattern_of_any_length_is_supported(index: InstanceIndex) -> None:
    await store_values(index, "PatientID", "a" * 100)
    assert await studies(index, "PatientID", Like("*a" * 100)) == [1]
    assert await studies(index, "PatientID", Like("*a" * 100_000)) == []
    assert await studies(index, "PatientID", Like("*" * 100_000)) == [1]
