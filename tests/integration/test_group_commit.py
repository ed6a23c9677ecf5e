"""Instances that are stored at the same time share a transaction (server/domain/store/commit.py)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from common.telemetry.otlp import readable
from common.telemetry.tracing import Span, recorded, sampler_of
from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.adapters.sql.engine import migrate, open_database
from server.domain.store import commit
from server.domain.store.commit import Committer
from server.model.instance import Added
from tests.contract.index.samples import sample


def now() -> datetime:
    return datetime.now(UTC)


class Transactions:
    """A committer, and the times of its transactions."""

    def __init__(self) -> None:
        self.times: list[datetime] = []
        self.committer: Committer

    def ended(self) -> None:
        self.times.append(now())


@pytest.fixture
async def transactions(tmp_path: Path) -> AsyncIterator[Transactions]:
    url = f"sqlite:///{tmp_path}/index.db"
    await asyncio.to_thread(migrate, url)
    database, found = open_database(url), Transactions()
    found.committer = Committer(MemoryBlobs(), database.instances, now, found.ended, now)
    yield found
    await database.close()


async def test_an_instance_alone_does_not_wait_for_others(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_GATHER_SECONDS", 3600)
    with transactions.committer.coming():
        added = transactions.committer.add(sample(1, 1, 1))
    assert isinstance(await added, Added)


async def test_instances_whose_bytes_become_durable_at_the_same_time_share_a_transaction(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_GATHER_SECONDS", 3600)
    committer = transactions.committer
    with committer.coming():
        first = committer.add(sample(1, 1, 1))
        for _ in range(10):  # turns of the event loop
            await asyncio.sleep(0)
        assert not transactions.times
        second = committer.add(sample(1, 1, 2))
    assert all(isinstance(outcome, Added) for outcome in await asyncio.gather(first, second))
    assert len(transactions.times) == 1


async def test_an_instance_that_failed_is_not_waited_for(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_GATHER_SECONDS", 3600)
    with suppress(OSError), transactions.committer.coming():
        added = transactions.committer.add(sample(1, 1, 1))
        await asyncio.sleep(0)
        raise OSError("full")
    assert isinstance(await added, Added)


async def test_the_wait_for_slow_instances_is_limited(transactions: Transactions) -> None:
    with transactions.committer.coming():
        assert isinstance(await transactions.committer.add(sample(1, 1, 1)), Added)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every transaction counts as slow, and the next one waits for its clients as long as it takes."""
    monkeypatch.setattr(commit, "_SLOW_SECONDS", 0)
    monkeypatch.setattr(commit, "_CLIENTS_WAIT", 1e9)
    monkeypatch.setattr(commit, "_MAX_CLIENTS_SECONDS", 3600)


@pytest.mark.usefixtures("slow")
async def test_clients_that_shared_a_slow_transaction_share_the_next_one(transactions: Transactions) -> None:
    committer = transactions.committer
    with committer.coming():
        together = [committer.add(sample(1, 1, number)) for number in (1, 2)]
    await asyncio.gather(*together)
    first = committer.add(sample(1, 1, 3))
    for _ in range(10):  # turns of the event loop
        await asyncio.sleep(0)
    assert len(transactions.times) == 1
    second = committer.add(sample(1, 1, 4))
    assert all(isinstance(outcome, Added) for outcome in await asyncio.gather(first, second))
    assert len(transactions.times) == 2


@pytest.mark.usefixtures("slow")
async def test_a_client_alone_does_not_wait_after_a_slow_transaction(transactions: Transactions) -> None:
    for number in range(1, 4):
        assert isinstance(await transactions.committer.add(sample(1, 1, number)), Added)


async def test_a_transaction_is_a_span_of_each_trace_with_links_to_the_others(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_GATHER_SECONDS", 3600)
    committer, spans = transactions.committer, list[Span]()
    first, second = (f"00-{number:032x}-{number:016x}-01" for number in (1, 2))
    instances = [
        replace(sample(1, 1, number), trace=trace) for number, trace in enumerate((first, second, first, ""), 1)
    ]
    with recorded(spans.append, sampler_of({"OTEL_TRACES_SAMPLER": "parentbased_always_off"})):
        with committer.coming():
            added = [committer.add(instance) for instance in instances]
        await asyncio.gather(*added)
    assert [(span.name, span.parent_id, span.links) for span in spans] == [
        ("commit", f"{1:016x}", [second]),
        ("commit", f"{2:016x}", [first]),
    ]
    assert {span.attributes["dicomstore.instances"] for span in spans} == {4}
    [link] = readable(spans[0], Resource({}), InstrumentationScope("test")).links
    assert (link.context.trace_id, link.context.span_id) == (2, 2)
