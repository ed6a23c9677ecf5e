"""Orders of values: the pages of a sorted search are the matches in the order of a model in plain Python."""

from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.adapters.sql.search import study_search
from server.model.search.query import Between, Condition, Equals, Level, Like, Match, NameMatches, Order, Query, SortKey
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, sample, series_ref, study_ref, uid

KEYS = ("PatientName", "PatientID", "StudyDate", "StudyTime", "StudyDescription", "NumberOfStudyRelatedInstances")
LETTERS = st.sampled_from(["a", "b", "ba", "山"])
DAYS = st.sampled_from(["20240101", "20240102"])
TIMES = st.sampled_from(["000000.000000", "120000.000000"])
VALUES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("PatientName", "PatientID", "StudyDescription"), LETTERS),
        "StudyDate": DAYS,
        "StudyTime": TIMES,
    },
)
ORDERS = st.builds(
    lambda keys, descending, oldest_first: Order(tuple(map(SortKey, keys, descending)), oldest_first),
    st.lists(st.sampled_from(KEYS), max_size=3, unique=True),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.booleans(),
)
CONDITIONS = st.sampled_from(
    [
        (),
        (Condition("PatientID", (Equals(("a", "b")),)),),
        (Condition("PatientName", (NameMatches(("b*",)),)),),
        (Condition("StudyDescription", (Like("*a*"),)),),
        (Condition("StudyDate", (Between("20240102", None),)),),
        (Condition("ModalitiesInStudy", (Equals(("mr",)),)),),
        (Condition("ModalitiesInStudy", (Equals(("ct", "mr")),)), Condition("StudyDescription", (Like("*a*"),))),
    ]
)
ONCE_PER_DATABASE = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


def in_order(given_keys: list[dict[str, str]], order: Order) -> list[int]:
    """Return the numbers of studies, from 1, in an order; study n has n instances."""

    def compare(one: int, other: int) -> int:
        for key in order.keys:
            for name in ("StudyDate", "StudyTime") if key.keyword == "StudyDate" else (key.keyword,):
                first, second = value(one, name), value(other, name)
                if first != second:
                    if first is None or second is None:
                        return 1 if first is None else -1
                    return -1 if (first < second) is not key.descending else 1
        return one - other if order.oldest_first else other - one

    def value(number: int, name: str) -> Any:
        return number % 3 + 1 if name == KEYS[-1] else given_keys[number - 1].get(name)

    return sorted(range(1, len(given_keys) + 1), key=cmp_to_key(compare))


async def pages(index: InstanceIndex, query: Query) -> list[Match]:
    found: list[Match] = []
    while page := await index.search(query):
        found += page
        query = query_after(query, page[-1])
    return found


def query_after(query: Query, last: Match) -> Query:
    return Query(
        query.level,
        query.scope,
        query.conditions,
        query.limit,
        after=last.key,
        order=query.order,
        after_values=last.sort_values,
    )


def number_of(match: Match) -> int:
    return int(str(match.resource.study).rpartition(".")[2])


@pytest.mark.parametrize(("few", "sorted_at_most"), [(0, 0), (0, 1000), (1000, 1000)])
@ONCE_PER_DATABASE
@given(
    given_keys=st.lists(VALUES, min_size=1, max_size=9),
    order=ORDERS,
    conditions=CONDITIONS,
    limit=st.integers(1, 4),
    skip=st.integers(0, 6),
)
async def test_all_pages_in_an_order_agree_with_the_model(
    index: InstanceIndex,
    few: int,
    sorted_at_most: int,
    given_keys: list[dict[str, str]],
    order: Order,
    conditions: tuple[Condition, ...],
    limit: int,
    skip: int,
) -> None:
    new = [
        sample(n, 1, instance, study_keys=keys, series_keys={"Modality": ("ct", "mr", "us")[n % 3]})
        for n, keys in enumerate(given_keys, start=1)
        for instance in range(1, n % 3 + 2)
    ]
    await index.add(new, NOON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_search, "FEW", few)
        patch.setattr(study_search, "MAX_SORTED_BY_VALUE", sorted_at_most)
        patch.setattr(study_search, "FAR", few or 1)
        try:
            query = Query(Level.STUDY, EVERYTHING, conditions, limit, order=order)
            found = await pages(index, query)
            plain = await index.search(Query(Level.STUDY, EVERYTHING, conditions, 100))
            matching = {number_of(match) for match in plain}
            expected = [number for number in in_order(given_keys, order) if number in matching]
            assert list(map(number_of, found)) == expected
            skipped = await index.search(Query(Level.STUDY, EVERYTHING, conditions, limit, skip=skip, order=order))
            assert list(map(number_of, skipped)) == expected[skip : skip + limit]
        finally:
            for n in range(1, len(given_keys) + 1):
                await index.delete(study_ref(n), NOON, NOON)


