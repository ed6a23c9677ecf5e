"""Rules that create workitems on both databases, with an injected clock (docs/worklist.md)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from server.adapters.sql.engine import Database, open_database
from server.domain.access import Access
from server.domain.events.study_events import StudyEventSource
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.search.search import Search
from server.domain.sequencer import Sequencer
from server.domain.signal import Signal
from server.domain.worklist import rule_engine
from server.domain.worklist.rule_engine import RuleEngine
from server.domain.worklist.rule_workitems import RuleWorkitems
from server.model.ids import DEFAULT_PARTITION, PartitionName, Uid
from server.model.worklist.workitem import WorkitemMatch, WorkitemQuery
from server.model.worklist.workitem_rule import RuleDefinition, StudyQuery, WorkitemRule
from tests.contract.index.samples import NOON, sample, study_ref, uid
from tests.contract.index.sequenced import sequence

QUIET = timedelta(minutes=1)
TEMPLATE = orjson.dumps({"00741204": {"vr": "LO", "Value": ["Lung CAD"]}}).decode()
EVERY_STUDY = StudyQuery({})


@dataclass
class World:
    """An index with rules, a clock, and what a process does for them."""

    database: Database
    now: datetime = NOON
    recorded: list[dict[str, Any]] = field(default_factory=list)

    async def store(self, study: int, series: int = 1, instance: int = 1, **keys: Any) -> None:
        elements = {"00100020": {"vr": "LO", "Value": [f"P-{study}"]}}
        new = sample(study, series, instance, study_keys={"PatientID": f"p-{study}"}, study_elements=elements, **keys)
        await self.database.instances.add([new], self.now)

    async def rule(self, query: StudyQuery = EVERY_STUDY, template: str = TEMPLATE) -> WorkitemRule:
        """Register a rule."""
        number = len(await self.database.workitem_rules.list()) + 1
        definition = RuleDefinition("", query, frozenset(), template)
        rule = WorkitemRule(f"{number:016x}", definition, True, "anonymous", self.now)
        assert await self.database.workitem_rules.add(rule, 100)
        return rule

    async def state(self, rule: WorkitemRule) -> tuple[int, int, str]:
        found = await self.database.workitem_rules.find(rule.id)
        assert found is not None
        return found.state.workitems, found.state.waiting, found.state.problem

    async def process(self, after: timedelta = 2 * QUIET) -> None:
        """Let time pass, then create the events of studies as a core does."""
        self.now += after
        await sequence(self.database.changes)
        sequencer = Sequencer(self.database.changes)
        source = StudyEventSource(
            record=self.database.study_events,
            sequencer=sequencer,
            quiet=QUIET,
            now=lambda: self.now,
            read_only=ReadOnlyState(),
        )
        running = asyncio.create_task(sequencer.run())
        while await source.process():
            pass
        running.cancel()

    @property
    def engine(self) -> RuleEngine:
        return self.engine_of(self.database)

    def engine_of(self, database: Database) -> RuleEngine:
        names = PartitionNames(database.partitions, enabled=True, now=lambda: self.now)
        search = Search(database.instances, Access(names, ReadOnlyState()), database.tags, database.labels)
        return RuleEngine(
            record=database.workitem_rules,
            workitems=RuleWorkitems(search, database.instances),
            now=lambda: self.now,
            read_only=ReadOnlyState(),
            changed=Signal(),
            work=self._record,
        )

    @asynccontextmanager
    async def _record(self, principal: str, subtype: str, **facts: Any) -> AsyncIterator[None]:
        yield
        self.recorded.append({"principal": principal, "subtype": subtype, **facts})

    async def apply(self) -> None:
        while await self.engine.apply():
            pass

    async def workitems(self) -> list[WorkitemMatch]:
        """Return all workitems, oldest first."""
        found = await self.database.workitems.search(WorkitemQuery(DEFAULT_PARTITION, (), 200))
        return list(reversed(found.matches))

    async def studies(self) -> list[Uid]:
        """Return the studies of all workitems, in order of creation."""
        return [orjson.loads(one.data_set)["0020000D"]["Value"][0] for one in await self.workitems()]


@pytest.fixture
async def world(index_url: str) -> AsyncIterator[World]:
    database = open_database(index_url)
    yield World(database)
    await database.close()


async def test_each_stable_study_that_matches_gets_one_workitem(world: World) -> None:
    await world.store(9)
    await world.process()
    rule = await world.rule(StudyQuery({"PatientID": ("P-1", "P-2")}))
    for study in (1, 2, 3):
        await world.store(study)
    await world.apply()
    assert await world.workitems() == []
    await world.process()
    await world.apply()
    await world.apply()
    assert await world.studies() == [uid(1), uid(2)]
    assert await world.state(rule) == (2, 0, "")
    [first, _] = await world.workitems()
    assert first.uid.startswith("2.25.")
    assert world.recorded[0] == {
        "principal": "dicomstore:workitem-rules",
        "subtype": "add-workitem",
        "partition": DEFAULT_PARTITION,
        "study": uid(1),
        "workitem": first.uid,
        "rule": rule.id,
    }


async def test_a_rule_of_partitions_applies_to_their_studies_only(world: World) -> None:
    ward = PartitionName("ward")
    await world.database.partitions.create(ward, NOON)
    rule = await world.rule()
    definition = replace(rule.definition, partitions=frozenset({ward, PartitionName("unknown")}))
    assert await world.database.workitem_rules.replace(replace(rule, definition=definition), world.now)
    await world.store(1)
    await world.store(2, partition=ward)
    await world.process()
    await world.apply()
    assert await world.workitems() == []
    [workitem] = (await world.database.workitems.search(WorkitemQuery(ward, (), 200))).matches
    assert orjson.loads(workitem.data_set)["0020000D"]["Value"] == [uid(2)]


async def test_a_study_that_changes_and_is_stable_again_gets_another_workitem(world: World) -> None:
    await world.rule()
    await world.store(1)
    await world.process()
    await world.apply()
    await world.store(1, 2)
    await world.process()
    await world.apply()
    first, second = (orjson.loads(one.data_set) for one in await world.workitems())
    assert len({one["00080018"]["Value"][0] for one in (first, second)}) == 2
    series = [[item["0020000E"]["Value"][0] for item in one["00404021"]["Value"]] for one in (first, second)]
    assert series == [[uid(1, 1)], [uid(1, 1), uid(1, 2)]]


async def test_a_study_that_is_deleted_before_its_rule_is_applied_gets_no_workitem(world: World) -> None:
    rule = await world.rule()
    await world.store(1)
    await world.process()
    await world.database.instances.delete(study_ref(1), world.now, world.now)
    await world.apply()
    assert (await world.workitems(), await world.state(rule)) == ([], (0, 0, ""))


async def test_a_failure_is_visible_and_stops_neither_other_rules_nor_other_studies(world: World) -> None:
    failing = await world.rule(StudyQuery({"PatientComments": ("*",)}))
    await world.rule()
    await world.store(1)
    await world.store(2)
    await world.process()
    await world.apply()
    assert await world.studies() == [uid(1), uid(2)]
    assert await world.state(failing) == (0, 2, "UNSUPPORTED_ATTRIBUTE PatientComments")
    world.now += timedelta(seconds=9)
    await world.apply()
    assert await world.state(failing) == (0, 2, "UNSUPPORTED_ATTRIBUTE PatientComments")
    corrected = replace(failing, definition=replace(failing.definition, query=StudyQuery({"PatientID": ("P-2",)})))
    assert await world.database.workitem_rules.replace(corrected, world.now)
    await world.apply()
    assert await world.state(failing) == (1, 0, "")
    assert await world.studies() == [uid(1), uid(2), uid(2)]


async def test_a_failed_event_is_tried_again_at_growing_intervals(world: World) -> None:
    failing = await world.rule(StudyQuery({"PatientComments": ("*",)}))
    await world.store(1)
    await world.process()
    await world.apply()
    for seconds, attempts in ((9, 1), (1, 2), (19, 2), (1, 3)):
        world.now += timedelta(seconds=seconds)
        await world.apply()
        later = await world.database.workitem_rules.events(failing.id, world.now + timedelta(days=1), 10, 10)
        assert [waiting.attempts for waiting in later.again] == [attempts]


async def test_new_events_wait_while_too_many_have_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_engine, "MAX_WAITING", 1)
    failing = await world.rule(StudyQuery({"PatientComments": ("*",)}))
    await world.store(1)
    await world.process()
    await world.apply()
    await world.store(2)
    await world.process(timedelta(minutes=2))
    await world.apply()
    assert (await world.state(failing))[:2] == (0, 1)
    assert await world.database.workitem_rules.replace(
        replace(failing, definition=replace(failing.definition, query=EVERY_STUDY)), world.now
    )
    await world.apply()
    await world.apply()
    assert await world.studies() == [uid(1), uid(2)]


async def test_a_disabled_rule_catches_up_when_it_is_enabled(world: World) -> None:
    rule = await world.rule()
    assert await world.database.workitem_rules.replace(replace(rule, is_enabled=False), world.now)
    await world.store(1)
    await world.process()
    await world.apply()
    assert await world.workitems() == []
    assert await world.database.workitem_rules.replace(rule, world.now)
    await world.apply()
    assert await world.studies() == [uid(1)]


async def test_processes_that_apply_rules_at_the_same_time_create_one_workitem(world: World, index_url: str) -> None:
    rule = await world.rule()
    for study in range(5):
        await world.store(study)
    await world.process()
    other = open_database(index_url)
    await asyncio.gather(world.engine.apply(), world.engine_of(other).apply())
    await other.close()
    assert sorted(await world.studies()) == [uid(study) for study in range(5)]
    assert await world.state(rule) == (5, 0, "")


async def test_a_large_study_is_referenced_by_one_instance_of_each_series(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.domain.worklist.rule_workitems.MAX_REFERENCES", 3)
    await world.rule()
    for series, instance in ((1, 1), (2, 1), (1, 2), (2, 2)):
        await world.store(1, series, instance)
    await world.process()
    await world.apply()
    [workitem] = await world.workitems()
    items = orjson.loads(workitem.data_set)["00404021"]["Value"]
    found = [[one["00081155"]["Value"][0] for one in item["00081199"]["Value"]] for item in items]
    assert found == [[uid(1, 1, 1)], [uid(1, 2, 1)]]
