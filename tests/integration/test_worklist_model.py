"""Workers that compete for workitems while their processes are killed, and the index is lost: one claims, and nothing
that was acknowledged is lost (PS3.4 section CC.1.1).

`DICOMSTORE_MODEL_SEEDS` and `DICOMSTORE_MODEL_STEPS` make the test longer.
"""

import asyncio
import json
import os
import random
from collections import defaultdict
from pathlib import Path

import pytest

from server.adapters.sql.engine import open_database
from server.bootstrap.maintenance import recover
from server.model.ids import DEFAULT_PARTITION
from server.model.worklist.event import EventType
from server.model.worklist.workitem import Workitem, WorkitemQuery, WorkitemState, opens
from tests.contract.index.sequenced import sequence
from tests.core import settings_for
from tests.databases import migrated_index
from tests.integration.archive_process import Event, in_a_process
from tests.integration.test_opening import remove_index
from tests.integration.worklist_process import work
from tests.worklist import tag

SEEDS = int(os.environ.get("DICOMSTORE_MODEL_SEEDS", "1"))
STEPS = int(os.environ.get("DICOMSTORE_MODEL_STEPS", "4"))
PROCESSES = 2
"""That run at the same time, in each step."""

ORDER = list(WorkitemState)
INTENTIONS = ("creating", "claiming", "updating")
FINAL = (WorkitemState.COMPLETED, WorkitemState.CANCELED)


class Model:
    """What a worklist must and may contain, from the events of processes and from earlier contents."""

    def __init__(self) -> None:
        self.created: set[str] = set()  # acknowledged
        self.known: set[str] = set()  # acknowledged or not
        self.transactions: dict[str, list[str]] = defaultdict(list)  # of claims, acknowledged or not
        self.owners: dict[str, str] = {}  # of acknowledged claims
        self.finished: dict[str, str] = {}  # acknowledged
        self.labels: dict[str, list[str]] = defaultdict(lambda: ["new"])  # the last acknowledged one, and later ones
        self.seen: dict[str, Workitem] = {}

    def learn(self, events: list[Event]) -> None:
        for kind, detail in events:
            match kind:
                case "creating":
                    self.known.add(detail)
                case "created":
                    self.created.add(detail)
                case "claiming":
                    self.transactions[detail[0]].append(detail[1])
                case "claimed":
                    uid, transaction = detail
                    assert uid not in self.owners, f"{uid} was claimed twice"
                    self.owners[uid] = transaction
                case "updating":
                    self.labels[detail[0]].append(detail[1])
                case "updated":
                    uid, label = detail
                    self.labels[uid] = self.labels[uid][self.labels[uid].index(label) :]
                case "finished":
                    uid, state = detail
                    assert uid not in self.finished, f"{uid} was finished twice"
                    self.finished[uid] = state
                case "canceled":
                    assert detail not in self.owners, f"{detail} was cancelled although it was claimed"
                    assert detail not in self.finished, f"{detail} was finished twice"
                    self.finished[detail] = WorkitemState.CANCELED
                case "interfered":
                    raise AssertionError(f"{detail} was changed without its Transaction UID")

    def check(self, present: dict[str, Workitem]) -> None:
        assert self.created <= present.keys() <= self.known
        for uid, one in present.items():
            owner = self.owner(one)
            if uid in self.owners:
                assert owner == self.owners[uid], f"{uid} has lost its claim"
            if uid in self.finished:
                assert one.state == self.finished[uid], f"{uid} is {one.state}"
            assert (owner is None) == (one.lock == ""), f"{uid} has an unknown owner"
            assert owner is not None or one.state in (WorkitemState.SCHEDULED, WorkitemState.CANCELED)
            assert f'"Value":["{one.state}"]' in one.data_set
            assert any(f'"Value":["{label}"]' in one.data_set for label in self.labels[uid]), (
                f"{uid}: {self.labels[uid]}"
            )
            assert tag("TransactionUID") not in one.data_set
            before = self.seen.get(uid)
            if before is not None and before.state in FINAL:
                assert one == before, f"{uid} has changed in a final state"
            elif before is not None:
                assert ORDER.index(before.state) <= ORDER.index(one.state), f"{uid} went back to {one.state}"
            self.seen[uid] = one

    def owner(self, one: Workitem) -> str | None:
        return next((uid for uid in self.transactions[one.uid] if opens(uid, one.lock)), None)

    def owned(self) -> dict[str, str]:
        """Return the Transaction UIDs of workitems in progress."""
        owners = {uid: self.owner(one) for uid, one in self.seen.items() if one.state is WorkitemState.IN_PROGRESS}
        return {uid: owner for uid, owner in owners.items() if owner is not None}


