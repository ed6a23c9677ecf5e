"""`python -m bench.parts.imports`: an import of many files, in a worker that is killed several times.

The benchmark writes small files into folders, starts an import, and runs a worker process as `dicomstore up` does. The
worker is killed (SIGKILL) after a fifth, a half and four fifths of the work, and restarted. In the end every file must
be stored exactly once, and index, blobs and change feed must agree.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import grpc
import typer
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1.operation_service_pb2_grpc import OperationServiceStub
from dicomstore.v1.operation_types_pb2 import ImportRequest, ImportResult

from bench.archive import cpu_seconds
from bench.data import SMALL, Kind, parts
from bench.figures import Row, table
from server.bootstrap.maintenance import auditing
from server.bootstrap.serving import running
from server.config import Settings

app = typer.Typer(add_completion=False)

_KILL_AT = (0.2, 0.5, 0.8)
_KILL_SECONDS = 0.7
_IN_A_FOLDER = 1000
_KINDS = {"small": SMALL, "tiny": Kind(8, 8)}
_COLUMNS = {"figure": "", "value": ""}


def write_files(folder: Path, count: int, kind: Kind) -> int:
    """Write files with distinct instances, a thousand in each folder; return the number of bytes."""
    total = 0
    for number in range(count):
        study, file = divmod(number, _IN_A_FOLDER)
        below = folder / f"{study:06}"
        if not file:
            below.mkdir(parents=True)
        head, pixels = parts(kind, study + 1, 1, file + 1)
        total += len(head) + len(pixels)
        with (below / f"IM{file:06}.dcm").open("wb") as opened:
            opened.write(head)
            opened.write(pixels)
    return total


@contextmanager
def _worker(environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")}
    with subprocess.Popen([sys.executable, "-m", "server", "work"], env=variables | environment) as process:
        try:
            yield process
        finally:
            process.kill()


class _Operations:
    """Operations of a core."""

    def __init__(self, address: str) -> None:
        self._stub = OperationServiceStub(grpc.aio.insecure_channel(address))

    async def start(self, source: str, *, in_place: bool) -> str:
        """Start an import."""
        request = pb.StartOperationRequest()
        request.request.Pack(ImportRequest(source=source, in_place=in_place))
        started = await self._stub.StartOperation(request)
        return str(started.operation.id)

    async def get(self, operation: str) -> pb.Operation:
        """Return an operation."""
        answer: pb.GetOperationResponse = await self._stub.GetOperation(pb.GetOperationRequest(id=operation))
        return answer.operation

    async def result(self, operation: str) -> ImportResult:
        """Return the result of an import."""
        result = ImportResult()
        (await self.get(operation)).result.Unpack(result)
        return result

    async def until(self, operation: str, least: int, worker: "subprocess.Popen[bytes]") -> pb.Operation:
        """Wait until at least `least` files are done."""
        while True:
            found = await self.get(operation)
            if found.state in (pb.OPERATION_STATE_FAILED, pb.OPERATION_STATE_CANCELED) or worker.poll() is not None:
                raise RuntimeError(f"the operation or its worker ended unexpectedly: {found.error}")
            if found.done >= least or found.state == pb.OPERATION_STATE_SUCCEEDED:
                return found
            await asyncio.sleep(0.1)


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return 0.0


async def _measure(directory: Path, count: int, kind: Kind, *, in_place: bool, kills: int) -> list[Row]:
    source = directory / "incoming"
    total_bytes = await asyncio.to_thread(write_files, source, count, kind)
    adopted = f'{{"incoming": "{source}"}}'
    environment = {
        "DICOMSTORE_DATA": str(directory / "data"),
        "DICOMSTORE_IMPORT_SOURCES": str(source),
        "DICOMSTORE_ADOPTED_FOLDERS": adopted,
        "DICOMSTORE_LOG_LEVEL": "WARNING",
    }
    os.environ.update(environment)
    settings = Settings(grpc="127.0.0.1:0", migrate=True, warn_free_bytes=0)
    seconds = cpu = 0.0
    peaks: list[float] = []
    files = 0
    async with running(settings) as core:
        operations = _Operations(core.address)
        operation = await operations.start(str(source), in_place=in_place)
        began = time.perf_counter()
        for part in (*_KILL_AT[:kills], 1.0):
            with _worker(environment) as process:
                first = await operations.until(operation, max((await operations.get(operation)).done + 1, 1), process)
                started, used = time.perf_counter(), cpu_seconds(process.pid)
                found = await operations.until(operation, round(part * count), process)
                seconds += time.perf_counter() - started
                cpu += cpu_seconds(process.pid) - used
                files += found.done - first.done
                peaks.append(_peak_mb(process.pid))
                if part < 1:  # the worker has just stored its progress: let it store files, too
                    await asyncio.sleep(_KILL_SECONDS)
                process.send_signal(signal.SIGKILL if part < 1 else signal.SIGTERM)
                process.wait()
        elapsed = time.perf_counter() - began
        result = await operations.result(operation)
    async with auditing(settings) as audit:
        report = await audit.run(deep=count <= 10_000)
    entries = report.current_changes
    if not report.agrees or (report.instances, entries, found.failed) != (count, count, 0):
        raise RuntimeError(f"the archive is not as expected: {report}")
    if result.stored + result.identical != count:
        raise RuntimeError(f"the result is not as expected: {result}")
    return [
        {"figure": "files", "value": f"{count:,} of {total_bytes // count:,} bytes"},
        {"figure": "files a second", "value": round(files / max(seconds, 1e-9))},
        {"figure": "CPU of the worker for each file, ms", "value": round(cpu / max(files, 1) * 1000, 2)},
        {"figure": "largest resident set of the workers, MB", "value": ", ".join(map(str, peaks))},
        {"figure": f"seconds in all, with {kills} kills and starts", "value": round(elapsed, 1)},
        {"figure": "stored, and found identical after a kill", "value": f"{result.stored:,}, {result.identical:,}"},
        {"figure": "instances, entries in the change feed", "value": f"{report.instances:,}, {entries:,}"},
    ]


@app.command()
def main(
    files: Annotated[int, typer.Option(help="Number of files.")] = 100_000,
    kind: Annotated[str, typer.Option(help="small: 9 KB; tiny: about 1 KB.")] = "tiny",
    in_place: Annotated[bool, typer.Option("--in-place", help="Adopt the files.")] = False,
    kills: Annotated[int, typer.Option(min=0, max=3, help="Number of times that the worker is killed.")] = 3,
) -> None:
    """Measure an import, and check its result."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        rows = asyncio.run(_measure(Path(directory), files, _KINDS[kind], in_place=in_place, kills=kills))
    typer.echo("\n".join(table(rows, _COLUMNS)))


if __name__ == "__main__":
    app()
