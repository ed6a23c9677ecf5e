"""The statements of a transaction that stores instances in PostgreSQL."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, create_engine, text

from server.adapters.sql.core.engines import engine_of
from server.adapters.sql.core.sessions import begin, commit
from server.adapters.sql.engine import _WRITES as WRITES
from server.adapters.sql.engine import Database, nothing_for_tags, open_database
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.pipeline import Pipeline
from server.adapters.sql.writing.adding import add
from server.model.instance import Added, AddOutcome, NewInstance
from server.ports.outbox import OutboxChanges
from tests.contract.index.samples import NOON, sample

pytestmark = pytest.mark.postgres

Store = Callable[[list[NewInstance]], None]

USES = 12
"""PostgreSQL plans the first five executions of a prepared statement."""


@pytest.fixture
def url(emptied_postgres_url: str) -> str:
    return emptied_postgres_url


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    engine = engine_of(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def store(connection: Connection) -> Store:
    keys = PartitionKeys()

    def store(instances: list[NewInstance]) -> None:
        begin(connection, WRITES["postgresql"].begin)
        outcomes = add(connection, keys, instances, NOON, nothing_for_tags, None)
        assert all(isinstance(outcome, Added) for outcome in outcomes)
        commit(connection)

    return store


@pytest.mark.parametrize("instances", [1, 2])
def test_the_statements_of_a_store_are_not_planned_each_time(
    connection: Connection, store: Store, instances: int
) -> None:
    for number in range(USES):
        store([sample(1, 1, number * instances + other) for other in range(instances)])
        store([sample(number + 2, 1, other) for other in range(instances)])  # with a new study
    planned = text("SELECT statement FROM pg_prepared_statements WHERE custom_plans > 5")
    assert connection.execute(planned).scalars().all() == []


def test_an_instance_of_a_known_series_takes_two_round_trips(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store([sample(1, 1, 1)])
    sent: list[int] = []
    flush = Pipeline.flush

    def counted(pipeline: Pipeline) -> None:
        sent.append(len(pipeline._queue))
        flush(pipeline)

    monkeypatch.setattr(Pipeline, "flush", counted)
    store([sample(1, 1, 2)])
    assert sent == [7, 9]


async def test_an_instance_that_waited_for_its_study_has_a_higher_version_than_what_was_stored_meanwhile(
    database: Database, other_database: Database, url: str
) -> None:
    """Otherwise an index that lacks what was stored meanwhile would not be recognised by its highest version."""
    locked, leave = threading.Event(), threading.Event()

    def hold(_: object) -> OutboxChanges:
        locked.set()
        leave.wait(20)
        return OutboxChanges((), ())

    first = asyncio.ensure_future(database.instances.add([sample(1, 1, 1)], NOON, hold))
    await asyncio.to_thread(locked.wait, 20)
    second = asyncio.ensure_future(other_database.instances.add([sample(1, 1, 2)], NOON))
    await asyncio.to_thread(_wait_for_a_waiting_transaction, url)
    third = open_database(url)
    (meanwhile,) = await third.instances.add([sample(2, 1, 1)], NOON)
    await third.close()
    leave.set()
    assert _version(*await first) < _version(meanwhile) < _version(*await second)


def _version(outcome: AddOutcome) -> int:
    assert isinstance(outcome, Added)
    return outcome.version


def _wait_for_a_waiting_transaction(url: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        while not connection.execute(waiting).scalar_one():
            pass
    engine.dispose()
