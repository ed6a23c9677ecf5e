"""`python -m bench.parts.update`: updates of a study of CT slices, compared with storing in the same run.

Prints the time of each update, its rate beside that of the workload `stow_small_batch`, the bytes that blobs and index
have grown by, and the entries in the change feed. Checks that every frame is the same as before.

The rate is that of the worker's run. It begins at the last moment at which the operation was seen not to have started,
and ends at the time that the archive records; starting the worker counts only in the time from the request on. The
state is read from the index, because requests for it would take processor time from the archive.
"""

import http.client
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from bench import data, web
from bench.archive import Archive, running_archive
from bench.figures import Row, table, write_rows
from bench.sets import SERIES, Sets, store
from bench.workloads import WORKLOADS
from server.model.operation import OperationState

app = typer.Typer(add_completion=False)

_STUDY = 1
_COLUMNS = {
    "update": "update",
    "instances": "instances",
    "whole_s": "from the request to the result, s",
    "running_s": "without the wait for the worker, s",
    "per_s": "instances per s",
    "cpu_ms": "CPU ms per instance",
    "stow_per_s": "stow_small_batch in the same run, instances per s",
    "stow_cpu_ms": "stow_small_batch, CPU ms per instance",
    "blob_bytes": "bytes of blobs per instance",
    "index_bytes": "bytes of the index per instance",
    "entries": "entries in the change feed",
}
_POLL_SECONDS = 0.005


@app.command()
def main(
    slices: Annotated[int, typer.Option(help="Instances of the study, in two series.")] = 500,
    seconds: Annotated[float, typer.Option(help="Duration of stow_small_batch.")] = 3.0,
    repetitions: Annotated[int, typer.Option(help="Number of updates; the first one waits for the worker.")] = 4,
    output: Annotated[Path | None, typer.Option(help="Also write the rows to this file, as JSON lines.")] = None,
) -> None:
    """Measure updates of one study."""
    size = Sets(slices / 500)
    [stow] = [workload for workload in WORKLOADS if workload.name == "stow_small_batch"]
    instances = (data.instance(data.CT_SLICE, _STUDY, series, number) for series in SERIES for number in size.slices)
    with running_archive() as archive:
        store(archive.core, "", instances)
        stored = web.measure(stow, archive, size, seconds)
        compared: Row = {"stow_per_s": stored["per_s"], "stow_cpu_ms": stored["cpu_ms_per_unit"]}
        rows = [_once(archive, size, number) | compared for number in range(1, repetitions + 1)]
    for line in table(rows, _COLUMNS):
        typer.echo(line)
    if output is not None:
        write_rows(output, rows)


def _once(archive: Archive, size: Sets, number: int) -> Row:
    """Update the study; return the figures."""
    before, latest, blobs, index = _frames(archive, size), _latest(archive), _blob_bytes(archive), _index_bytes(archive)
    changes = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": f"Changed^{number}"}]},
        "00100020": {"vr": "LO", "Value": [f"X-{number}"]},
    }
    body = json.dumps({"studyInstanceUids": [data.study_uid(_STUDY)], "changeDataset": changes}).encode()
    cpu, began = archive.cpu_seconds(), time.time()
    started = json.loads(_call(archive, "POST", "/v2/studies/$bulkUpdate", body))
    ran, ended, count = _run(archive, started["id"])
    cpu = archive.cpu_seconds() - cpu
    if _frames(archive, size) != before:
        raise RuntimeError("frames have changed")
    return {
        "update": number,
        "instances": count,
        "whole_s": round(ended - began, 2),
        "running_s": round(ended - ran, 2),
        "per_s": round(count / (ended - ran)),
        "cpu_ms": round(cpu * 1e3 / count, 2),
        "blob_bytes": round((_blob_bytes(archive) - blobs) / count),
        "index_bytes": round((_index_bytes(archive) - index) / count),
        "entries": _latest(archive) - latest,
    }


def _run(archive: Archive, operation_id: str) -> tuple[float, float, int]:
    """Wait for the end of an operation.

    Return the last time at which it had not started, the time of its end, and the number of instances.
    """
    query = "SELECT state, updated, done FROM operations WHERE id = ?"
    with closing(sqlite3.connect(f"file:{archive.data / 'index.db'}?mode=ro", uri=True)) as index:
        ran = time.time()
        while True:
            asked = time.time()
            state, updated, done = index.execute(query, (operation_id,)).fetchone()
            if state == OperationState.NOT_STARTED:
                ran = asked
            elif state == OperationState.SUCCEEDED:
                return ran, updated / 1e6, done
            elif state != OperationState.RUNNING:
                raise RuntimeError("the update has failed")
            time.sleep(_POLL_SECONDS)


def _frames(archive: Archive, size: Sets) -> list[int]:
    """Return a hash of each frame of the study."""
    return [
        hash(
            _call(
                archive,
                "GET",
                f"/v2/studies/{data.study_uid(_STUDY)}/series/{data.series_uid(_STUDY, series)}/instances/"
                f"{data.instance_uid(_STUDY, series, number)}/frames/1",
            )
        )
        for series in SERIES
        for number in size.slices
    ]


def _latest(archive: Archive) -> int:
    sequence: int = json.loads(_call(archive, "GET", "/v2/changefeed/latest?includeMetadata=false"))["sequence"]
    return sequence


def _blob_bytes(archive: Archive) -> int:
    return sum(path.stat().st_size for name in ("segments", "blobs") for path in _files(archive.data / name))


def _index_bytes(archive: Archive) -> int:
    return sum(path.stat().st_size for path in archive.data.glob("*.db*"))


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def _call(archive: Archive, method: str, path: str, body: bytes | None = None) -> bytes:
    """Send a request and return the body of its response. Raises RuntimeError for an error status."""
    connection = http.client.HTTPConnection("127.0.0.1", archive.http_port, timeout=60)
    headers = {"Content-Type": "application/json", "Accept": "application/octet-stream; transfer-syntax=*, */*"}
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content: bytes = response.read()
    finally:
        connection.close()
    if response.status >= 400:
        raise RuntimeError(f"{method} {path}: {response.status}")
    return content


if __name__ == "__main__":
    app()
