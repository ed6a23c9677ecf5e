"""The state machine of a workitem against Table CC.1.1-2 of PS3.4, with several workers, on both databases.

Hypothesis chooses the requests, and reduces a failing sequence of them to the shortest. Kills and processes that
compete are in `test_worklist_model`.
"""

import asyncio
import itertools
from collections.abc import Awaitable
from datetime import UTC, datetime

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from server.adapters.sql.engine import Database, open_database
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.worklist.workitems import Workitems
from server.model.call import EVERYBODY, Call
from server.model.errors import WrongState
from server.model.ids import NO_PARTITION, Uid
from server.model.worklist.workitem import WorkitemState
from tests.worklist import data_set, discontinued, performed, tag, text, workitem

SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = WorkitemState
WORKERS = ["2.25.11", "2.25.12", "2.25.13"]
"""Transaction UIDs, one for each worker."""

CHANGED, ALREADY = "changed", "already in the state"

_numbers = itertools.count(1)


def expected(state: WorkitemState, *, is_owner: bool, wanted: WorkitemState) -> str:
    """Return the outcome of a request to change the state: a status of PS3.4 Table CC.1.1-2, or what happens."""
    match state, wanted:
        case _, WorkitemState.SCHEDULED:
            return "C303"
        case WorkitemState.SCHEDULED, WorkitemState.IN_PROGRESS:
            return CHANGED
        case WorkitemState.SCHEDULED, _:
            return "C301"  # no Transaction UID is the correct one
        case _ if not is_owner:
            return "C301"
        case WorkitemState.IN_PROGRESS, WorkitemState.IN_PROGRESS:
            return "C302"
        case WorkitemState.IN_PROGRESS, _:
            return CHANGED
        case _:
            return ALREADY if state is wanted else "C300"


class Worklist(RuleBasedStateMachine):
    """Requests of three workers and a scheduler, with the expected workitems beside them."""

    workitems = Bundle("workitems")
    worker = st.sampled_from(WORKERS)

    def __init__(self, loop: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self._loop = loop
        names = PartitionNames(database.partitions, enabled=False, now=lambda: datetime.now(UTC))
        self._workitems = Workitems(
            access=Access(names, ReadOnlyState()),
            partitions=names,
            record=database.workitems,
            now=lambda: datetime.now(UTC),
        )
        self._states: dict[Uid, WorkitemState] = {}
        self._owners: dict[Uid, str] = {}
        self._labels: dict[Uid, str] = {}

    @rule(target=workitems)
    def create(self) -> Uid:
        uid = Uid(f"2.25.7{next(_numbers):06}")
        content = text(workitem(ProcedureStepLabel="new"))
        assert self._outcome(self._workitems.create(_call(), NO_PARTITION, uid, content)) == CHANGED
        self._states[uid], self._labels[uid] = SCHEDULED, "new"
        return uid

    @rule(uid=workitems, transaction=worker, wanted=st.sampled_from(WorkitemState))
    def change_state(self, uid: Uid, transaction: str, wanted: WorkitemState) -> None:
        is_owner = self._owners.get(uid) == transaction
        if self._states[uid] is IN_PROGRESS and is_owner and wanted in (COMPLETED, CANCELED):
            self._workitem_has_results(uid, transaction)
        outcome = self._outcome(
            self._workitems.change_state(_call(), NO_PARTITION, uid, Uid(transaction), wanted),
        )
        assert outcome == expected(self._states[uid], is_owner=is_owner, wanted=wanted)
        if outcome == CHANGED:
            self._states[uid] = wanted
            self._owners.setdefault(uid, transaction)

    @rule(uid=workitems, transaction=st.sampled_from(["", *WORKERS]), label=st.sampled_from(["one", "two"]))
    def update(self, uid: Uid, transaction: str, label: str) -> None:
        content = text(data_set(ProcedureStepLabel=label))
        outcome = self._outcome(self._workitems.update(_call(), NO_PARTITION, uid, transaction, content))
        match self._states[uid]:
            case WorkitemState.SCHEDULED:
                assert outcome == ("C301" if transaction else CHANGED)
            case WorkitemState.IN_PROGRESS:
                assert outcome == (CHANGED if transaction == self._owners[uid] else "C301")
            case state:
                assert outcome == ("C306" if state is COMPLETED else "C304")
        if outcome == CHANGED:
            self._labels[uid] = label

    @rule(uid=workitems)
    def request_cancellation(self, uid: Uid) -> None:
        outcome = self._outcome(self._workitems.request_cancellation(_call(), NO_PARTITION, uid, b""))
        statuses = {IN_PROGRESS: "C312", COMPLETED: "C311", CANCELED: "B304"}  # nobody has subscribed
        assert outcome == statuses.get(self._states[uid], CHANGED)
        if outcome == CHANGED:
            self._states[uid] = CANCELED

    @invariant()
    def workitems_are_as_expected(self) -> None:
        for uid, state in self._states.items():
            found = orjson.loads(self._loop.run(self._workitems.get(_call(), NO_PARTITION, uid)))
            assert found[tag("ProcedureStepState")]["Value"] == [state]
            assert found[tag("ProcedureStepLabel")]["Value"] == [self._labels[uid]]
            assert tag("TransactionUID") not in found

    def _workitem_has_results(self, uid: Uid, transaction: str) -> None:
        results = text(performed() | discontinued())
        assert self._outcome(self._workitems.update(_call(), NO_PARTITION, uid, transaction, results)) == CHANGED

    def _outcome(self, request: Awaitable[object]) -> str:
        async def outcome() -> str:
            try:
                return ALREADY if await request is False else CHANGED
            except WrongState as error:
                return error.metadata["status"]

        return self._loop.run(outcome())


def _call() -> Call:
    return Call("model", EVERYBODY)


def test_every_request_has_the_outcome_of_the_standard(index_url: str) -> None:
    with asyncio.Runner() as loop:
        database = loop.run(_opened(index_url))
        try:
            run_state_machine_as_test(
                lambda: Worklist(loop, database),  # type: ignore[arg-type]
                settings=settings(
                    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
                ),
            )
        finally:
            loop.run(database.close())


async def _opened(url: str) -> Database:
    return open_database(url)
