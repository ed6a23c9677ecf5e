"""Expiry of studies."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from server.adapters.sql.engine import Database
from server.model.ids import Address, PartitionName
from server.model.instance import Added, AlreadyStored
from server.model.lifecycle.deletion import DeletionQuery
from server.model.lifecycle.expiry import Expiry
from server.model.lifecycle.hold import Hold
from server.model.lifecycle.version import Provenance
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref

HOUR = timedelta(hours=1)
LATER = NOON + HOUR
MUCH_LATER = NOON + timedelta(days=3)


def expiring(study: int = 1, instance: int = 1, expires: datetime = LATER, **fields: Any) -> Any:
    one = sample(study, 1, instance)
    return replace(one, expires=expires, provenance=Provenance("someone"), **fields)


async def expire(database: Database, study: Address, due: datetime = LATER) -> int:
    return await database.expiries.expire(study, due, NOON, MUCH_LATER, author="expiry", reason="expired")


async def test_storing_sets_the_expiry_of_a_study(database: Database) -> None:
    await database.instances.add([expiring(1), sample(2, 1, 1)], NOON)
    assert await database.expiries.get(study_ref(1)) == Expiry(LATER, "someone", NOON)
    assert await database.expiries.get(study_ref(2)) is None
    assert await database.expiries.get(study_ref(3)) is None


async def test_storing_without_expiry_does_not_change_it_and_with_one_resets_it(database: Database) -> None:
    await database.instances.add([expiring(1)], NOON)
    await database.instances.add([sample(1, 1, 2)], NOON)
    assert await database.expiries.get(study_ref(1)) == Expiry(LATER, "someone", NOON)
    await database.instances.add([expiring(1, 3, LATER + HOUR)], LATER)
    assert await database.expiries.get(study_ref(1)) == Expiry(LATER + HOUR, "someone", LATER)
    version = replace(sample(1, 1, 1), expires=MUCH_LATER)
    assert isinstance(await database.instances.add_version(version, LATER), Added)
    assert await database.expiries.get(study_ref(1)) == Expiry(MUCH_LATER, "", LATER)


async def test_an_identical_instance_resets_the_expiry_and_a_different_one_does_not(database: Database) -> None:
    first = expiring(1)
    await database.instances.add([first], NOON)
    [outcome] = await database.instances.add([replace(first, expires=MUCH_LATER)], LATER)
    assert isinstance(outcome, AlreadyStored)
    assert await database.expiries.get(study_ref(1)) == Expiry(MUCH_LATER, "someone", LATER)
    [outcome] = await database.instances.add([expiring(1)], LATER)
    assert isinstance(outcome, AlreadyStored)
    assert await database.expiries.get(study_ref(1)) == Expiry(MUCH_LATER, "someone", LATER)


async def test_an_expiry_is_set_and_removed(database: Database) -> None:
    await database.instances.add([sample(1, 1, 1)], NOON)
    expiry = Expiry(LATER, "someone", NOON)
    assert await database.expiries.set(study_ref(1), expiry, NOON)
    assert await database.expiries.get(study_ref(1)) == expiry
    assert await database.expiries.set(study_ref(1), None, NOON)
    assert await database.expiries.get(study_ref(1)) is None
    assert not await database.expiries.set(study_ref(2), expiry, NOON)
    assert not await database.expiries.set(study_ref(1, PartitionName("nowhere")), expiry, NOON)


async def test_studies_are_due_from_their_time_on_in_order(database: Database) -> None:
    times = {1: LATER + HOUR, 2: LATER, 3: LATER}
    await database.instances.add([expiring(study, 1, time) for study, time in times.items()], NOON)
    assert await database.expiries.due(LATER - timedelta(microseconds=1), 9) == []
    assert await database.expiries.due(LATER, 9) == [study_ref(2), study_ref(3)]
    assert await database.expiries.due(MUCH_LATER, 1) == [study_ref(2)]
    assert await database.expiries.due(MUCH_LATER, 9) == [study_ref(2), study_ref(3), study_ref(1)]


async def test_an_expired_study_is_deleted_once_and_can_be_restored_without_its_expiry(
    database: Database, other_database: Database
) -> None:
    await database.instances.add([expiring(1), sample(1, 2, 1)], NOON)
    assert await expire(database, study_ref(1)) == 2
    assert await expire(other_database, study_ref(1)) == 0
    assert await database.instances.state(study_ref(1)) is None
    [deletion] = await database.instances.deletions(DeletionQuery(EVERYTHING), None, 9)
    assert (deletion.resource, deletion.author, deletion.reason) == (study_ref(1), "expiry", "expired")
    assert await database.instances.undelete(study_ref(1), LATER, LATER) == 2
    assert await database.expiries.get(study_ref(1)) is None
    assert await database.expiries.due(MUCH_LATER, 9) == []


async def test_a_study_whose_expiry_was_reset_does_not_expire(database: Database) -> None:
    await database.instances.add([expiring(1)], NOON)
    assert await database.expiries.due(LATER, 9) == [study_ref(1)]
    await database.instances.add([expiring(1, 2, MUCH_LATER)], NOON)
    assert await expire(database, study_ref(1)) == 0


async def test_a_study_that_is_stored_again_after_its_deletion_does_not_expire(database: Database) -> None:
    await database.instances.add([expiring(1)], NOON)
    await database.instances.delete(identity(1, 1, 1).address, NOON, LATER)
    await database.instances.add([sample(1, 1, 1)], NOON)
    assert await database.expiries.due(MUCH_LATER, 9) == []
    assert await expire(database, study_ref(1)) == 0


@pytest.mark.parametrize("held", [study_ref(1), series_ref(1, 1), identity(1, 1, 1).address])
async def test_a_study_on_hold_expires_after_the_hold_is_released(database: Database, held: Address) -> None:
    await database.instances.add([expiring(1)], NOON)
    await database.holds.set(Hold(held, "", "complaint", "someone", NOON))
    assert await database.expiries.due(MUCH_LATER, 9) == []
    assert await expire(database, study_ref(1)) == 0
    await database.holds.release(held, "")
    assert await database.expiries.due(MUCH_LATER, 9) == [study_ref(1)]
    assert await expire(database, study_ref(1)) == 1