async def contents(url: str) -> dict[str, Workitem]:
    database = open_database(url)
    found: dict[str, Workitem] = {}
    after: int | None = None
    while True:
        page = await database.workitems.search(WorkitemQuery(DEFAULT_PARTITION, (), 50, after=after))
        for match in page.matches:
            one = await database.workitems.get(DEFAULT_PARTITION, match.uid)
            assert one is not None
            found[match.uid] = one
        if not page.has_more:
            await database.close()
            return found
        after = page.matches[-1].key


async def reported(url: str) -> dict[str, list[str]]:
    """Return the states that the events of each workitem report, in order."""
    database = open_database(url)
    await sequence(database.changes)
    found: dict[str, list[str]] = defaultdict(list)
    position = 0
    while page := await database.workitem_events.after(position, 500, 1 << 20, with_data_sets=False):
        position = page[-1].position
        for event in page:
            if event.type is EventType.STATE_REPORT:
                found[event.workitem].append(json.loads(event.information)[tag("ProcedureStepState")]["Value"][0])
    await database.close()
    return found


async def run(data: Path, url: str, seed: str, *, loses_index: bool) -> Model:
    model, chance = Model(), random.Random(seed)
    for step in range(STEPS):
        owned = sorted(model.owned().items())
        processes = [
            asyncio.to_thread(
                in_a_process,
                work,
                data,
                url,
                f"{seed}{step}{number}",
                sorted(model.known, key=lambda uid: (uid in model.finished, uid)),
                dict(owned[number::PROCESSES]),
                chance.choice((None, chance.uniform(0.02, 0.6))),
            )
            for number in range(PROCESSES)
        ]
        found = await asyncio.gather(*processes)
        everything = [event for events in found for event in events]
        for are_intentions in (True, False):  # the processes ran at the same time
            model.learn([event for event in everything if (event[0] in INTENTIONS) == are_intentions])
        if loses_index and chance.random() < 0.5:
            remove_index(data)
            await recover(settings_for(data))
        present = await contents(url or f"sqlite:///{data / 'index.db'}")
        model.check(present)
        if not loses_index:  # with which events are lost
            reports = await reported(url)
            for uid, one in present.items():
                assert reports[uid] == [state for state in ORDER if state in reports[uid]], f"{uid}: {reports[uid]}"
                assert (reports[uid][0], reports[uid][-1]) == (WorkitemState.SCHEDULED, one.state)
    return model


def files_with(words: list[str], folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(word.encode() in path.read_bytes() for word in words)
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_one_worker_claims_and_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    data = tmp_path / "data"
    migrated_index(data)
    model = await run(data, "", str(seed), loses_index=True)
    assert model.owners
    assert model.finished
    assert not files_with(list(model.owners.values()), data)


@pytest.mark.postgres
@pytest.mark.timeout(1800)
async def test_one_worker_claims_and_nothing_acknowledged_is_lost_in_postgresql(
    tmp_path: Path, postgres_url: str
) -> None:
    model = await run(tmp_path / "data", postgres_url, "9", loses_index=False)
    assert model.owners
    assert model.finished
