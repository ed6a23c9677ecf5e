"""`dicomstore up` when one of its processes ends: the others keep serving, and it is restarted."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.data import part10
from tests.e2e.test_up import START_S, Archive, add_tag, get, gone, is_alive, started, up


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(START_S):
        while not await condition():  # noqa: ASYNC110 - processes and health ring no bell
            await asyncio.sleep(0.1)


async def health(archive: Archive) -> tuple[int, str, str]:
    """Return the HTTP status of health, its overall status, and that of operations."""
    status, body = await asyncio.to_thread(get, f"{archive.url}/health/check")
    answer = json.loads(body)
    [operations] = [entry["status"] for entry in answer["details"] if entry["name"] == "operations"]
    return status, answer["overallStatus"], operations


async def logged(archive: Archive, text: str) -> str:
    """Read the log to a line with a text, and return the line."""
    [line] = await all_logged(archive, text)
    return line


async def all_logged(archive: Archive, *texts: str) -> list[str]:
    """Read the log until it has a line with each of the texts, in any order, and return the lines."""
    assert archive.process.stderr is not None
    found: dict[str, str] = {}
    async with asyncio.timeout(2 * START_S):  # the pauses between starts get longer
        while line := (await archive.process.stderr.readline()).decode():
            found |= {text: line for text in texts if text in line and text not in found}
            if len(found) == len(texts):
                return [found[text] for text in texts]
    raise AssertionError(f"the log has ended without all of {texts}: {found}")


def of_kind(archive: Archive, program: str) -> list[int]:
    """Return the processes that run `python -m …`."""
    found = []
    for process in archive.programs():
        try:
            arguments = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        except FileNotFoundError:
            continue
        if program in arguments:
            found.append(process)
    return found


async def test_a_killed_node_is_restarted_while_the_other_answers_every_request(tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(part10(SOPInstanceUID="1.5"))
    async with up(tmp_path, "--workers", 2) as archive:
        exit_code, output, errors = await archive.run("store", "one.dcm")
        assert exit_code == 0, output + errors
        before = of_kind(archive, "node")
        os.kill(before[0], signal.SIGKILL)
        await gone(before[:1])
        for _ in range(20):
            assert (await asyncio.to_thread(get, f"{archive.url}/v2/instances"))[0] == 200
        assert re.search(
            r"^up     \| .* the node 1 ended by itself with exit code -9 \(SIGKILL\); it is restarted in 1 s$",
            await logged(archive, "it is restarted in"),
        )
        await logged(archive, "dicomstore listens on")
        after = of_kind(archive, "node")
        assert len(after) == 2
        assert before[1] in after
        assert (await asyncio.to_thread(get, f"{archive.url}/v2/instances"))[0] == 200
        exit_code, errors = await archive.ended(signal.SIGTERM)
        assert exit_code == 0, errors
        assert not any(is_alive(process) for process in after)


async def test_requests_wait_while_the_only_node_is_restarted(tmp_path: Path) -> None:
    async with up(tmp_path, "--workers", 1) as archive:
        [node] = of_kind(archive, "node")
        os.kill(node, signal.SIGKILL)
        await gone([node])
        assert (await asyncio.to_thread(get, f"{archive.url}/v2/instances"))[0] == 204
        [again] = of_kind(archive, "node")
        assert again != node
        assert (await archive.run("changes"))[0] == 0  # over gRPC, too


@pytest.mark.timeout(240)
async def test_health_is_degraded_until_the_worker_can_start(tmp_path: Path) -> None:
    async with up(tmp_path, "--workers", 1) as archive:
        await add_tag(archive, "StationName")
        await logged(archive, "operations worker running")
        for path in (tmp_path / "data").glob("index-operations.db*"):
            path.rename(tmp_path / path.name)
        (tmp_path / "data/index-operations.db").mkdir()  # nothing that the worker could use
        [worker] = of_kind(archive, "server")
        os.kill(worker, signal.SIGKILL)

        down = "component is down name=operations reason=OPERATIONS_STUCK"  # before or after the second restart
        first, second, _ = await all_logged(archive, "restarted in 1 s", "restarted in 2 s", down)
        assert "the worker ended by itself with exit code -9" in first
        assert "the worker ended by itself with exit code 1" in second
        assert await health(archive) == (200, "Degraded", "Degraded")
        assert (await asyncio.to_thread(get, f"{archive.url}/v2/instances"))[0] == 204
        (tmp_path / "data/index-operations.db").rmdir()
        await logged(archive, "component is back name=operations")
        await until(lambda: is_healthy(archive))
        exit_code, errors = await archive.ended(signal.SIGINT)
        assert exit_code == 0, errors


async def is_healthy(archive: Archive) -> bool:
    return (await health(archive))[1] == "Healthy"


async def test_ctrl_c_during_a_restart_pause_stops_the_other_processes_cleanly(tmp_path: Path) -> None:
    async with up(tmp_path, "--workers", 2) as archive:
        programs = archive.programs()
        os.kill(of_kind(archive, "node")[0], signal.SIGKILL)
        await logged(archive, "it is restarted in")
        exit_code, errors = await archive.ended(signal.SIGINT)
        assert exit_code == 0, errors
        assert not any(is_alive(process) for process in programs)


async def test_nodes_that_fail_at_the_first_start_are_not_restarted(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder is needed")
    process = await started(tmp_path, "up", "--workers", "2", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    async with asyncio.timeout(START_S):
        output, errors = await process.communicate()
    assert (process.returncode, output) == (1, b"")
    assert "the node 1 ended by itself with exit code 1" in errors.decode()
    assert errors.decode().count("restarted in 2 s") == 0
