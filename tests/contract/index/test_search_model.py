"""The index finds what the model in plain Python says."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.adapters.sql import search
from server.model.instance import LevelAttributes
from server.model.query import Between, Condition, Equals, Level, Like, NameMatches, NameWords, Query
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, sample, study_ref
from tests.contract.index.searches import studies
from tests.reference_matcher import holds

LETTERS = st.text("ab^= *?%_\\山", max_size=6)
PATTERN = st.text("ab^ *?%_山", min_size=1, max_size=5)
MATCHERS = st.one_of(
    st.builds(lambda values: Equals(tuple(values)), st.lists(LETTERS, min_size=1, max_size=3)),
    st.builds(Between, LETTERS, LETTERS),
    st.builds(Between, LETTERS, st.none()),
    st.builds(Like, PATTERN),
)
NAME_MATCHERS = st.one_of(
    st.builds(lambda patterns: NameMatches(tuple(patterns)), st.lists(PATTERN, min_size=1, max_size=3)),
    st.builds(
        lambda words: NameWords(tuple(words)),
        st.lists(st.text("ab%_.山", min_size=1, max_size=2), min_size=1, max_size=3),
    ),
)
CONDITIONS = st.one_of(
    st.builds(
        lambda key, matchers: Condition(key, tuple(matchers)), st.just("PatientID"), st.lists(MATCHERS, max_size=3)
    ),
    st.builds(
        lambda key, matchers: Condition(key, tuple(matchers)),
        st.just("PatientName"),
        st.lists(NAME_MATCHERS, max_size=3),
    ),
)
KEYS = st.fixed_dictionaries({}, optional={"PatientID": LETTERS.filter(bool), "PatientName": LETTERS.filter(bool)})
OF_SERIES = st.builds(
    lambda key, values: Condition(key, (Equals(tuple(values)),)),
    st.sampled_from(["Modality", "ModalitiesInStudy"]),
    st.lists(st.sampled_from("xyz"), min_size=1, max_size=2),
)
OF_INSTANCE = st.builds(
    lambda values: Condition("InstanceNumber", (Equals(tuple(values)),)),
    st.lists(st.sampled_from("123"), min_size=1, max_size=2),
)
ONCE_PER_DATABASE = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@ONCE_PER_DATABASE
@given(given_keys=st.lists(KEYS, min_size=1, max_size=8), conditions=st.lists(CONDITIONS, min_size=1, max_size=4))
async def test_a_search_finds_what_the_model_says(
    index: InstanceIndex, given_keys: list[dict[str, str]], conditions: list[Condition]
) -> None:
    await index.add([sample(n, study_keys=keys) for n, keys in enumerate(given_keys, start=1)], NOON)
    try:
        for condition in conditions:
            expected = [n for n, keys in enumerate(given_keys, start=1) if holds(condition, keys)]
            assert await studies(index, condition.key, *condition.matchers) == expected
    finally:
        for n in range(1, len(given_keys) + 1):
            await index.delete(study_ref(n), NOON, NOON)


@pytest.mark.parametrize(("few_parents", "few_rows"), [(1000, 20_000), (0, 20_000), (1000, 2)])
@ONCE_PER_DATABASE
@given(
    given_keys=st.lists(KEYS, min_size=1, max_size=4),
    modalities=st.lists(st.sampled_from("xyz"), min_size=2, max_size=2),
    conditions=st.lists(st.one_of(CONDITIONS, OF_SERIES, OF_INSTANCE), min_size=1, max_size=3),
    skip=st.integers(0, 2),
)
async def test_both_ways_to_search_below_studies_find_what_the_model_says(
    index: InstanceIndex,
    few_parents: int,
    few_rows: int,
    given_keys: list[dict[str, str]],
    modalities: list[str],
    conditions: list[Condition],
    skip: int,
) -> None:
    new = [
        sample(n, series, number, study_keys=keys, series_keys={"Modality": modality})
        for n, keys in enumerate(given_keys, start=1)
        for series, modality in enumerate(modalities, start=1)
        for number in (1, 2)
    ]
    new = [replace(one, instance=LevelAttributes({"InstanceNumber": one.id.instance[-1]}, {})) for one in new]
    await index.add(new, NOON)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "FEW_PARENTS", few_parents)
            patch.setattr(search, "FEW_ROWS", few_rows)
            query = Query(Level.INSTANCE, EVERYTHING, tuple(conditions), limit=5, skip=skip)
            found = [match.resource for match in await index.search(query)]
        expected = [
            one.id.ref
            for one in reversed(new)
            if all(
                holds(condition, {**one.study.keys, **one.series.keys, **one.instance.keys}, modalities)
                for condition in conditions
            )
        ]
        assert found == expected[skip : skip + 5]
    finally:
        for n in range(1, len(given_keys) + 1):
            await index.delete(study_ref(n), NOON, NOON)
