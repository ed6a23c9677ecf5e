"""Searches by extended query tags are compared with the model in plain Python, for each query plan."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.adapters.sql.engine import Database, open_database
from server.adapters.sql.search import tag_search
from server.model.search.query import (
    Between,
    Condition,
    Empty,
    Equals,
    Level,
    Like,
    NameMatches,
    NameWords,
    Numbers,
    Query,
    TagKey,
)
from server.model.search.query_tag import NewTag, Tag, TagFault, TagValue
from tests.contract.index.samples import EVERYTHING, NOON, modality, sample, study_ref
from tests.operations import add_tags, index_all
from tests.reference_matcher import holds

TAGS = {
    tag: NewTag(tag, "", vr, "", level)
    for tag, vr, level in (
        ("00100001", "LO", Level.STUDY),
        ("00100002", "PN", Level.STUDY),
        ("00200001", "SH", Level.SERIES),
        ("00200002", "DA", Level.SERIES),
        ("00300001", "LO", Level.INSTANCE),
        ("00300002", "FD", Level.INSTANCE),
        ("00300003", "PN", Level.INSTANCE),
    )
}
TEXTS = st.text("ab *?%_\\山", min_size=1, max_size=4).filter(str.strip)
NAMES = st.text("ab^=山", min_size=1, max_size=6).filter(lambda name: bool(name.strip("=^")))
DAYS = st.sampled_from(["20240101", "20240102", "20240103"])
NUMBERS = st.sampled_from([0.0, 0.5, 1.0, -3.0])
PATTERN = st.text("ab ^*?%_山", min_size=1, max_size=4)
OF_TEXT = st.one_of(
    st.builds(lambda values: Equals(tuple(values)), st.lists(TEXTS, min_size=1, max_size=3)),
    st.builds(Like, PATTERN),
    st.just(Empty()),
)
OF_DAY = st.one_of(st.builds(Between, DAYS, DAYS | st.none()), st.builds(Between, st.none(), DAYS), st.just(Empty()))
OF_NAME = st.one_of(
    st.builds(lambda patterns: NameMatches(tuple(patterns)), st.lists(PATTERN, min_size=1, max_size=2)),
    st.builds(
        lambda words: NameWords(tuple(words)),
        st.lists(st.text("ab%_山", min_size=1, max_size=2), min_size=1, max_size=2),
    ),
    st.just(Empty()),
)
OF_NUMBER = st.one_of(
    st.builds(lambda numbers: Numbers(tuple(numbers)), st.lists(NUMBERS, min_size=1, max_size=2)), st.just(Empty())
)
BY_VR = {"LO": (TEXTS, OF_TEXT), "SH": (TEXTS, OF_TEXT), "DA": (DAYS, OF_DAY), "PN": (NAMES, OF_NAME)}
BY_VR["FD"] = (NUMBERS, OF_NUMBER)  # type: ignore[assignment]
DATA = st.fixed_dictionaries({}, optional={tag: BY_VR[new.vr][0] for tag, new in TAGS.items()})
TERMS = st.one_of(
    *(
        st.tuples(st.just(tag), st.lists(BY_VR[new.vr][1], min_size=1, max_size=2).map(tuple))
        for tag, new in TAGS.items()
    )
)
PLACES = [(study, series, instance) for study in (1, 2) for series in (1, 2) for instance in (1, 2)]


def extract(dicom_json: bytes, tags: Sequence[Tag], invalid_tags: frozenset[str]) -> Mapping[int, TagValue | TagFault]:
    data = orjson.loads(dicom_json)
    found = {tag.key: data[tag.new.tag] for tag in tags if tag.new.tag in data}
    return {key: TagValue(value) if isinstance(value, str) else TagValue("", value) for key, value in found.items()}


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """A database with all the query tags."""
    database = open_database(url, extract=extract)
    await add_tags(database, list(TAGS.values()), "a" * 32, NOON)
    await index_all(database, "a" * 32, NOON, most=100)
    yield database
    await database.close()


def owned(level: Level, place: tuple[int, int, int], data: Sequence[Mapping[str, object]], tag: str) -> object:
    """Return the value of the study, series or instance of an instance: that of the latest instance with a value."""
    group = [one for at, one in zip(PLACES, data, strict=True) if at[:level] == place[:level] and tag in one]
    return group[-1][tag] if group else None


def is_met(matchers: Sequence[object], value: object) -> bool:
    if isinstance(value, float) or any(isinstance(one, Numbers) for one in matchers):
        return any(
            value in one.values if isinstance(one, Numbers) else value is None  # type: ignore[attr-defined]
            for one in matchers
        )
    # The model identifies person names by keyword.
    kind = "XName" if any(isinstance(one, NameMatches | NameWords) for one in matchers) else "X"
    keys = {} if value is None else {kind: str(value)}
    return holds(Condition(kind, tuple(matchers)), keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(("few", "few_rows"), [(1_000, 20_000), (0, 20_000), (1_000, 2)])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(
    data=st.lists(DATA, min_size=len(PLACES), max_size=len(PLACES)),
    terms=st.lists(TERMS, min_size=1, max_size=3),
    level=st.sampled_from(Level),
    skip=st.integers(0, 2),
    in_study=st.booleans(),
)
async def test_both_plans_for_query_tags_agree_with_the_model(
    database: Database,
    few: int,
    few_rows: int,
    data: list[dict[str, object]],
    terms: list[tuple[str, tuple[object, ...]]],
    level: Level,
    skip: int,
    in_study: bool,
) -> None:
    terms = [term for term in terms if TAGS[term[0]].level <= level]
    new = [
        replace(sample(*place, **modality("CT")), dicom_json=orjson.dumps(one))
        for place, one in zip(PLACES, data, strict=True)
    ]
    await database.instances.add(new, NOON)
    tags = {tag: await database.tags.get(tag) for tag in TAGS}
    try:
        conditions = tuple(
            Condition(TagKey(tag.key, tag.new.level), matchers)  # type: ignore[arg-type]
            for name, matchers in terms
            if (tag := tags[name])
        )
        scope = study_ref(1) if in_study else EVERYTHING
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tag_search, "FEW", few)
            patch.setattr(tag_search, "FEW_ROWS", few_rows)
            found = await database.instances.search(Query(level, scope, conditions, limit=4, skip=skip))
        meeting = [
            place
            for place in PLACES
            if (not in_study or place[0] == 1)
            and all(is_met(matchers, owned(TAGS[name].level, place, data, name)) for name, matchers in terms)
        ]
        newest_first = list(dict.fromkeys(place[:level] for place in reversed(meeting)))
        expected = newest_first[skip : skip + 4]
        assert [numbers(match.resource) for match in found] == expected
    finally:
        for n in (1, 2):
            await database.instances.delete(study_ref(n), NOON, NOON)


def numbers(resource: object) -> tuple[int, ...]:
    """Return the numbers from which `sample` made a resource."""
    return PLACE_OF[resource]


PLACE_OF: dict[object, tuple[int, ...]] = {}
for _place in PLACES:
    _ref = sample(*_place).id.address
    PLACE_OF[_ref] = _place
    PLACE_OF[replace(_ref, instance=None)] = _place[:2]
    PLACE_OF[replace(_ref, instance=None, series=None)] = _place[:1]
