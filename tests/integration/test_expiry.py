"""The worker that deletes expired studies, and who may set an expiry."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from server.adapters.sql.engine import Database, migrate, open_database
from server.domain.access import Access
from server.domain.lifecycle.expiry import ExpiryWorker
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.model.access import Action, Grant
from server.model.call import Call, Principal
from server.model.change import ChangeAction, ChangeWindow
from server.model.errors import Forbidden
from server.model.ids import ARCHIVE, DEFAULT_PARTITION, Address
from tests.contract.index.samples import EVERYTHING, NOON, sample, study_ref
from tests.contract.index.sequenced import sequence

HOUR = timedelta(hours=1)


class Clock:
    time = NOON

    def now(self) -> datetime:
        return self.time


def worker_of(database: Database, clock: Clock) -> ExpiryWorker:
    return ExpiryWorker(
        expiries=database.expiries,
        now=clock.now,
        deadline_now=clock.now,
        retention=HOUR,
        read_only=ReadOnlyState(),
        on_change=lambda: None,
    )


async def test_several_workers_delete_each_expired_study_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'index.db'}"
    await asyncio.to_thread(migrate, url)
    databases, clock = [open_database(url) for _ in range(3)], Clock()
    index = databases[0].instances
    for study in range(1, 121):
        await index.add([replace(sample(study), expires=NOON + study * HOUR)], NOON)
    workers = [worker_of(database, clock) for database in databases]
    assert [await worker.expire() for worker in workers] == [0, 0, 0]
    clock.time = NOON + 110 * HOUR
    counts = await asyncio.gather(*(worker.expire() for worker in workers))
    counts += await asyncio.gather(*(worker.expire() for worker in workers))
    assert sum(counts) == 110
    assert len(await index.find(EVERYTHING)) == 10
    await sequence(databases[0].changes)
    changes = await databases[0].changes.list(ChangeWindow(limit=1000))
    deleted = [change.instance.study for change in changes if change.action is ChangeAction.DELETE]
    assert sorted(deleted) == sorted(study_ref(study).study or "" for study in range(1, 111))
    assert await index.undelete(study_ref(1), clock.time, clock.time) == 1
    for database in databases:
        await database.close()


@pytest.mark.parametrize(
    ("actions", "is_permitted"),
    [({Action.WRITE}, False), ({Action.DELETE}, False), ({Action.WRITE, Action.DELETE}, True)],
)
async def test_storing_with_expiry_requires_permission_to_delete(
    tmp_path: Path, actions: set[Action], is_permitted: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'index.db'}"
    await asyncio.to_thread(migrate, url)
    database = open_database(url)
    access = Access(PartitionNames(database.partitions, enabled=True, now=Clock().now), ReadOnlyState())
    call = Call("r1", Principal("p", grants=(Grant(frozenset(actions), ARCHIVE),)))
    asking = access.permit(call, Action.WRITE, Address(DEFAULT_PARTITION), also=Action.DELETE)
    if is_permitted:
        await asking
    else:
        with pytest.raises(Forbidden):
            await asking
    await database.close()
