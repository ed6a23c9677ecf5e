"""The recorded time (server/ports/clock.py), and the clock that continues from it (steady_clock.py)."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from server.adapters.sql.engine import Database
from server.domain.upkeep.steady_clock import SteadyClock, clock_problem

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class System:
    """The clocks of a system: one that can be set, and one that only advances."""

    def __init__(self, database: Database) -> None:
        self.wall = NOON
        self._elapsed = 0.0
        self._database = database

    def advance(self, time: timedelta) -> None:
        self.wall += time
        self._elapsed += time.total_seconds()

    async def start(self) -> SteadyClock:
        """Start the clock of a new process."""
        clock = SteadyClock(self._database.clock, lambda: self.wall, lambda: self._elapsed, largest_jump=2 * DAY)
        await clock.start()
        return clock

    async def stopped_at(self, time: datetime) -> None:
        """Restart on a system where the last process recorded a time."""
        await self._database.clock.advance(time)


@pytest.fixture
def system(database: Database) -> System:
    return System(database)


async def test_the_recorded_time_never_goes_back(database: Database) -> None:
    assert await database.clock.latest() is None
    assert await database.clock.advance(NOON) == NOON
    assert await database.clock.advance(NOON - HOUR) == NOON
    assert await database.clock.advance(NOON + HOUR) == NOON + HOUR
    assert await database.clock.latest() == NOON + HOUR


async def test_a_new_archive_starts_at_the_system_time(system: System) -> None:
    assert (await system.start()).now() == NOON


async def test_setting_the_system_clock_does_not_affect_a_running_process(system: System) -> None:
    clock = await system.start()
    system.wall -= DAY
    system.advance(HOUR)
    assert clock.now() == NOON + HOUR
    system.wall += 100 * DAY
    await clock.tick()
    assert clock.now() == NOON + HOUR


async def test_a_clock_set_back_is_ignored_after_a_restart(system: System, caplog: pytest.LogCaptureFixture) -> None:
    await system.stopped_at(NOON)
    system.wall = NOON - DAY
    clock = await system.start()
    system.advance(HOUR)
    assert clock.now() == NOON + HOUR
    assert "behind the recorded time by 1 day" in caplog.text


async def test_time_without_a_running_process_counts(system: System, caplog: pytest.LogCaptureFixture) -> None:
    await system.stopped_at(NOON)
    system.wall = NOON + 2 * DAY
    assert (await system.start()).now() == NOON + 2 * DAY
    assert caplog.records == []


async def test_nothing_expires_by_a_clock_far_ahead_until_it_is_confirmed(
    system: System, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await system.stopped_at(NOON)
    system.wall = NOON + 365 * DAY
    clock = await system.start()
    system.advance(HOUR)
    await clock.tick()
    assert clock.now() == NOON + HOUR
    assert "ahead of the recorded time by 365 days" in caplog.text
    assert "accept-clock" in clock_problem(await database.clock.latest(), system.wall, 2 * DAY)

    await database.clock.advance(system.wall)
    await clock.tick()
    assert clock.now() == system.wall
    assert clock_problem(await database.clock.latest(), system.wall, 2 * DAY) == ""


async def test_processes_agree_on_the_latest_time(system: System, database: Database) -> None:
    behind = await system.start()
    await System(database).stopped_at(NOON + HOUR)
    await behind.tick()
    assert behind.now() == NOON + HOUR


async def test_small_differences_between_systems_are_not_reported(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    await system.stopped_at(NOON + timedelta(minutes=4))
    clock = await system.start()
    assert clock.now() == NOON + timedelta(minutes=4)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
