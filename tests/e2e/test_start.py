"""The start of `dicomstore up`: its output, processes and imports. `python -m bench.start` measures its duration."""

import asyncio
import re
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.e2e.test_up import REPOSITORY, environment, up

NAMES = ["Explorer", "DICOMweb", "gRPC", "Data", "Upload", "Search", "Stop"]


def names_in(banner: str) -> list[str]:
    """Return the labels of a banner."""
    return re.findall(r"^  (\w+)  ", banner, re.MULTILINE)


async def test_the_start_prints_only_the_lines_shown_in_the_readme(tmp_path: Path) -> None:
    shown = (REPOSITORY / "README.md").read_text().partition("dicomstore is running\n")[2].partition("\n\n")[0]
    for first_lines in (
        ["database migrated", "bound storage and index"],
        [],
    ):  # the database is new, then up to date
        async with up(tmp_path, "--workers", 1) as archive:
            exit_code, errors = await archive.ended(signal.SIGINT)
        assert exit_code == 0, errors
        expected = [*first_lines, "dicomstore listens on", "dicomstore stops", "dicomstore has stopped"]
        lines = [line for line in errors.splitlines() if line.startswith("node")]
        assert len(lines) == len(expected), errors
        assert all(part in line for part, line in zip(expected, lines, strict=True)), errors
        assert names_in(archive.welcome) == names_in(shown) == NAMES


async def test_a_start_reads_settings_without_another_process_and_loads_no_library_of_the_nodes(tmp_path: Path) -> None:
    """Imports and processes of the supervisor delay the first response."""
    script = """
import sys
from cli.commands import up
up.plan_of({"DICOMSTORE_HTTP": "127.0.0.1:0", "DICOMSTORE_GRPC": "127.0.0.1:0"})
print(*{name.partition(".")[0] for name in sys.modules})
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=PIPE, cwd=tmp_path, env=environment()
    )
    output, _ = await process.communicate()
    loaded = set(output.decode().split())
    assert process.returncode == 0
    assert loaded.isdisjoint({"sqlalchemy", "alembic", "pydicom", "starlette", "uvicorn", "numpy", "dbos", "node"})


@pytest.mark.parametrize("program", ["node.__main__", "server.bootstrap.serving"])
async def test_a_serving_program_loads_seldom_used_libraries_on_demand(program: str) -> None:
    """Each takes up to a fifth of the time of a start: migrations, the driver of PostgreSQL, pixels, the engine."""
    imports = f"import gc, sys\nimport server.__main__\nimport {program}\n"
    script = f"{imports}assert gc.isenabled()\nprint(*filter(sys.modules.get, sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=PIPE, env=environment())
    output, _ = await process.communicate()
    loaded = {name.partition(".")[0] for name in output.decode().split()}
    assert "sqlalchemy" in loaded
    assert loaded.isdisjoint({"alembic", "psycopg", "dbos", "numpy", "PIL", "imagecodecs", "gdcm", "requests", "cli"})


async def test_only_nodes_and_the_worker_start_an_interpreter(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        f"import sys\nwith open({str(tmp_path / 'started')!r}, 'a') as file: print(*sys.orig_argv[1:], file=file)\n"
    )
    path = f"{tmp_path / 'site'}:{environment()['PYTHONPATH']}"
    async with up(tmp_path, "--workers", 2, is_executed=True, PYTHONPATH=path):
        up_itself, *others = (tmp_path / "started").read_text().splitlines()
    assert " up " in up_itself
    programs = [line.rpartition(" -m ")[2] for line in others]
    assert programs == ["node", "node"]


def test_the_benchmark_of_the_start_measures_every_step(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.start", "--runs", "1"],
        env=environment(BENCH_DIR=str(tmp_path)), capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(.+?) +(\d+\.\d\d) +(\d+\.\d\d)$", done.stdout, re.MULTILINE)
    assert len(rows) == 7
    assert "first response of `up`" in rows[-1][0]
    assert list(tmp_path.iterdir()) == []
