"""Blobs by store, and moving them to another store (server/ports/lifecycle/blob_moves.py)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from server.adapters.sql.engine import Database
from server.model.instance import NewInstance
from server.model.lifecycle.blob_move import StoreUsage
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, study_ref

LATER = NOON + timedelta(hours=1)
ONE, OTHER = "@0000000a/", "@0000000b/"


def at(locator: str, number: int = 1) -> NewInstance:
    return replace(sample(1, 1, number), locator=locator, size_bytes=100)


async def pages(database: Database, store: str, limit: int) -> list[list[list[str]]]:
    found, after = [], ""
    while True:
        page = await database.blob_moves.page(store, after, limit)
        found.append([[blob.locator for blob in one.blobs] for one in page.instances])
        if page.last is None:
            return found
        after = page.last


async def test_the_blobs_of_a_store_are_read_in_pages_and_those_of_others_are_not(database: Database) -> None:
    locators = ["0f", "9a", "a1", "f0", ONE + "1", ONE + "2", ONE + "3", OTHER + "1"]
    await database.instances.add([at(one, number) for number, one in enumerate(locators, start=1)], NOON)
    assert await pages(database, "", 3) == [[["0f"], ["9a"], ["a1"]], [["f0"]]]
    assert await pages(database, "0000000a", 2) == [[[ONE + "1"], [ONE + "2"]], [[ONE + "3"]]]
    assert await pages(database, "0000000c", 2) == [[]]
    assert [await database.blob_moves.count(store) for store in ("", "0000000a", "0000000b")] == [4, 3, 1]
    assert list(await database.blob_moves.usage()) == [
        StoreUsage("", 4, 400),
        StoreUsage("0000000a", 3, 300),
        StoreUsage("0000000b", 1, 100),
    ]


async def test_moved_blobs_count_as_old_copies_of_their_store_until_they_are_erased(database: Database) -> None:
    await database.instances.add([at("0f", 1), at("f0", 2)], NOON)
    moved = await database.blob_moves.move([{"0f": ONE + "1"}, {"f0": ONE + "2"}], LATER)
    assert moved == {"0f", "f0"}
    assert list(await database.blob_moves.usage()) == [
        StoreUsage("", old_copies=2, erased_by=LATER),
        StoreUsage("0000000a", 2, 200),
    ]
    assert await database.instances.known(["0f", "f0", ONE + "1"]) == {"0f", "f0", ONE + "1"}
    assert [one.locator for one in await database.instances.find(EVERYTHING)] == [ONE + "1", ONE + "2"]
    assert sorted(await database.instances.begin_erasure(LATER, 10)) == ["0f", "f0"]
    await database.instances.erased(["0f", "f0"])
    assert [usage.store for usage in await database.blob_moves.usage()] == ["0000000a"]


async def test_all_versions_of_an_instance_in_a_store_are_moved_together(database: Database) -> None:
    await database.instances.add([at("0a")], NOON)
    await database.instances.add_version(at("0b"), NOON)
    await database.instances.add_version(at(OTHER + "3"), NOON)
    assert await pages(database, "", 1) == [[["0a", "0b"]], [["0a", "0b"]], []]
    assert await database.blob_moves.move([{"0a": ONE + "a"}], LATER) == set()
    assert await database.blob_moves.move([{"0a": ONE + "a", "0b": ONE + "b", "0c": ONE + "c"}], LATER) == set()
    assert await database.blob_moves.move([{"0a": ONE + "a", "0b": ONE + "b"}], LATER) == {"0a", "0b"}
    assert len(await database.instances.history(identity(1).address)) == 3
    assert await pages(database, "", 5) == [[]]
    assert await pages(database, "0000000a", 5) == [[[ONE + "a", ONE + "b"]]]


async def test_deleted_instances_are_moved_restored_and_erased_with_their_versions(database: Database) -> None:
    await database.instances.add([at("0a", 1), at("0c", 2)], NOON)
    await database.instances.add_version(at("0b", 1), NOON)
    await database.instances.delete(study_ref(), NOON, LATER)
    assert await pages(database, "", 5) == [[["0a", "0b"], ["0c"]]]
    moves = [{"0a": ONE + "a", "0b": ONE + "b"}, {"0c": ONE + "c"}]
    assert await database.blob_moves.move(moves, LATER) == {"0a", "0b", "0c"}
    assert await database.blob_moves.address(ONE + "a") == identity(1, 1, 1).address
    await database.instances.undelete(identity(1, 1, 1).address, NOON, NOON)
    assert [one.locator for one in await database.instances.find(EVERYTHING)] == [ONE + "b"]
    assert sorted(await database.instances.begin_erasure(LATER, 10)) == sorted(["0a", "0b", "0c", ONE + "c"])
    assert await database.blob_moves.address(ONE + "a") == identity(1, 1, 1).address
    assert await database.blob_moves.address("unknown") is None


async def test_an_instance_is_found_by_any_of_its_blobs_and_some_of_them_may_stay(database: Database) -> None:
    moves = database.blob_moves
    await database.instances.add([at(ONE + "a", 1), at(ONE + "c", 2), at(ONE + "d", 3), at(ONE + "e", 4)], NOON)
    await database.instances.add_version(at(ONE + "b", 1), NOON)
    await database.instances.add_version(at(OTHER + "f", 2), NOON)
    for number, erase_after in ((2, LATER), (3, NOON)):
        await database.instances.delete(identity(1, 1, number).address, NOON, erase_after)
    assert await database.instances.begin_erasure(NOON, 10) == [ONE + "d"]
    every = [ONE + letter for letter in "abcd"]
    found = await moves.instances([ONE + "unknown", *reversed(every)])
    assert [[blob.locator for blob in one.blobs] for one in found] == [[ONE + "a", ONE + "b"], [ONE + "c"]]
    assert [one.first for one in await moves.instances([ONE + "b"])] == [ONE + "b"]
    some = {ONE + "a": ONE + "a1", ONE + "b": ONE + "b"}
    assert await moves.move([some, {ONE + "c": ONE + "c1"}, {ONE + "d": ONE + "d1"}], LATER) == {ONE + "a", ONE + "c"}
    assert [one.locator for one in await database.instances.history(identity(1).address)] == [ONE + "a1", ONE + "b"]
    assert ONE + "b" not in await database.instances.begin_erasure(LATER, 10)
    assert await moves.move([{ONE + "e": ONE + "e"}], LATER) == set()


async def test_an_instance_is_not_moved_while_it_is_being_erased(database: Database) -> None:
    await database.instances.add([at("0a")], NOON)
    await database.instances.delete(study_ref(), NOON, NOON)
    assert await database.instances.begin_erasure(NOON, 10) == ["0a"]
    assert await database.blob_moves.move([{"0a": ONE + "a"}], LATER) == set()
    await database.instances.erased(["0a"])
    assert await pages(database, "", 5) == [[]]


async def test_an_older_index_is_told_where_each_blob_is(database: Database) -> None:
    await database.instances.add([at("0a")], NOON)
    await database.instances.add_version(at("0b"), NOON)
    await database.instances.delete(study_ref(), NOON, LATER)
    assert await database.blob_moves.repeat({"0a": ONE + "a", "0x": ONE + "x"}, LATER) == 1
    assert await pages(database, "", 5) == [[["0b"]]]
    assert await pages(database, "0000000a", 5) == [[[ONE + "a"]]]


@pytest.mark.parametrize("moves", [[], [{"0a": ONE + "a"}], [{}]])
async def test_moving_what_is_not_there_changes_nothing(database: Database, moves: list[dict[str, str]]) -> None:
    assert await database.blob_moves.move(moves, LATER) == set()
    assert list(await database.blob_moves.usage()) == []
