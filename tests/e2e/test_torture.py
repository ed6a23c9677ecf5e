"""Every kind of fault once, in random order, with active clients: no acknowledged change is lost.

`make torture` and `make soak` run many more of them (docs/reliability.md).
"""

import pytest

from tests.torture import events
from tests.torture.run import torture

ON_SQLITE = [*events.KILLS, *events.OF_SQLITE, events.full_disk, events.damaged_blob]
ON_POSTGRES = [
    *events.OF_POSTGRES,
    events.stop_and_start,
    events.memory,
    events.outage,
    events.lost_index,
    events.older_index,
]
SEED = 7


def test_every_kind_of_event_is_in_one_of_the_two_runs() -> None:
    assert {*ON_SQLITE, *ON_POSTGRES} == {*events.events_for("sqlite"), *events.events_for("postgres")}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("kind", "faults"),
    [("sqlite", ON_SQLITE), pytest.param("postgres", ON_POSTGRES, marks=pytest.mark.postgres)],
)
def test_nothing_acknowledged_is_lost_and_nothing_deleted_reappears(kind: str, faults: list[events.Event]) -> None:
    summary = torture(kind, SEED, 0, faults, pause_seconds=0.02)
    assert sum(summary.events.values()) == summary.checks == len(faults)
    assert summary.compared > 0
