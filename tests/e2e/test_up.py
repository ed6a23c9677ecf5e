"""`dicomstore up`: the whole archive as a user runs it, from start to Ctrl-C."""

import asyncio
import json
import os
import re
import signal
import sys
import urllib.request
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.data import SECONDARY_CAPTURE, new_uid, part10
from tests.integration.dimse.clients import store
from tests.programs import AsyncProgram, run_forked

REPOSITORY = Path(__file__).parents[2]
START_S = 60


def environment(**variables: str) -> dict[str, str]:
    """Return the variables of a program without the settings of this process; low disk space here is not reported."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DICOMSTORE_")}
    common = {
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos' / 'gen'}",
        "COLUMNS": "200",
        "DICOMSTORE_WARN_FREE_BYTES": "0",
    }
    return own | common | variables


@dataclass(frozen=True)
class Archive:
    """A running `dicomstore up`."""

    process: Process | AsyncProgram
    folder: Path
    core: str
    url: str
    welcome: str

    async def run(self, *arguments: object, **variables: str) -> tuple[int | None, str, str]:
        """Run another command against it; return exit code, stdout and stderr."""
        exit_code, output, errors = await run_forked(
            [str(argument) for argument in arguments],
            folder=self.folder,
            environment=environment(**{"DICOMSTORE_CORE": self.core, **variables}),
        )
        return exit_code, output.decode(), errors.decode()

    def programs(self) -> list[int]:
        """Return the processes below `up`, and below these."""
        return descendants(self.process.pid)

    async def ended(self, *numbers: signal.Signals) -> tuple[int | None, str]:
        """Send signals; return exit code and stderr of the end."""
        for number in numbers:
            self.process.send_signal(number)
        _, errors = await asyncio.wait_for(self.process.communicate(), START_S)
        return self.process.returncode, errors.decode()


async def started(
    folder: Path, *arguments: object, namespaces_of: int | None = None, is_executed: bool = False, **variables: str
) -> Process | AsyncProgram:
    """Start a command: forked from a process that has imported it, or executed.

    Args:
        namespaces_of: a process whose user and mount namespaces it joins.
        is_executed: start interpreters for the command and its processes, as for a user.
    """
    command = [str(argument) for argument in arguments]
    if not is_executed:
        variables_ = environment(**variables)
        return await AsyncProgram.start(
            "cli", *command, environment=variables_, folder=folder, namespaces_of=namespaces_of
        )
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *command,
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd=folder, env=environment(**variables),
    )  # fmt: skip


@asynccontextmanager
async def up(
    folder: Path, *arguments: object, namespaces_of: int | None = None, is_executed: bool = False, **variables: str
) -> AsyncIterator[Archive]:
    """Run `dicomstore up` on free ports until the context is left; ready when its welcome is printed."""
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    process = await started(
        folder, "up", *ports, *arguments, namespaces_of=namespaces_of, is_executed=is_executed, **variables
    )
    assert process.stdout is not None
    welcome = ""
    try:
        async with asyncio.timeout(START_S):
            while "Stop" not in welcome:
                line = await process.stdout.readline()
                if not line:
                    _, errors = await process.communicate()
                    raise AssertionError(f"up ended with {process.returncode}: {errors.decode()}")
                welcome += line.decode()
        url, core = re.search(r"(https?://\S+)/v2", welcome), re.search(r"gRPC\s+(\S+)", welcome)
        assert url is not None
        assert core is not None
        yield Archive(process, folder, core[1], url[1], welcome)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.communicate(), START_S)


def descendants(parent: int) -> list[int]:
    """Return all processes below one, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(processes: list[int]) -> None:
    """Return when none of the processes is alive; they need not be our children."""
    async with asyncio.timeout(START_S):
        for process in processes:
            try:
                descriptor = os.pidfd_open(process)
            except ProcessLookupError:
                continue
            try:
                readable = asyncio.Event()
                asyncio.get_running_loop().add_reader(descriptor, readable.set)
                await readable.wait()
            finally:
                asyncio.get_running_loop().remove_reader(descriptor)
                os.close(descriptor)