@pytest.mark.parametrize("most", [0, 1000])
async def test_pages_of_a_modality_at_an_offset_have_the_studies_that_meet_all_conditions(
    index: InstanceIndex, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_search, "FEW", 0)
    monkeypatch.setattr(study_search, "MAX_SORTED_BY_VALUE", 0)
    monkeypatch.setattr(study_search, "MAX_SORTED_OF_MODALITY", most)
    await index.add(
        [
            sample(
                n,
                study_keys={"PatientName": f"name {n:02}", "StudyDescription": "head" if n % 4 else "chest"},
                series_keys={"Modality": "mr" if n % 2 else "ct"},
            )
            for n in range(1, 21)
        ],
        NOON,
    )
    order = Order((SortKey("PatientName", descending=False),), oldest_first=True)
    modality = Condition("ModalitiesInStudy", (Equals(("ct",)),))
    description = Condition("StudyDescription", (Like("*hea*"),))
    for conditions, expected in (((modality,), range(2, 21, 2)), ((modality, description), range(2, 21, 4))):
        query = Query(Level.STUDY, EVERYTHING, conditions, 3, skip=2, order=order)
        assert [number_of(match) for match in await index.search(query)] == list(expected)[2:5]


async def test_series_and_instances_are_sorted_by_the_value_of_their_number(index: InstanceIndex) -> None:
    numbers = {1: "10", 2: "9", 3: "-2", 4: ""}
    new = [sample(1, n, series_keys={"SeriesNumber": number} if number else {}) for n, number in numbers.items()]
    new += [
        sample(2, 1, n, instance_keys={"InstanceNumber": number} if number else {}) for n, number in numbers.items()
    ]
    await index.add(new, NOON)
    order = Order((SortKey("SeriesNumber", descending=False),), oldest_first=True)
    found = await pages(index, Query(Level.SERIES, study_ref(1), (), 2, order=order))
    assert [match.resource.series for match in found] == [uid(1, n) for n in (3, 2, 1, 4)]
    order = Order((SortKey("InstanceNumber", descending=True),), oldest_first=False)
    found = await pages(index, Query(Level.INSTANCE, series_ref(2), (), 3, order=order))
    assert [match.resource.instance for match in found] == [uid(2, 1, n) for n in (1, 2, 3, 4)]


async def test_studies_stored_and_deleted_between_pages_do_not_repeat_or_hide_others(index: InstanceIndex) -> None:
    await index.add([sample(n, study_keys={"PatientName": f"name {n}"}) for n in range(1, 7)], NOON)
    order = Order((SortKey("PatientName", descending=False),), oldest_first=True)
    query = Query(Level.STUDY, EVERYTHING, (), 3, order=order)
    page = await index.search(query)
    await index.delete(study_ref(3), NOON, NOON)
    await index.add(
        [sample(9, study_keys={"PatientName": "name 0"}), sample(8, study_keys={"PatientName": "name 5"})], NOON
    )
    found = await pages(index, query_after(query, page[-1]))
    assert list(map(number_of, page + found)) == [1, 2, 3, 4, 5, 8, 6]


async def test_a_sorted_search_by_name_finds_few_by_text(index: InstanceIndex) -> None:
    names = ["doe^jane", "roe^ann", "doe^ann"]
    await index.add([sample(n, study_keys={"PatientName": name}) for n, name in enumerate(names, start=1)], NOON)
    named = Condition("PatientName", (NameMatches(("*doe*",)),))
    order = Order((SortKey("PatientName", descending=True),), oldest_first=False)
    found = await index.search(Query(Level.STUDY, EVERYTHING, (named,), 9, order=order))
    assert list(map(number_of, found)) == [1, 3]
