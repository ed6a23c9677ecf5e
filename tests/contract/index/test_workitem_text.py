"""Searches for workitems by parts of values and words agree with the model; the text index follows all changes."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from server.adapters.sql.engine import Database
from server.adapters.sql.tables.worklist import WORKITEM_TEXT_KEYS
from server.adapters.sql.worklist import search as search_module
from server.dicom.worklist.search_keys import SEARCH_KEYS
from server.model.ids import DEFAULT_PARTITION, PartitionName, Uid
from server.model.search.query import Condition, Empty, Equals, Like, NameMatches
from server.model.worklist.workitem import SearchValue, Workitem, WorkitemState
from tests.contract.index.samples import NOON
from tests.contract.index.test_text import CHARACTERS, OF_NAME, OF_TEXT, VALUES
from tests.contract.index.test_workitems import a_workitem, found, query, terms
from tests.reference_matcher import all_hold

NAME, REQUEST = "PatientName", "ReferencedRequestSequence."
ACCESSION, REFERRING = REQUEST + "AccessionNumber", REQUEST + "ReferringPhysicianName"
OUTSIDE = ("PatientID", "ProcedureStepLabel", "CommentsOnTheScheduledProcedureStep", "IssuerOfPatientID")
IN_ITEM = st.text(CHARACTERS.replace("\\", "") + " ", min_size=1, max_size=10).filter(str.strip)
CONTENT = st.fixed_dictionaries(
    {},
    optional={
        NAME: VALUES,
        **dict.fromkeys(OUTSIDE, VALUES),
        # By item of the sequence, with several values in an item.
        **dict.fromkeys((ACCESSION, REFERRING), st.lists(st.lists(IN_ITEM, max_size=2), min_size=1, max_size=2)),
    },
)
CONDITIONS = st.one_of(
    st.builds(
        lambda key, matchers: Condition(key, tuple(matchers)),
        st.sampled_from([NAME, REFERRING]),
        st.lists(OF_NAME, min_size=1, max_size=2),
    ),
    st.builds(
        lambda key, matchers: Condition(key, tuple(matchers)),
        st.sampled_from([*OUTSIDE, ACCESSION]),
        st.lists(OF_TEXT, min_size=1, max_size=2),
    ),
    st.builds(lambda key: Condition(key, (Empty(),)), st.sampled_from([NAME, "PatientID"])),
    st.builds(lambda pattern: Condition("PatientID", (Like(pattern),)), st.sampled_from(["a*", "ab*", '"*', "a*b"])),
    st.builds(lambda state: Condition("ProcedureStepState", (Equals((state,)),)), st.sampled_from(["a", "b"])),
)


def search_values(content: Mapping[str, str | Sequence[Sequence[str]]]) -> tuple[SearchValue, ...]:
    found = []
    for key, of_key in content.items():
        items = [[of_key]] if isinstance(of_key, str) else of_key
        found += [
            SearchValue(key, number, value, is_name=key in (NAME, REFERRING))
            for number, values in enumerate(items)
            for value in values
        ]
    return tuple(found)


def in_model(content: Mapping[str, str | Sequence[Sequence[str]]]) -> dict[str, str]:
    """Return the search keys as the reference matcher expects them."""
    return {
        key: of_key if isinstance(of_key, str) else "\\".join("\n".join(values) for values in of_key)
        for key, of_key in content.items()
    }


LIMITS = [(1000, 2000, 20_000, 10), (0, 2, 20_000, 1), (0, 0, 20_000, 10), (0, 0, 0, 10), (0, 2, 1, 1)]
"""Values of FEW, NEWEST, MAX_SORTED and FREQUENT, with which searches take different ways."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(
    contents=st.lists(CONTENT, min_size=1, max_size=6),
    wanted=st.lists(st.lists(CONDITIONS, min_size=1, max_size=2), min_size=1, max_size=4),
    cut=st.integers(1, 12),
)
async def test_a_text_search_for_workitems_agrees_with_the_model(
    database: Database,
    contents: list[dict[str, str | Sequence[Sequence[str]]]],
    wanted: list[list[Condition]],
    cut: int,
) -> None:
    """Some patterns are drawn from the values, because random ones hardly match."""
    for number, content in enumerate(contents):
        values = search_values(content)
        if values:
            value = values[number % len(values)]
            middle = f"*{value.value[1:cut].replace('=', '?')}*"
            wanted.append([Condition(value.keyword, (NameMatches((middle,)) if value.is_name else Like(middle),))])
            wanted.append([*wanted[-1], Condition("ProcedureStepState", (Equals(("a",)),))])
    contents = [content | {"ProcedureStepState": "ab"[n % 2]} for n, content in enumerate(contents)]
    for n, content in enumerate(contents):
        one = Workitem(Uid(f"1.{n}"), WorkitemState.SCHEDULED, "", "{}", search_values(content), NOON)
        assert await database.workitems.add(DEFAULT_PARTITION, one)
    results = [
        [f"1.{n}" for n, one in enumerate(contents) if all_hold(conditions, in_model(one))][::-1]
        for conditions in wanted
    ]
    try:
        for few, newest, most_sorted, frequent in LIMITS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(search_module, "FEW", few)
                patch.setattr(search_module, "NEWEST", newest)
                patch.setattr(search_module, "MAX_SORTED", most_sorted)
                patch.setattr(search_module, "FREQUENT", frequent)
                for conditions, expected in zip(wanted, results, strict=True):
                    await _pages_agree(database, conditions, expected)
    finally:
        for n in range(len(contents)):
            await database.workitems.restore(DEFAULT_PARTITION, Uid(f"1.{n}"), None)


