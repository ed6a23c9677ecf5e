"""`python -m bench.parts.dimse_query`: C-FIND and C-MOVE beside Orthanc.

The archive has many studies of one small object and one study of CT slices. Clients are DCMTK's `findscu` and `movescu`
with TCP_NODELAY; the destination of C-MOVE is `storescp`, which discards what it receives. Both servers run at the
same time, and are measured in turns. "CPU" is the CPU time of all processes of a server for a query or an instance.
"""

import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from json import dumps
from pathlib import Path

import typer

from bench import data
from bench.parts.dimse_store import ENVIRONMENT, Server, dicomstore, orthanc_server, wait_for
from tests.ports import free_port

_CT_STUDY = 1_000_000
_TITLE = "STORESCP"
_RETURNED = ("PatientName", "PatientBirthDate", "StudyInstanceUID", "StudyTime", "AccessionNumber", "StudyDescription")


def measure(
    studies: int = typer.Option(1000, help="Number of studies of one small object."),
    slices: int = typer.Option(500, help="Number of CT slices of the study to move."),
    queries: int = typer.Option(200, help="Number of queries of each kind for each client."),
    clients: list[int] = typer.Option([1, 4], help="Numbers of associations."),  # noqa: B008
    rounds: int = typer.Option(3),
    orthanc: bool = typer.Option(True, help="Measure Orthanc, too."),
) -> None:
    """Measure each combination and print a table."""
    results: dict[tuple[str, int, str], list[tuple[float, float]]] = {}
    port = free_port()
    remotes = {name: {"host": "127.0.0.1", "port": port} for name in (_TITLE, "MOVESCU")}
    with tempfile.TemporaryDirectory(prefix="dicomstore-bench-", dir=os.environ.get("BENCH_DIR")) as directory:
        files = Path(directory, "files")
        _write(files, studies, slices)
        archive = dicomstore(Path(directory), {"DICOMSTORE_REMOTES": dumps(remotes)})
        other = orthanc_server(
            Path(directory),
            DicomModalities={_TITLE: [_TITLE, "127.0.0.1", port]},
            DicomAlwaysAllowFind=True,
            DicomAlwaysAllowMove=True,
        )
        with ExitStack() as running:
            running.enter_context(_destination(port))
            servers = [running.enter_context(one) for one in ([archive, other] if orthanc else [archive])]
            for server in servers:
                _run("storescu", server, "-R", "+sd", "+r", str(files))
            for _, count, server in itertools.product(range(rounds), clients, servers):
                for kind, keys in _queries(studies).items():
                    options = ("-S", "--repeat", str(queries), *keys)
                    rate = _rate(server, count, queries * count, "findscu", *options)
                    results.setdefault((kind, count, server.name), []).append(rate)
                options = ("-S", "-aem", _TITLE, *_keys("STUDY", StudyInstanceUID=data.study_uid(_CT_STUDY)))
                rate = _rate(server, count, slices * count, "movescu", *options)
                results.setdefault((f"C-MOVE, {slices} CT, per slice", count, server.name), []).append(rate)
    typer.echo("| operation | associations | server | per s | CPU ms |\n|---|--:|---|--:|--:|")
    for (kind, count, name), rates in sorted(results.items()):
        per_s, cpu_ms = (statistics.median(column) for column in zip(*rates, strict=True))
        typer.echo(f"| {kind} | {count} | {name} | {per_s:,.0f} | {cpu_ms:.2f} |")


def _write(files: Path, studies: int, slices: int) -> None:
    for name, kind, numbers in (
        ("small", data.SMALL, [(study, 1) for study in range(studies)]),
        ("ct", data.CT_SLICE, [(_CT_STUDY, number) for number in range(1, slices + 1)]),
    ):
        folder = files / name
        folder.mkdir(parents=True)
        for study, number in numbers:
            Path(folder, f"{study}.{number}.dcm").write_bytes(data.instance(kind, study, number=number))


def _queries(studies: int) -> dict[str, list[str]]:
    returned = dict.fromkeys(_RETURNED, "")
    return {
        "C-FIND, patient, one match": _keys("STUDY", **(returned | {"PatientID": data.patient_id(studies // 2)})),
        "C-FIND, family name, many matches": _keys(
            "STUDY", **(returned | {"PatientName": f"{data.family(studies // 2)}*", "PatientID": ""})
        ),
        "C-FIND, series of a study": _keys(
            "SERIES", StudyInstanceUID=data.study_uid(studies // 2), SeriesInstanceUID="", Modality="", SeriesNumber=""
        ),
    }


def _keys(level: str, **values: str) -> list[str]:
    asked = {"QueryRetrieveLevel": level} | values
    return [part for keyword, value in asked.items() for part in ("-k", f"{keyword}={value}")]


def _rate(server: Server, clients: int, count: int, program: str, *options: str) -> tuple[float, float]:
    """Return operations per second, and the CPU time of each in ms."""
    cpu, began = server.cpu_seconds(), time.perf_counter()
    running = [_start(program, server, *options) for _ in range(clients)]
    if {client.wait() for client in running} != {0}:
        raise RuntimeError(f"{program} failed")
    seconds = time.perf_counter() - began
    time.sleep(0.2)
    return count / seconds, (server.cpu_seconds() - cpu) / count * 1000


def _run(program: str, server: Server, *options: str) -> None:
    if _start(program, server, *options).wait():
        raise RuntimeError(f"{program} failed")


def _start(program: str, server: Server, *options: str) -> subprocess.Popen[bytes]:
    files = [option for option in options if option.startswith("/")]
    others = [option for option in options if not option.startswith("/")]
    command = [program, "-q", *others, "-aec", server.ae_title, "127.0.0.1", str(server.port), *files]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)


@contextmanager
def _destination(port: int) -> Iterator[None]:
    process = subprocess.Popen(
        [str(shutil.which("storescp")), "--ignore", "--fork", "-aet", _TITLE, str(port)], env=ENVIRONMENT
    )
    try:
        wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    typer.run(measure)