def get(url: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Accept": "application/dicom+json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=START_S) as response:
        return response.status, response.read()


def post(url: str, body: bytes) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=START_S) as response:
        return json.loads(response.read())


async def test_a_folder_is_stored_found_retrieved_and_deleted_and_ctrl_c_stops_the_archive(tmp_path: Path) -> None:
    bodies = {f"1.2.{number}": part10(StudyInstanceUID="1.2", SOPInstanceUID=f"1.2.{number}") for number in range(20)}
    (tmp_path / "scans").mkdir()
    for uid, body in bodies.items():
        (tmp_path / "scans" / uid).write_bytes(body)

    async with up(tmp_path, "--data", "archive", "--workers", 1, is_executed=True) as archive:
        programs = archive.programs()
        assert len(programs) == 1, "a node, and no worker"

        exit_code, _, errors = await archive.run("store", "scans")
        assert exit_code == 0, errors
        assert "20 files stored" in errors

        exit_code, output, _ = await archive.run("search", "instances", "--study", "1.2", "--json")
        assert {json.loads(line)["00080018"]["Value"][0] for line in output.splitlines()} == set(bodies)
        status, answer = await asyncio.to_thread(get, f"{archive.url}/v2/studies/1.2/instances")
        assert (status, len(json.loads(answer))) == (200, 20)

        exit_code, _, errors = await archive.run("get", "1.2", "--output", "fetched")
        assert exit_code == 0, errors
        assert {path.stem: path.read_bytes() for path in (tmp_path / "fetched").rglob("*.dcm")} == bodies

        assert (await archive.run("delete", "1.2", "--yes"))[0] == 0
        _, output, _ = await archive.run("changes", "--json")
        assert [json.loads(line)["action"] for line in output.splitlines()] == ["create"] * 20 + ["delete"] * 20

        exit_code, errors = await archive.ended(signal.SIGINT)
        assert exit_code == 0, errors
        assert not any(is_alive(process) for process in programs)
    assert (tmp_path / "archive" / "index.db").exists()


