"""The record of consumers of the change feed (server/ports/consumers.py)."""

import asyncio
from datetime import timedelta

from server.adapters.sql.engine import Database
from server.model.change import Consumer
from server.ports.consumers import Move
from tests.contract.index.samples import NOON

LATER = NOON + timedelta(minutes=1)


def at(sequence: int, name: str = "router", owner: str = "alice") -> Consumer:
    return Consumer(name, owner, sequence, NOON)


async def moved(
    database: Database, to: Consumer, *, owner: str | None = "alice", expected: int | None = None, limit: int = 9
) -> tuple[Move, Consumer | None]:
    return await database.consumers.move(to, owner=owner, expected=expected, limit=limit)


async def test_the_first_position_creates_a_consumer(database: Database, other_database: Database) -> None:
    assert await database.consumers.find("router") is None
    assert await moved(database, at(5), expected=0) == (Move.DONE, at(5))
    assert await other_database.consumers.find("router") == at(5)
    later = Consumer("router", "alice", 7, LATER)
    assert await moved(other_database, later) == (Move.DONE, later)
    assert await database.consumers.find("router") == later


async def test_an_unexpected_position_is_not_changed(database: Database) -> None:
    assert await moved(database, at(5), expected=4) == (Move.UNEXPECTED, None)
    await moved(database, at(5))
    assert await moved(database, at(6), expected=0) == (Move.UNEXPECTED, at(5))
    assert await moved(database, at(6), expected=5) == (Move.DONE, at(6))


async def test_of_concurrent_calls_that_expect_the_same_position_one_succeeds(
    database: Database, other_database: Database
) -> None:
    for expected in (0, 1, 2):
        outcomes = await asyncio.gather(
            *(moved(each, at(expected + 1), expected=expected) for each in (database, other_database) * 4)
        )
        assert [move for move, _ in outcomes].count(Move.DONE) == 1
        assert {move for move, _ in outcomes} == {Move.DONE, Move.UNEXPECTED}


async def test_a_consumer_of_another_owner_is_changed_on_behalf_of_all_only(database: Database) -> None:
    await moved(database, at(5))
    assert await moved(database, at(6, owner="bob"), owner="bob") == (Move.FOREIGN, None)
    assert not await database.consumers.remove("router", "bob")
    assert await moved(database, at(6, owner="root"), owner=None) == (Move.DONE, at(6))
    assert await database.consumers.remove("router", None)
    assert not await database.consumers.remove("router", "alice")


async def test_an_owner_has_a_limited_number_of_consumers(database: Database) -> None:
    for name in ("a", "b"):
        assert (await moved(database, at(1, name), limit=2))[0] is Move.DONE
    assert await moved(database, at(1, "c"), limit=2) == (Move.TOO_MANY, None)
    assert (await moved(database, at(2, "b"), limit=2))[0] is Move.DONE
    assert (await moved(database, at(1, "c", "bob"), owner="bob", limit=2))[0] is Move.DONE


async def test_consumers_are_listed_by_name(database: Database) -> None:
    for name, owner in (("b", "alice"), ("B", "bob"), ("a", "alice"), ("c", "alice")):
        await moved(database, at(1, name, owner), owner=owner)
    listed = [each.name for each in await database.consumers.list(None, "", 3)]
    assert listed == ["B", "a", "b"]
    assert [each.name for each in await database.consumers.list(None, "b", 3)] == ["c"]
    assert [each.name for each in await database.consumers.list("alice", "", 9)] == ["a", "b", "c"]
