"""Processes for the model test of a worklist: workers compete for workitems, and their process may be killed."""

import asyncio
import itertools
import os
import random
import signal
import threading
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from server.adapters.sql import engine
from server.adapters.sql.core.progress import Progress
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.worklist.workitems import Workitems
from server.model.call import EVERYBODY, Call
from server.model.errors import NotFound, WrongState
from server.model.ids import NO_PARTITION, Uid
from server.model.worklist.workitem import WorkitemState
from server.opening import prepare
from tests.core import settings_for
from tests.worklist import data_set, discontinued, performed, text, workitem

WORKERS = 4
ACTIONS = 12
"""Of each worker."""

FINAL = (WorkitemState.COMPLETED, WorkitemState.CANCELED)


def work(
    events: Connection,
    data: Path,
    database: str,
    seed: str,
    uids: Sequence[str],
    owned: Mapping[str, str],
    kill_after_s: float | None,
) -> None:
    """Create, claim, update, finish and cancel workitems; exit, or be killed.

    Before each change that may succeed, and after each that did, an event tells so.

    Args:
        uids: of workitems that may exist.
        owned: Transaction UIDs by workitem, which other processes chose; no other process uses them now.
    """
    asyncio.run(_Process(events, random.Random(seed), seed, list(uids), dict(owned)).run(data, database, kill_after_s))


class _Process:
    def __init__(
        self, events: Connection, chance: random.Random, seed: str, uids: list[str], owned: dict[str, str]
    ) -> None:
        self._tell = events.send
        self._chance = chance
        self._seed = seed
        self._uids = uids
        self._owned = owned
        self._numbers = itertools.count(1)
        self._updating = asyncio.Lock()  # so that the order of acknowledgements is that of changes

    async def run(self, data: Path, database_url: str, kill_after_s: float | None) -> None:
        settings = settings_for(data, database=database_url)
        prepared = prepare(settings)
        async with AsyncExitStack() as stack:
            stack.callback(prepared.storage.close)
            storage = prepared.storage
            database = engine.open_database(
                settings.database_url,
                permit=prepared.read_only.require_writable,
                progress=Progress(prepared.mark, storage.marks.record, prepared.read_only.restrict, storage.journal),
            )
            stack.push_async_callback(database.close)
            names = PartitionNames(database.partitions, enabled=False, now=lambda: datetime.now(UTC))
            self._workitems = Workitems(
                access=Access(names, prepared.read_only),
                partitions=names,
                record=database.workitems,
                now=lambda: datetime.now(UTC),
            )
            if kill_after_s is not None:
                timer = threading.Timer(kill_after_s, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()
            await asyncio.gather(*(self._worker() for _ in range(WORKERS)))

    async def _worker(self) -> None:
        actions = (self._create, self._claim, self._claim, self._claim, self._update, self._finish, self._cancel)
        for _ in range(ACTIONS):
            await self._chance.choice((*actions, self._interfere))()

    def _new_uid(self) -> str:
        return f"2.25.{int(self._seed.encode().hex(), 16)}{next(self._numbers):04}"

    def _any(self) -> str:
        return self._chance.choice(self._uids) if self._uids else "2.25.0"

    def _any_owned(self) -> tuple[str, str]:
        return self._chance.choice(sorted(self._owned.items())) if self._owned else ("2.25.0", "2.25.1")

    async def _create(self) -> None:
        uid = self._new_uid()
        self._uids.append(uid)
        self._tell(("creating", uid))
        await self._workitems.create(_call(), NO_PARTITION, Uid(uid), text(workitem(ProcedureStepLabel="new")))
        self._tell(("created", uid))

    async def _claim(self) -> None:
        """All workers of all processes try the same few workitems."""
        uid, transaction = self._chance.choice(self._uids[-6:] or ["2.25.0"]), self._new_uid()
        self._tell(("claiming", (uid, transaction)))
        if await _succeeds(self._change(uid, transaction, WorkitemState.IN_PROGRESS)):
            self._tell(("claimed", (uid, transaction)))
            self._owned[uid] = transaction

    async def _update(self) -> None:
        uid, transaction = self._any_owned()
        label = f"label {self._chance.getrandbits(40)}"
        content = text(data_set(ProcedureStepLabel=label))
        async with self._updating:
            self._tell(("updating", (uid, label)))
            if await _succeeds(self._workitems.update(_call(), NO_PARTITION, Uid(uid), transaction, content)):
                self._tell(("updated", (uid, label)))

    async def _finish(self) -> None:
        uid, transaction = self._any_owned()
        state = self._chance.choice(FINAL)
        results = text(performed() | discontinued())
        if await _succeeds(self._workitems.update(_call(), NO_PARTITION, Uid(uid), transaction, results)):
            self._tell(("finishing", (uid, state.value)))
            if await _succeeds(self._change(uid, transaction, state)):
                self._tell(("finished", (uid, state.value)))

    async def _cancel(self) -> None:
        uid = self._any()
        self._tell(("canceling", uid))
        if await _succeeds(self._workitems.request_cancellation(_call(), NO_PARTITION, Uid(uid), b"")):
            self._tell(("canceled", uid))

    async def _interfere(self) -> None:
        """Try to change a workitem in progress without its Transaction UID."""
        uid, wrong = self._any_owned()[0], self._new_uid()
        content = text(data_set(ProcedureStepLabel="interference"))
        for attempt in (
            self._workitems.update(_call(), NO_PARTITION, Uid(uid), wrong, content),
            self._change(uid, wrong, self._chance.choice(FINAL)),
        ):
            if await _succeeds(attempt):
                self._tell(("interfered", uid))

    async def _change(self, uid: str, transaction: str, state: WorkitemState) -> Any:
        return await self._workitems.change_state(_call(), NO_PARTITION, Uid(uid), Uid(transaction), state)


async def _succeeds(attempt: Awaitable[object]) -> bool:
    """Return whether a change has been made; False if it was refused because of the state or an unknown workitem."""
    try:
        return await attempt is not False
    except (WrongState, NotFound):
        return False


def _call() -> Call:
    return Call("model", EVERYBODY)