async def _pages_agree(database: Database, conditions: list[Condition], expected: list[str]) -> None:
    """Compare the count and pages of a search, each with the rest after it, to the expected UIDs."""
    assert await database.workitems.count(query(conditions)) == len(expected)
    for limit, skip in ((20, 0), (2, 0), (2, 1)):
        page = await database.workitems.search(query(conditions, limit=limit, skip=skip))
        assert [one.uid for one in page.matches] == expected[skip : skip + limit]
        assert page.has_more == (skip + limit < len(expected))
        if page.has_more:
            rest = await database.workitems.search(query(conditions, limit=20, after=page.matches[-1].key))
            assert [one.uid for one in rest.matches] == expected[skip + limit :]


async def test_parts_of_values_follow_changes_and_removals(database: Database) -> None:
    await database.workitems.add(DEFAULT_PARTITION, a_workitem("1.2", PatientID="x-doe-x"))
    doe, roe = query(terms(PatientID="*-doe-*")), query(terms(PatientID="*-roe-*"))
    assert (await found(database, doe), await found(database, roe)) == (["1.2"], [])
    new = a_workitem("1.2", PatientID="x-roe-x", ProcedureStepLabel="first")
    await database.workitems.change(DEFAULT_PARTITION, Uid("1.2"), lambda _: new)
    assert (await found(database, doe), await found(database, roe)) == ([], ["1.2"])
    await database.workitems.restore(DEFAULT_PARTITION, Uid("1.2"), a_workitem("1.2", PatientID="x-doe-x"))
    assert (await found(database, doe), await found(database, roe)) == (["1.2"], [])
    await database.workitems.restore(DEFAULT_PARTITION, Uid("1.2"), None)
    assert (await found(database, doe), await found(database, roe)) == ([], [])


async def test_parts_of_values_are_searched_in_one_partition(database: Database) -> None:
    ward = PartitionName("ward")
    await database.partitions.create(ward, NOON)
    await database.workitems.add(ward, a_workitem("1.2", PatientID="x-doe-x"))
    assert await found(database, query(terms(PatientID="*-doe-*"))) == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_the_text_index_agrees_with_the_workitems_after_changes(database: Database, url: str) -> None:
    for n in range(40):
        uid = f"1.{n % 7}"
        new = a_workitem(uid, PatientName=f"Doe{n}^X", PatientID=f"P{n}", ProcedureStepLabel="constant")
        if not await database.workitems.add(DEFAULT_PARTITION, new):
            await database.workitems.change(DEFAULT_PARTITION, Uid(uid), lambda _, new=new: new)  # type: ignore[misc]
        if n % 5 == 0:
            await database.workitems.restore(DEFAULT_PARTITION, Uid(f"1.{n % 6}"), None)
    engine = create_engine(url)
    with engine.begin() as connection:  # fails if the text index and the texts differ
        connection.execute(text("INSERT INTO workitem_trigrams(workitem_trigrams, rank) VALUES ('integrity-check', 1)"))
        assert connection.execute(
            text("SELECT (SELECT count(*) FROM workitem_texts) = (SELECT count(*) FROM workitems)")
        ).scalar()
    engine.dispose()


async def test_an_unchanged_text_is_not_written(database: Database, url: str) -> None:
    """A change of state costs nothing in the text index."""
    engine = create_engine(url)
    writer = "xmin::text" if engine.dialect.name == "postgresql" else "(SELECT count(*) FROM workitem_trigrams_data)"
    written = text(f"SELECT {writer}, patient_id FROM workitem_texts")
    one = a_workitem("1.2", PatientID="P1")
    await database.workitems.add(DEFAULT_PARTITION, one)
    with engine.connect() as connection:
        before = connection.execute(written).all()
    await database.workitems.change(
        DEFAULT_PARTITION, Uid("1.2"), lambda _: a_workitem("1.2", PatientID="P1", InputReadinessState="READY")
    )
    assert await found(database, query(terms(InputReadinessState="READY"))) == ["1.2"]
    with engine.connect() as connection:
        assert connection.execute(written).all() == before
    engine.dispose()


def test_the_text_of_a_workitem_has_search_keys_with_wildcards() -> None:
    wildcards = {"PN", "LO", "SH", "LT"}
    assert {SEARCH_KEYS[key].vr for key in WORKITEM_TEXT_KEYS.values()} == wildcards
    assert len(set(WORKITEM_TEXT_KEYS.values())) == len(WORKITEM_TEXT_KEYS)
