"""Labels of studies, series and instances (server/ports/lifecycle/labels.py), and searches by them."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, func, select

from server.adapters.sql.engine import Database
from server.adapters.sql.search import label_search
from server.adapters.sql.tables.lifecycle import labels as labels_table
from server.model.errors import Exhausted, Reason
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName
from server.model.search.query import Condition, Empty, Equals, LabelKey, Level, Like, Matcher, Query
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref
from tests.contract.index.searches import search

LATER = NOON + timedelta(hours=1)
INSTANCE = identity(1, 1, 1).address
LEVELS = pytest.mark.parametrize(
    "resource", [study_ref(1), series_ref(1, 1), INSTANCE], ids=["study", "series", "instance"]
)


async def put(database: Database, resource: Address, **labels: str) -> Mapping[str, str] | None:
    """Replace the labels of a resource."""
    return await database.labels.change(resource, lambda _: labels, NOON)


@pytest.fixture
async def stored(database: Database) -> Database:
    """Two studies of two series of two instances."""
    await database.instances.add([sample(s, e, i) for s in (1, 2) for e in (1, 2) for i in (1, 2)], NOON)
    return database


@LEVELS
async def test_labels_are_set_changed_and_removed(stored: Database, resource: Address) -> None:
    assert await stored.labels.get(resource) == {}
    assert await put(stored, resource, b="1", a="x") == {"a": "x", "b": "1"}
    assert await stored.labels.get(resource) == {"a": "x", "b": "1"}
    change = {"a": "y", "c": ""}
    assert await stored.labels.change(resource, lambda present: {**present, **change}, NOON) == {"b": "1", **change}
    assert await put(stored, resource) == {}
    assert await stored.labels.get(resource) == {}


async def test_a_resource_that_does_not_exist_has_no_labels(stored: Database) -> None:
    for resource in (study_ref(9), series_ref(1, 9), identity(1, 1, 9).address, study_ref(1, PartitionName("nowhere"))):
        assert await put(stored, resource, a="1") is None
        assert await stored.labels.get(resource) is None


async def test_a_refused_change_changes_nothing(stored: Database) -> None:
    await put(stored, INSTANCE, a="1")

    def refuse(present: Mapping[str, str]) -> Mapping[str, str]:
        raise Exhausted(Reason.TOO_MANY_LABELS, f"{len(present)} labels")

    with pytest.raises(Exhausted):
        await stored.labels.change(INSTANCE, refuse, NOON)
    assert await stored.labels.get(INSTANCE) == {"a": "1"}


async def test_calls_after_a_refused_one_succeed_however_often_statements_ran_before(stored: Database) -> None:
    """psycopg prepares frequent statements, and must not deallocate those of others after a rollback."""

    def refuse(_: Mapping[str, str]) -> Mapping[str, str]:
        raise Exhausted(Reason.TOO_MANY_LABELS, "too many")

    for _ in range(10):
        await stored.instances.delete(study_ref(1), NOON, LATER)
        await stored.instances.undelete(study_ref(1), NOON, NOON)
    with pytest.raises(Exhausted):
        await stored.labels.change(study_ref(1), refuse, NOON)
    assert await put(stored, study_ref(1), a="1") == {"a": "1"}


async def test_the_labels_of_many_resources_are_read_together(stored: Database) -> None:
    other = identity(2, 1, 1).address
    await put(stored, study_ref(1), level="study")
    await put(stored, series_ref(1, 1), level="series")
    await put(stored, INSTANCE, level="instance", more="1")
    wanted = [study_ref(1), study_ref(2), series_ref(1, 1), INSTANCE, other]
    assert await stored.labels.of(DEFAULT_PARTITION, wanted) == {
        study_ref(1): {"level": "study"},
        series_ref(1, 1): {"level": "series"},
        INSTANCE: {"level": "instance", "more": "1"},
    }
    assert await stored.labels.of(DEFAULT_PARTITION, []) == {}


async def test_names_in_use_are_those_of_the_partition(stored: Database) -> None:
    await put(stored, study_ref(1), a="1", b="2")
    assert set(await stored.labels.in_use(DEFAULT_PARTITION, ["a", "b", "c"])) == {"a", "b"}
    assert not await stored.labels.in_use(PartitionName("nowhere"), ["a"])
    assert not await stored.labels.in_use(DEFAULT_PARTITION, [])


@LEVELS
async def test_labels_survive_new_versions_and_return_with_restored_instances(
    stored: Database, resource: Address
) -> None:
    index = stored.instances
    await put(stored, resource, a="1")
    for _ in range(2):
        await index.add_version(sample(1, 1, 1), LATER)
        assert await stored.labels.get(resource) == {"a": "1"}
        assert await found(stored, Level.INSTANCE, Equals(("1",)), scope=INSTANCE) == [INSTANCE]
    await index.delete(study_ref(1), NOON, LATER)
    assert await stored.labels.get(resource) is None
    assert await stored.labels.of(DEFAULT_PARTITION, [resource]) == {}
    assert await found(stored, Level.INSTANCE, Equals(("1",))) == []
    await index.undelete(study_ref(1), NOON, NOON)
    assert await stored.labels.get(resource) == {"a": "1"}
    assert INSTANCE in await found(stored, Level.INSTANCE, Equals(("1",)))


@LEVELS
async def test_what_is_stored_after_a_deletion_has_none_of_the_old_labels(stored: Database, resource: Address) -> None:
    await put(stored, resource, a="1")
    await stored.instances.delete(study_ref(1), NOON, LATER)
    await stored.instances.add([sample(1, 1, 1)], NOON)
    assert await stored.labels.get(resource) == {}


@pytest.mark.parametrize("resource", [study_ref(1), series_ref(1, 1)], ids=["study", "series"])
async def test_labels_return_to_a_study_that_was_stored_again_and_do_not_replace_its_own(
    stored: Database, resource: Address
) -> None:
    await put(stored, resource, a="1", b="1")
    await stored.instances.delete(study_ref(1), NOON, LATER)
    await stored.instances.add([sample(1, 1, 9)], NOON)
    await put(stored, resource, b="2", c="2")
    await stored.instances.undelete(INSTANCE, NOON, NOON)
    assert await stored.labels.get(resource) == {"a": "1", "b": "2", "c": "2"}
    while due := await stored.instances.begin_erasure(LATER, 9):
        await stored.instances.erased(due)
    assert await stored.labels.get(resource) == {"a": "1", "b": "2", "c": "2"}


@LEVELS
async def test_erasure_removes_labels(stored: Database, url: str, resource: Address) -> None:
    await put(stored, resource, a="1")
    await put(stored, study_ref(2), a="2")
    await stored.instances.delete(study_ref(1), NOON, NOON)
    while due := await stored.instances.begin_erasure(LATER, 2):
        await stored.instances.erased(due)
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(labels_table)).scalar_one() == 1
    engine.dispose()


async def test_erasure_of_older_instances_leaves_the_labels_of_restored_ones(stored: Database) -> None:
    """The series exists again, although deleted instances of it are erased."""
    for resource in (study_ref(1), series_ref(1, 1), INSTANCE):
        await put(stored, resource, a="1")
    await stored.instances.delete(study_ref(1), NOON, LATER)
    await stored.instances.undelete(INSTANCE, NOON, NOON)
    while due := await stored.instances.begin_erasure(LATER, 9):
        await stored.instances.erased(due)
    for resource in (study_ref(1), series_ref(1, 1), INSTANCE):
        assert await stored.labels.get(resource) == {"a": "1"}


async def found(
    database: Database, level: Level, *matchers: Matcher, names: tuple[str, ...] = ("a",), scope: Address = EVERYTHING
) -> list[Address]:
    """Return the matches of a label."""
    if scope.instance is not None:
        matches = await search(database.instances, Condition(LabelKey(names, level), matchers), level=level)
        return [match.resource for match in matches if match.resource == scope]
    condition = Condition(LabelKey(names, level), matchers)
    matches = await search(database.instances, condition, level=level, scope=scope)
    return [match.resource for match in matches]


@pytest.fixture(params=["few owners", "many owners"])
async def labelled(stored: Database, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Labels at all levels, which the search looks up by owner or scans."""
    if request.param == "many owners":
        monkeypatch.setattr(label_search, "FEW", 0)
    await put(stored, study_ref(1), a="study", both="1")
    await put(stored, series_ref(2, 1), a="series")
    await put(stored, identity(2, 2, 1).address, a="instance", both="2")
    return stored