async def test_ctrl_c_during_the_start_stops_all_started_processes(tmp_path: Path) -> None:
    process = await started(tmp_path, "up", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    async with asyncio.timeout(START_S):
        while not (programs := descendants(process.pid)):  # noqa: ASYNC110 - nothing tells of a new process
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = await process.communicate()
    assert (process.returncode, output) == (0, b""), errors.decode()
    assert not any(is_alive(program) for program in programs)


async def test_a_second_ctrl_c_kills_processes_that_do_not_stop(tmp_path: Path) -> None:
    async with up(tmp_path, DICOMSTORE_SHUTDOWN_SECONDS="600") as archive:
        programs = archive.programs()
        host, _, port = archive.url.removeprefix("http://").rpartition(":")
        _, upload = await asyncio.open_connection(host, int(port))
        upload.write(b"POST /v2/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        upload.write(b"Content-Type: application/dicom\r\nAccept: application/dicom+json\r\n\r\n1")
        await upload.drain()
        await archive.run("changes")  # the upload is known to the facade by now
        archive.process.send_signal(signal.SIGINT)
        assert archive.process.stderr is not None
        async with asyncio.timeout(START_S):
            while b"dicomstore stops" not in await archive.process.stderr.readline():
                pass
        exit_code, _ = await archive.ended(signal.SIGINT)
        assert exit_code == 1
        assert not any(is_alive(process) for process in programs)
        upload.close()


async def test_stored_instances_are_available_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(part10(SOPInstanceUID="1.5"))
    async with up(tmp_path) as archive:
        await archive.run("store", "one.dcm")
        assert (await archive.ended(signal.SIGTERM))[0] == 0
    async with up(tmp_path) as archive:
        _, output, _ = await archive.run("search", "instances", "--json")
        assert json.loads(output)["00080018"]["Value"] == ["1.5"]


async def test_up_runs_the_dimse_gateway_with_its_metrics_and_stops_it(tmp_path: Path) -> None:
    uid = new_uid()
    async with up(tmp_path, "--workers", 1, "--dimse", "127.0.0.1:0", DICOMSTORE_DIMSE_PROCESSES="2") as archive:
        [port] = re.findall(r"DIMSE +DICOMSTORE at 127\.0\.0\.1:(\d+)", archive.welcome)
        file = part10(SOPInstanceUID=uid)
        response = await asyncio.to_thread(store, int(port), file, SECONDARY_CAPTURE, uid)
        assert response.status == 0
        _, body = await asyncio.to_thread(get, f"{archive.url}/metrics")
        metrics = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in body.decode().splitlines()}
        assert metrics['dicomstore_dimse_processes{process="node-1"}'] == "2"
        received = 'dicomstore_dimse_instances_total{direction="received",process="dimse-%d"}'
        assert sum(int(metrics.get(received % process, "0")) for process in (1, 2)) == 1
        exit_code, _ = await archive.ended(signal.SIGINT)
        assert exit_code == 0


async def test_killing_up_leaves_no_process_running(tmp_path: Path) -> None:
    async with up(tmp_path, "--workers", "2") as archive:
        programs = archive.programs()
        assert len(programs) == 2, "two nodes, and no worker"
        await archive.ended(signal.SIGKILL)
        await gone(programs)


async def test_a_worker_runs_while_there_are_operations(tmp_path: Path) -> None:
    """It is started for an operation and ends when idle; one that a stop interrupts is resumed at the next start."""
    async with up(tmp_path, "--workers", 1, DICOMSTORE_WORKER_IDLE_SECONDS="0.1") as archive:
        [node] = archive.programs()
        (tmp_path / "one.dcm").write_bytes(part10(StationName="ROOM 1"))
        assert (await archive.run("store", "one.dcm"))[0] == 0
        operation = await add_tag(archive, "StationName")
        async with asyncio.timeout(START_S):
            exit_code, output, errors = await archive.run("operations", operation, "--follow", "--json")
        assert (exit_code, json.loads(output)["state"]) == (0, "succeeded"), errors
        status, answer = await asyncio.to_thread(get, f"{archive.url}/v2/series?StationName=ROOM%201")
        assert (status, len(json.loads(answer))) == (200, 1)
        await gone([program for program in archive.programs() if program != node])
        assert archive.programs() == [node]

        operation = await add_tag(archive, "ProtocolName")
        await archive.ended(signal.SIGKILL)
        await gone([node])
    async with up(tmp_path, "--workers", 1) as archive:
        async with asyncio.timeout(START_S):
            exit_code, output, errors = await archive.run("operations", operation, "--follow", "--json")
        assert (exit_code, json.loads(output)["state"]) == (0, "succeeded"), errors
        programs = archive.programs()
        assert len(programs) == 2, "a node, and a worker that waits for another operation"
        operation = await add_tag(archive, "BodyPartExamined")
        exit_code, output, errors = await archive.run("operations", operation, "--follow", "--json")
        assert (exit_code, json.loads(output)["state"]) == (0, "succeeded"), errors
        assert archive.programs() == programs, "the same worker"
        exit_code, errors = await archive.ended(signal.SIGINT)
        assert exit_code == 0, errors
        assert not any(is_alive(process) for process in programs)


async def add_tag(archive: Archive, keyword: str) -> str:
    """Add an extended query tag; return the operation that indexes by it."""
    tags = json.dumps([{"path": keyword, "level": "series"}]).encode()
    return str((await asyncio.to_thread(post, f"{archive.url}/v2/extendedquerytags", tags))["id"])


async def test_an_instance_stored_by_one_node_is_found_by_all_others_at_once_and_metrics_are_of_all(
    tmp_path: Path,
) -> None:
    async with up(tmp_path, "--workers", 2) as archive:
        for number in range(10):
            (tmp_path / "one.dcm").write_bytes(part10(SOPInstanceUID=f"1.5.{number}"))
            assert (await archive.run("store", "one.dcm"))[0] == 0
            # A connection of its own each time: the system deals them out.
            answers = [await asyncio.to_thread(get, f"{archive.url}/v2/instances") for _ in range(6)]
            assert {len(json.loads(body)) for _, body in answers} == {number + 1}
        _, body = await asyncio.to_thread(get, f"{archive.url}/metrics")
        metrics = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in body.decode().splitlines()}
        requests = (
            'dicomstore_http_requests_total{route="/{version}/instances",method="GET",status="200",process="node-%d"}'
        )
        stored = 'dicomstore_stored_instances_total{result="stored",process="node-%d"}'
        assert sum(int(metrics.get(requests % node, "0")) for node in (1, 2)) == 60
        assert sum(int(metrics[stored % node]) for node in (1, 2)) == 10


