"""Search results of the index are compared with the model in plain Python."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.adapters.sql.search import search
from server.model.instance import LevelAttributes
from server.model.search.date_time import FIRST_TIME, LAST_TIME
from server.model.search.query import (
    Between,
    Condition,
    DateTimeRange,
    Empty,
    Equals,
    Level,
    Like,
    NameMatches,
    NameWords,
    Query,
)
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, sample, study_ref, uid
from tests.contract.index.searches import studies
from tests.reference_matcher import all_hold, holds

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
MATCHERS = st.one_of(MATCHERS, st.just(Empty()))
NAME_MATCHERS = st.one_of(NAME_MATCHERS, st.just(Empty()))
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
    lambda key, values, more: Condition(key, (Equals(tuple(values)), *more)),
    st.sampled_from(["Modality", "ModalitiesInStudy"]),
    st.lists(st.sampled_from("xyz"), min_size=1, max_size=2),
    st.sampled_from([(), (Empty(),)]),
)
DAYS = st.sampled_from(["20231231", "20240101", "20240102", "20240103"])
TIMES = st.sampled_from([FIRST_TIME, "013000.000000", "120000.000000", "235959.999999", LAST_TIME])
ENDS = st.none() | st.builds(str.__add__, DAYS, TIMES)
SPANS = st.builds(Between, ENDS, ENDS)
DURING = st.builds(lambda local, utc: (DateTimeRange(local, utc),), SPANS, st.none() | SPANS)
WHEN = st.fixed_dictionaries({}, optional={"date": DAYS, "time": TIMES, "offset": st.sampled_from(["+0200", "-1130"])})
MEMBERS = ("RequestAttributesSequence.ScheduledProcedureStepID", "RequestAttributesSequence.RequestedProcedureID")
ITEMS = st.lists(st.sampled_from(["", "a", "b", "a\nb"]), max_size=3).map("\\".join)
OF_ITEMS = st.builds(
    Condition,
    st.sampled_from(MEMBERS),
    st.lists(
        st.sampled_from([Equals(("a",)), Equals(("a", "b")), Like("b*"), Empty()]), min_size=1, max_size=2, unique=True
    ).map(tuple),
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
async def test_a_search_agrees_with_the_model(
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
async def test_both_plans_for_levels_below_studies_agree_with_the_model(
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
            one.id.address
            for one in reversed(new)
            if all_hold(conditions, {**one.study.keys, **one.series.keys, **one.instance.keys}, modalities)
        ]
        assert found == expected[skip : skip + 5]
    finally:
        for n in range(1, len(given_keys) + 1):
            await index.delete(study_ref(n), NOON, NOON)


@pytest.mark.parametrize("keyword", ["StudyDate", "PerformedProcedureStepStartDate"])
@ONCE_PER_DATABASE
@given(when=st.lists(WHEN, min_size=1, max_size=6), matchers=DURING)
async def test_a_date_time_range_agrees_with_the_model(
    index: InstanceIndex, keyword: str, when: list[dict[str, str]], matchers: tuple[DateTimeRange]
) -> None:
    time = {"StudyDate": "StudyTime"}.get(keyword, "PerformedProcedureStepStartTime")
    names = {"date": keyword, "time": time, "offset": "TimezoneOffsetFromUTC"}
    given_keys = [{names[part]: value for part, value in one.items()} for one in when]
    level = Level.STUDY if keyword == "StudyDate" else Level.SERIES
    kind = "study_keys" if level is Level.STUDY else "series_keys"
    await index.add([sample(n, **{kind: keys}) for n, keys in enumerate(given_keys, start=1)], NOON)
    try:
        condition = Condition(keyword, matchers)
        found = await index.search(Query(level, EVERYTHING, (condition,), limit=9))
        expected = [uid(n) for n, keys in enumerate(given_keys, start=1) if holds(condition, keys)]
        assert sorted(str(match.resource.study) for match in found) == expected
    finally:
        for n in range(1, len(given_keys) + 1):
            await index.delete(study_ref(n), NOON, NOON)


@ONCE_PER_DATABASE
@given(
    items=st.lists(st.tuples(ITEMS, ITEMS), min_size=1, max_size=6),
    conditions=st.lists(OF_ITEMS, min_size=1, max_size=3),
)
async def test_matching_of_sequence_items_agrees_with_the_model(
    index: InstanceIndex, items: list[tuple[str, str]], conditions: list[Condition]
) -> None:
    given_keys = [{name: text for name, text in zip(MEMBERS, texts, strict=True) if text} for texts in items]
    await index.add([sample(n, series_keys=keys) for n, keys in enumerate(given_keys, start=1)], NOON)
    try:
        found = await index.search(Query(Level.SERIES, EVERYTHING, tuple(conditions), limit=9))
        expected = [uid(n) for n, keys in enumerate(given_keys, start=1) if all_hold(conditions, keys)]
        assert sorted(str(match.resource.study) for match in found) == expected
    finally:
        for n in range(1, len(given_keys) + 1):
            await index.delete(study_ref(n), NOON, NOON)
