"""Substring search: the trigram index does not change the results."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from server.adapters.sql.search import study_search, trigrams
from server.adapters.sql.tables.columns import NAME_GROUPS
from server.dicom.matching import normalise
from server.model.ids import Uid
from server.model.search.query import Between, Condition, Equals, Level, Like, NameMatches, NameWords, Query
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, study_ref
from tests.contract.index.searches import store_values, studies
from tests.reference_matcher import holds

# Few characters, so that values and patterns often share trigrams; quotes, escapes and wildcards of both databases and
# of the text index; characters of two, three and four bytes, combining ones, and one that folds to two.
CHARACTERS = "aab\"^%_!\\é山😀\u0301ß'*:"
VALUES = st.text(CHARACTERS + " =", min_size=1, max_size=12).filter(
    lambda value: value.strip(" =") and value.count("=") < NAME_GROUPS
)
PATTERNS = st.builds(
    lambda before, runs, after: before + "*".join(runs) + after,
    st.sampled_from(["", "*", "?"]),
    st.lists(st.text(CHARACTERS + "?", min_size=1, max_size=6), min_size=1, max_size=3),
    st.sampled_from(["", "*", "?"]),
)
WORDS = st.lists(st.text('ab"%é山', min_size=1, max_size=4), min_size=1, max_size=2)
OF_NAME = st.one_of(
    st.builds(lambda patterns: NameMatches(tuple(patterns)), st.lists(PATTERNS, min_size=1, max_size=3)),
    st.builds(lambda words: NameWords(tuple(words)), WORDS),
)
OF_TEXT = st.one_of(
    st.builds(Like, PATTERNS), st.builds(lambda value: Equals((value,)), VALUES), st.builds(Between, VALUES, st.none())
)
CONDITIONS = st.one_of(
    st.builds(
        lambda key, matchers: Condition(key, tuple(matchers)),
        st.sampled_from(["PatientName", "ReferringPhysicianName"]),
        st.lists(OF_NAME, min_size=1, max_size=2),
    ),
    st.builds(
        lambda key, matchers: Condition(key, tuple(matchers)),
        st.sampled_from(["PatientID", "StudyDescription", "AccessionNumber"]),
        st.lists(OF_TEXT, min_size=1, max_size=2),
    ),
    st.builds(
        lambda values: Condition("ModalitiesInStudy", (Equals(tuple(values)),)),
        st.lists(st.sampled_from(["ct", "mr", "us", "zz"]), min_size=1, max_size=2),
    ),
    st.builds(lambda pattern: Condition("PatientID", (Like(pattern),)), st.sampled_from(["a*", "ab*", '"*', "a*b"])),
    st.builds(lambda low: Condition("StudyDate", (Between(low, None),)), st.sampled_from(["1", "3", "5"])),
    st.builds(
        lambda patterns: Condition("PatientName", (NameMatches(tuple(patterns)),)),
        st.lists(st.sampled_from(["a*", "b?*", "山*", "aa"]), min_size=1, max_size=2),
    ),
)
KEYS = st.dictionaries(
    st.sampled_from(["PatientName", "ReferringPhysicianName", "PatientID", "StudyDescription", "AccessionNumber"]),
    VALUES,
    min_size=1,
)


LIMITS = [(1000, 2000, 20_000, 10), (0, 2000, 20_000, 1), (0, 0, 20_000, 10), (0, 0, 0, 10), (0, 2, 1, 1)]
"""Values of FEW, NEWEST (and SAMPLE), MAX_SORTED, and FREQUENT, with which searches take different ways."""


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(
    given_keys=st.lists(KEYS, min_size=1, max_size=6),
    wanted=st.lists(st.lists(CONDITIONS, min_size=1, max_size=2), min_size=1, max_size=4),
    level=st.sampled_from(Level),
    cut=st.integers(1, 12),
)
async def test_a_text_search_agrees_with_the_model(
    index: InstanceIndex,
    given_keys: list[dict[str, str]],
    wanted: list[list[Condition]],
    level: Level,
    cut: int,
) -> None:
    """Some patterns are drawn from the values, because random ones hardly match."""
    for number, keys in enumerate(given_keys):
        key, value = sorted(keys.items())[number % len(keys)]
        middle = f"*{value[1:cut].replace('=', '?')}*"
        of_value = NameMatches((middle,)) if key in ("PatientName", "ReferringPhysicianName") else Like(middle)
        wanted.append([Condition(key, (of_value,))])
    modalities = ["ct", "mr", "us"]
    given_keys = [{**keys, "StudyDate": str(number)} for number, keys in enumerate(given_keys)]
    await index.add(
        [
            sample(n, series, study_keys=keys, series_keys={"Modality": modalities[n % (1 + series)]})
            for n, keys in enumerate(given_keys, start=1)
            for series in (1, 2)
        ],
        NOON,
    )
    results = [
        [
            (study_ref(n).study, series)
            for n, keys in enumerate(given_keys, start=1)
            for series in ((1,) if level is Level.STUDY else (1, 2))
            if all(holds(condition, keys, [modalities[n % 2], modalities[n % 3]]) for condition in conditions)
        ][::-1]
        for conditions in wanted
    ]
    try:
        for few, newest, most_sorted, frequent in LIMITS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(study_search, "FEW", few)
                patch.setattr(study_search, "NEWEST", newest)
                patch.setattr(study_search, "MAX_SORTED", most_sorted)
                patch.setattr(study_search, "SAMPLE", newest)
                patch.setattr(study_search, "FREQUENT", frequent)
                for conditions, expected in zip(wanted, results, strict=True):
                    await _pages_agree(index, Query(level, EVERYTHING, tuple(conditions), limit=20), expected)
    finally:
        for n in range(1, len(given_keys) + 1):
            await index.delete(study_ref(n), NOON, NOON)


async def _pages_agree(index: InstanceIndex, query: Query, expected: Sequence[tuple[Uid | None, int]]) -> None:
    """Compare pages of a search, each with the rest after it, to the expected studies and numbers of series."""
    for limit, skip in ((20, 0), (2, 0), (2, 1)):
        found = await index.search(replace(query, limit=limit, skip=skip))
        assert [match.resource.study for match in found] == [study for study, _ in expected[skip : skip + limit]]
        if len(found) == limit:
            rest = await index.search(replace(query, after=found[-1].key))
            assert [match.resource.study for match in rest] == [study for study, _ in expected[skip + limit :]]


@pytest.mark.parametrize(
    ("stored", "sought"),
    [
        ("Müller^Jürgen", "*ULLER^JUR*"),
        ("STRASSE", "*straße*"),
        ("Łukaszewicz^Żaneta", "*kaszewicz^z*"),
        ("山田^太郎", "*田^太*"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "*まだ^た*"),
        ("Παπαδόπουλος^Γιώργος", "*ΠΑΔΟΠ*"),
        ("ﬁscher^x", "*isch*"),
    ],
)
async def test_substrings_of_names_match_without_case_and_accents(
    index: InstanceIndex, stored: str, sought: str
) -> None:
    name, pattern = normalise.name(stored), normalise.name_group(sought)
    assert name is not None
    await store_values(index, "PatientName", "somebody^else", name)
    assert await studies(index, "PatientName", NameMatches((pattern,))) == [2]


async def test_text_searches_follow_changed_values(index: InstanceIndex) -> None:
    doe, roe = Like("*x-doe-x*"), Like("*x-roe-x*")
    await index.add([sample(1, instance=1, study_keys={"PatientID": "x-doe-x"})], NOON)
    await index.add([sample(1, instance=2, study_keys={"PatientID": "x-roe-x"})], NOON)
    assert (await studies(index, "PatientID", doe), await studies(index, "PatientID", roe)) == ([], [1])
    await index.add([sample(1, instance=3, study_keys={"StudyDate": "20260101"})], NOON)
    assert await studies(index, "PatientID", roe) == [1]
    await index.delete(identity(instance=1).address, NOON, NOON)
    assert await studies(index, "PatientID", roe) == [1]
    await index.delete(study_ref(1), NOON, NOON)
    assert await studies(index, "PatientID", roe) == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_the_text_index_agrees_with_the_studies_after_changes(index: InstanceIndex, url: str) -> None:
    for n in range(1, 40):
        await index.add(
            [sample(n % 7, instance=n, study_keys={"PatientName": f"doe{n}^x", "PatientID": f"p{n}"})], NOON
        )
        if n % 5 == 0:
            await index.delete(study_ref(n % 6), NOON, NOON)
    engine = create_engine(url)
    with engine.begin() as connection:  # fails if the text index and the studies differ
        connection.execute(text("INSERT INTO study_text(study_text, rank) VALUES ('integrity-check', 1)"))
    engine.dispose()


@pytest.mark.parametrize(
    ("conditions", "in_sqlite", "in_postgresql"),
    [
        ([Condition("PatientID", (Like("*ab*c?de*"),))], None, None),
        (
            [Condition("PatientID", (Like("*abcd*xyz"),))],
            '({patient_id} : (("abc" AND "bcd" AND "xyz")))',
            "(('iabc' & 'ibcd' & 'ixyz'))",
        ),
        ([Condition("PatientID", (Like('*a"c*'),))], '({patient_id} : (("a""c")))', "(('ia\"c'))"),
        (
            [Condition("PatientID", (Like("*'c\\*"),))],
            """({patient_id} : (("'c\\")))""",
            "(('i''c\\\\'))",
        ),
        ([Condition("PatientID", (Like("*abc*"), Like("*d*")))], None, None),
        ([Condition("PatientID", (Like("*abc*"), Between("a", "b")))], None, None),
        ([Condition("StudyID", (Like("*abc*"),))], None, None),
        ([Condition("PatientID", ())], None, None),
        (
            [Condition("PatientID", (Equals(("abc", "xyz")),)), Condition("StudyDescription", (Like("*k*"),))],
            '({patient_id} : (("abc") OR ("xyz")))',
            "(('iabc') | ('ixyz'))",
        ),
        ([Condition("PatientID", (Like("*0012*"),))], '({patient_id} : (("012")))', "(('i012'))"),
        ([Condition("PatientID", (Like("*000*"),))], '({patient_id} : (("000")))', "(('i000'))"),
        (
            [Condition("PatientName", (NameMatches(("*doe*",)),)), Condition("StudyDescription", (Like("*abc*"),))],
            '({patient_name_1 patient_name_2 patient_name_3} : (("doe"))) AND ({study_description} : (("abc")))',
            "(('pdoe')) & (('dabc'))",
        ),
    ],
)
def test_every_match_contains_the_index_expression(
    conditions: list[Any], in_sqlite: str | None, in_postgresql: str | None
) -> None:
    assert trigrams.of_studies.sought(conditions, "sqlite") == in_sqlite
    assert trigrams.of_studies.sought(conditions, "postgresql") == in_postgresql
