"""The record of exported files (server/ports/lifecycle/exports.py), and secrets of operations."""

from dataclasses import replace
from datetime import timedelta

import pytest

from server.adapters.sql.engine import Database
from server.model.ids import Uid, Version
from server.model.lifecycle.export import ExportedFile, Written
from server.model.operation import Operation, OperationState, OperationUpdate
from tests.contract.index.samples import NOON

EXPORT = Operation("a" * 32, "export", OperationState.RUNNING, NOON, NOON, secret="sealed")


def file(number: int, study: str = "1.2", patient: str = "") -> ExportedFile:
    return ExportedFile(
        patient=patient,
        study=Uid(study),
        series=Uid(f"{study}.1"),
        number=number,
        instance=Uid(f"{study}.1.{number}"),
        version=Version(number),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path=f"results/{number}.dcm",
        written=Written(number * 2**33, bytes([number]) * 32),
        directory='["IMAGE"]' if patient else "",
    )


async def started(database: Database) -> None:
    await database.operations.start("", lambda _: EXPORT)


async def test_files_are_recorded_with_the_progress_and_listed_in_order(database: Database) -> None:
    await started(database)
    files = [file(3, "1.10"), file(2, "1.2"), file(1, "1.2"), file(4, "1.9", "P-2"), file(5, "1.9", "P-1")]
    after = await database.exported_files.add(
        EXPORT.id, files, lambda operation: OperationUpdate(replace(operation, cursor="5", done=5))
    )
    assert after is not None
    assert (after.cursor, after.done) == ("5", 5)
    expected = sorted(files, key=lambda one: one.key)
    assert await database.exported_files.list(EXPORT.id, None, 10) == expected
    pages = []
    position = None
    while page := await database.exported_files.list(EXPORT.id, position, 2):
        pages += page
        position = page[-1].key
    assert pages == expected
    assert await database.exported_files.list("b" * 32, None, 10) == []


async def test_nothing_is_recorded_without_progress(database: Database) -> None:
    await started(database)
    unchanged = await database.exported_files.add(EXPORT.id, [file(1)], lambda _: None)
    assert unchanged == EXPORT
    assert await database.exported_files.add("b" * 32, [file(1)], lambda _: None) is None
    assert await database.exported_files.list(EXPORT.id, None, 10) == []


async def test_files_are_removed_in_parts_and_those_of_ended_operations_on_demand(database: Database) -> None:
    await started(database)
    await database.exported_files.add(EXPORT.id, [file(number) for number in range(1, 6)], OperationUpdate)
    assert not await database.exported_files.remove_abandoned(10)
    assert await database.exported_files.remove(EXPORT.id, 3)
    assert [one.number for one in await database.exported_files.list(EXPORT.id, None, 10)] == [4, 5]
    await database.operations.update(
        EXPORT.id, lambda operation: OperationUpdate(replace(operation, state=OperationState.FAILED))
    )
    assert await database.exported_files.remove_abandoned(2)
    assert not await database.exported_files.remove_abandoned(2)
    assert await database.exported_files.list(EXPORT.id, None, 10) == []


async def test_abandoned_files_are_found_among_those_of_unfinished_operations(database: Database) -> None:
    ids = [letter * 32 for letter in "abcd"]
    for id_ in ids:
        await database.operations.start("", lambda _: replace(EXPORT, id=id_))  # noqa: B023 - called before the next one
        await database.exported_files.add(id_, [file(number) for number in range(1, 4)], OperationUpdate)
    for id_ in (ids[0], ids[2]):
        await database.operations.update(
            id_, lambda operation: OperationUpdate(replace(operation, state=OperationState.FAILED))
        )
    await database.operations.delete_final(NOON + timedelta(days=1), keep_newest_of=[])
    while await database.exported_files.remove_abandoned(2):
        pass
    left = {id_: len(await database.exported_files.list(id_, None, 10)) for id_ in ids}
    assert left == {ids[0]: 0, ids[1]: 3, ids[2]: 0, ids[3]: 3}


@pytest.mark.parametrize("state", [state for state in OperationState if state is not OperationState.NOT_STARTED])
async def test_a_final_operation_has_no_secret(database: Database, state: OperationState) -> None:
    await started(database)
    await database.operations.update(EXPORT.id, lambda operation: OperationUpdate(replace(operation, state=state)))
    found = await database.operations.get(EXPORT.id)
    assert found is not None
    assert found.secret == ("" if state.is_final else "sealed")
