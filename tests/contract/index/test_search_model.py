"""The index finds what the model in plain Python says."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.model.query import Between, Condition, Equals, Like, NameMatches, NameWords
from server.ports.index import InstanceIndex
from tests.contract.index.samples import NOON, sample, study_ref
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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
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