@pytest.mark.parametrize(
    ("level", "matcher", "expected"),
    [
        (Level.STUDY, Equals(("study",)), 1),
        (Level.STUDY, Equals(("series",)), 0),
        (Level.STUDY, Empty(), 1),
        (Level.SERIES, Equals(("study",)), 2),
        (Level.SERIES, Equals(("series", "study")), 3),
        (Level.SERIES, Like("s*"), 3),
        (Level.SERIES, Empty(), 1),
        (Level.INSTANCE, Equals(("study",)), 4),
        (Level.INSTANCE, Equals(("Study",)), 0),
        (Level.INSTANCE, Like("*"), 7),
        (Level.INSTANCE, Like("?????"), 4),
        (Level.INSTANCE, Empty(), 1),
    ],
)
async def test_a_label_applies_to_its_owner_and_what_it_contains(
    labelled: Database, level: Level, matcher: Matcher, expected: int
) -> None:
    matches = await found(labelled, level, matcher)
    assert len(matches) == len(set(matches)) == expected


async def test_labels_are_combined_with_other_conditions_scopes_and_paging(labelled: Database) -> None:
    level = Level.INSTANCE
    assert len(await found(labelled, level, Like("*"), scope=study_ref(2))) == 3
    assert len(await found(labelled, level, Like("*"), scope=series_ref(2, 2))) == 1
    assert len(await found(labelled, level, Like("*"), scope=study_ref(1))) == 4
    both = (Condition(LabelKey(("a",), level), (Like("*"),)), Condition(LabelKey(("both",), level), (Equals(("2",)),)))
    [match] = await search(labelled.instances, *both, level=level)
    assert match.resource == identity(2, 2, 1).address
    uid = Condition("StudyInstanceUID", (Equals((study_ref(2).study or "",)),))
    every = await search(labelled.instances, uid, both[0], level=level)
    assert len(every) == 3
    assert await search(labelled.instances, uid, both[0], level=level, after=every[0].key) == every[1:]
    assert await search(labelled.instances, uid, both[0], level=level, skip=1) == every[1:]


async def test_either_of_several_names_matches(labelled: Database) -> None:
    assert len(await found(labelled, Level.STUDY, Equals(("1", "study")), names=("a", "both"))) == 1
    assert len(await found(labelled, Level.INSTANCE, Equals(("2",)), names=("a", "both"))) == 1


async def test_matches_of_labels_are_counted(labelled: Database) -> None:
    condition = Condition(LabelKey(("a",), Level.INSTANCE), (Like("*"),))
    assert await labelled.instances.count(Query(Level.INSTANCE, EVERYTHING, (condition,), limit=1)) == 7
