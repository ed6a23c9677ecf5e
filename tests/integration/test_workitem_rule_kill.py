"""Rules for workitems while the processes that apply them are killed, on both databases."""

import asyncio
import os
import random
import secrets
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson
import pytest

from server.adapters.sql.engine import Database, migrate, open_database
from server.domain.access import Access
from server.domain.events.study_events import StudyEventSource
from server.domain.lease import Lease
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.search.search import Search
from server.domain.sequencer import Sequencer
from server.domain.signal import Signal
from server.domain.worklist.rule_engine import RuleEngine
from server.domain.worklist.rule_workitems import RuleWorkitems
from server.model.ids import DEFAULT_PARTITION
from server.model.worklist.workitem import WorkitemQuery
from server.model.worklist.workitem_rule import RuleDefinition, StudyQuery, WorkitemRule
from server.ports.events.webhooks import LEASE
from tests.conftest import PostgresDatabases
from tests.contract.index.samples import sample, uid
from tests.databases import migrated
from tests.integration.archive_process import in_a_process
from tests.integration.test_workitem_rules import TEMPLATE

RULES = 2
STUDIES = 10


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return migrated(tmp_path / "index.db")
    databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
    return databases.url(databases.create_migrated())


def _now() -> datetime:
    return datetime.now(UTC)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def engine_of(database: Database, changed: Signal, kill: str = "") -> RuleEngine:
    """Return what applies rules; `kill` is when the process kills itself: before or after the first creation."""

    @asynccontextmanager
    async def work(*_: Any, **facts: Any) -> AsyncIterator[None]:
        if kill == "before":
            _kill()
        yield
        if kill == "after":
            _kill()

    names = PartitionNames(database.partitions, enabled=False, now=_now)
    search = Search(database.instances, Access(names, ReadOnlyState()), database.tags, database.labels)
    return RuleEngine(
        record=database.workitem_rules,
        workitems=RuleWorkitems(search, database.instances),
        now=_now,
        read_only=ReadOnlyState(),
        changed=changed,
        work=work,
    )


def apply(events: Connection, url: str, kill: str, kill_after_s: float) -> None:
    """Do what a core does for rules; be killed, at the latest some time after taking the lease."""
    asyncio.run(_apply(url, kill, kill_after_s))


async def _apply(url: str, kill: str, kill_after_s: float) -> None:
    database, changed = open_database(url), Signal()
    sequencer = Sequencer(database.changes)
    source = StudyEventSource(
        record=database.study_events,
        sequencer=sequencer,
        quiet=timedelta(milliseconds=100),
        now=_now,
        read_only=ReadOnlyState(),
        processed=changed.notify,
    )

    async def work() -> None:
        timer = threading.Timer(kill_after_s, _kill)
        timer.daemon = True
        timer.start()
        await asyncio.gather(source.run(), engine_of(database, changed, kill).run())

    lease = Lease(database.leases, LEASE, secrets.token_hex(8), seconds=0.6)
    await asyncio.gather(sequencer.run(), lease.run(work))


@pytest.mark.timeout(300)
async def test_killed_processes_create_one_workitem_for_each_rule_and_study(tmp_path: Path, database_url: str) -> None:
    """Two processes at a time; each is killed between an event and its workitem, after the workitem, or at random."""
    migrate(database_url)
    database = open_database(database_url)
    for number in range(RULES):
        definition = RuleDefinition("", StudyQuery({}), frozenset(), TEMPLATE)
        rule = WorkitemRule(f"{number:016x}", definition, True, "anonymous", _now())
        assert await database.workitem_rules.add(rule, RULES)
    for study in range(STUDIES):
        await database.instances.add([sample(study)], _now())
    chance = random.Random("killed")
    kills = iter(["before", "before", "after"])

    query = WorkitemQuery(DEFAULT_PARTITION, (), 200)

    async def processes() -> None:
        while await database.workitems.count(query) < RULES * STUDIES:
            await asyncio.to_thread(in_a_process, apply, database_url, next(kills, ""), chance.uniform(0.5, 4))

    await asyncio.gather(processes(), processes())
    found = (await database.workitems.search(query)).matches
    studies = Counter(orjson.loads(one.data_set)["0020000D"]["Value"][0] for one in found)
    assert studies == {uid(study): RULES for study in range(STUDIES)}
    assert [rule.state.workitems for rule in await database.workitem_rules.list()] == [STUDIES] * RULES
    await database.close()
