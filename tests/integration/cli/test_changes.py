"""`dicomstore changes`, against a real core."""

import asyncio
import json
import signal
from typing import Any

from dicomstore.v1 import change_feed_service_pb2 as pb

from tests.core import CoreClient, Ref
from tests.data import part10
from tests.programs import AsyncProgram


async def next_change(process: AsyncProgram) -> Any:
    async with asyncio.timeout(30):
        return json.loads(await process.stdout.readline())


async def interrupted(process: AsyncProgram) -> tuple[int | None, bytes]:
    """Press Ctrl-C; return exit code and stderr."""
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    return process.returncode, errors


async def test_changes_are_listed_oldest_first(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(StudyInstanceUID="1.2", SOPInstanceUID="1.2.3"))
    await archive.delete(Ref(study_instance_uid="1.2"))
    ran = await dicomstore("changes", "--json")
    assert [(change["action"], change["state"], change["sop_instance_uid"]) for change in ran.lines] == [
        ("create", "deleted", "1.2.3"),
        ("delete", "deleted", "1.2.3"),
    ]
    assert ran.lines[0]["partition"] == "Microsoft.Default"


async def test_the_table_names_action_and_instance(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(SOPInstanceUID="1.2.3"))
    ran = await dicomstore("changes")
    assert "create" in ran.stdout
    assert "1.2.3" in ran.stdout


async def test_after_and_limit_cut_out_a_part_across_pages(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(*(part10() for _ in range(250)))
    everything = (await dicomstore("changes", "--limit", "1000", "--json")).lines
    assert len(everything) == 250
    part = (await dicomstore("changes", "--after", everything[9]["sequence"], "--limit", "150", "--json")).lines
    assert part == everything[10:160]


async def test_an_empty_feed_is_not_a_failure(dicomstore: Any) -> None:
    ran = await dicomstore("changes")
    assert (ran.exit_code, ran.stdout) == (0, "")


async def test_follow_shows_old_and_new_changes_and_ctrl_c_ends_with_0(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(SOPInstanceUID="1.1"))
    process = await dicomstore.start("changes", "--follow", "--json")
    assert (await next_change(process))["sop_instance_uid"] == "1.1"
    await archive.stored(part10(SOPInstanceUID="1.2"))
    assert (await next_change(process))["sop_instance_uid"] == "1.2"
    assert await interrupted(process) == (0, b"")


async def test_follow_reconnects_and_repeats_no_change(archive: CoreClient, dicomstore: Any, relay: Any) -> None:
    await archive.stored(part10(SOPInstanceUID="1.1"))
    process = await dicomstore.start("changes", "--follow", "--json")
    first = await next_change(process)
    await relay.close()
    await archive.stored(part10(SOPInstanceUID="1.2"))
    await relay.open()
    second = await next_change(process)
    assert [first["sop_instance_uid"], second["sop_instance_uid"]] == ["1.1", "1.2"]
    exit_code, errors = await interrupted(process)
    assert exit_code == 0
    assert b"connection lost" in errors


async def test_follow_ends_at_the_limit(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(SOPInstanceUID="1.1"), part10(SOPInstanceUID="1.2"))
    ran = await dicomstore("changes", "--follow", "--limit", "2")
    assert ran.exit_code == 0
    assert len(ran.stdout.splitlines()) == 2


async def test_a_consumer_continues_where_it_stopped(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(*(part10() for _ in range(5)))
    follow = ("changes", "--follow", "--consumer", "router", "--limit", "2", "--json")
    shown = [[change["sequence"] for change in (await dicomstore(*follow)).lines] for _ in range(2)]
    assert shown == [[1, 2], [3, 4]]
    stored = await archive.change_feed_stub.GetConsumer(pb.GetConsumerRequest(name="router"))
    assert stored.consumer.sequence == 4


async def test_a_consumer_moved_by_another_program_ends_the_command(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10())
    process = await dicomstore.start("changes", "--follow", "--consumer", "router", "--json")
    await next_change(process)
    await until_position(archive, 1)
    await archive.change_feed_stub.SetConsumerPosition(pb.SetConsumerPositionRequest(name="router", sequence=7))
    await archive.stored(part10())
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"CONSUMER_MOVED" in errors


async def until_position(archive: CoreClient, sequence: int) -> None:
    """Wait until the consumer has a position."""
    async with asyncio.timeout(30):
        while True:
            found = await archive.change_feed_stub.ListConsumers(pb.ListConsumersRequest())
            if [each.sequence for each in found.consumers] == [sequence]:
                return
            await asyncio.sleep(0.01)


async def test_a_consumer_requires_follow(dicomstore: Any) -> None:
    for options in ((), ("--follow", "--after", "1")):
        ran = await dicomstore("changes", "--consumer", "router", *options)
        assert ran.exit_code == 2
        assert "--consumer requires --follow" in ran.stderr


async def test_following_an_unreachable_core_fails_at_once(dicomstore: Any) -> None:
    ran = await dicomstore("changes", "--follow", "--core", "127.0.0.1:1")
    assert ran.exit_code == 2
    assert "no core answers" in ran.stderr