async def test_a_port_in_use_is_reported_before_anything_is_started(tmp_path: Path) -> None:
    async with up(tmp_path) as archive:
        process = await started(tmp_path, "up", "--grpc", archive.core, "--http", "127.0.0.1:0")
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert f"the core cannot listen on {archive.core}" in errors.decode()
        assert "--grpc" in errors.decode()


async def test_an_invalid_setting_is_reported(tmp_path: Path) -> None:
    process = await started(tmp_path, "up", DICOMSTORE_MAX_INSTANCE_BYTES="lots")
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert "max_instance_bytes" in errors.decode()


async def test_a_built_viewer_is_served_and_its_url_printed(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/index.html").write_text("<title>a viewer</title>")
    async with up(tmp_path, "--viewer", "dist", "--workers", "2") as archive:
        assert re.search(r"Viewer +http", archive.welcome)
        for path in ("/viewer/", "/viewer"):
            request = urllib.request.Request(archive.url + path, headers={"Accept": "text/html"})
            with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
                assert b"a viewer" in answer.read()


async def test_a_folder_without_a_viewer_is_reported_before_anything_is_started(tmp_path: Path) -> None:
    process = await started(tmp_path, "up", "--viewer", ".", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    output, errors = await process.communicate()
    assert (process.returncode, output) == (2, b"")
    assert "it has no index.html" in errors.decode()


async def test_an_external_database_is_migrated_only_by_migrate(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'own.db'}"
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    process = await started(tmp_path, "up", *ports, "--database", url)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert "dicomstore migrate" in errors.decode()

    process = await started(tmp_path, "migrate", "--database", url)
    assert (await process.communicate(), process.returncode)[1] == 0
    async with up(tmp_path, "--database", url) as archive:
        assert (await archive.run("search"))[0] == 0


async def test_other_users_of_the_machine_can_access_no_file_of_the_archive(tmp_path: Path) -> None:
    async with up(tmp_path) as archive:
        assert (await archive.run("operations"))[0] == 0
    accessible = [path for path in (tmp_path / "data").rglob("*") if path.stat().st_mode & 0o007]
    assert accessible == []


async def test_the_core_alone_runs_in_place_of_the_command_and_stops_on_sigterm(tmp_path: Path) -> None:
    process = await started(tmp_path, "server", "--migrate", "--grpc", "127.0.0.1:0")
    assert process.stderr is not None
    async with asyncio.timeout(START_S):
        while b"listening on" not in await process.stderr.readline():
            pass
    assert descendants(process.pid) == []
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


async def test_quiet_prints_no_addresses_and_shows_the_end_of_the_log_of_a_failed_program(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder is needed")
    process = await started(tmp_path, "up", "-q", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    output, errors = await process.communicate()
    assert process.returncode == 1
    assert output == b""
    assert "ended by itself" in errors.decode()
    assert "the end of its log" in errors.decode()
