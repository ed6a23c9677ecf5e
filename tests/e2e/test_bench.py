"""The benchmarks run; their timing is not checked."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from xml.etree import ElementTree

import grpc
import pytest

from bench import memory, report
from bench.archive import Archive, running_archive
from bench.figures import GRPC_COLUMNS, table
from bench.rpc import core, ghz, rpc
from bench.rpc.ghz import Outcome
from bench.rpc.scenarios import PARTITION, SCENARIOS, Load, Scenario, received, sent
from bench.sets import Sets, store
from bench.workloads import WORKLOADS
from tests.e2e.archive import ROOT

SMOKE = 0.01


def bench(
    *arguments: str | Path, folder: Path, path: str = "/usr/bin:/bin", module: str = "bench"
) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench`, or another module, with its data in a folder."""
    environment = {"BENCH_DIR": str(folder), "PATH": path, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def call_with_stubs(scenario: Scenario, loads: Sequence[Load], core: str) -> Outcome:
    """Make the calls that ghz would make, one after the other, and count the items of each."""
    began, latencies, statuses = time.perf_counter(), [], dict[str, int]()
    with grpc.insecure_channel(core) as channel:
        for load in loads:
            for number in range(load.calls):
                start = time.perf_counter()
                received(scenario, rpc.call(channel, scenario.rpc, sent(scenario, load, number)))
                latencies.append(time.perf_counter() - start)
                statuses[scenario.status] = statuses.get(scenario.status, 0) + 1
    return Outcome(time.perf_counter() - began, sorted(latencies), statuses, client_cpu_s=0.0)


def test_a_short_run_over_dicomweb_measures_every_workload(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    done = bench("web", "--seconds=0.02", f"--scale={SMOKE}", "--workers=1", "--output", rows, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    measured = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["workload"] for row in measured] == [workload.name for workload in WORKLOADS]
    assert all(row["per_s"] > 0 and row["cpu_ms_per_unit"] > 0 and row["checked"] for row in measured)
    assert all(f"| {workload.name} |" in done.stdout for workload in WORKLOADS)


def test_a_short_run_measures_each_kind_of_credential(tmp_path: Path) -> None:
    done = bench("--calls=2", "--rounds=1", folder=tmp_path, module="bench.parts.authentication")
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if "token" in line]) == 6


def test_a_short_run_measures_each_step_of_storing_a_slice(tmp_path: Path) -> None:
    done = bench("--repeat=2", "--rounds=1", folder=tmp_path, module="bench.parts.slice_steps")
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.endswith(" ms")]) == 6


@pytest.fixture(scope="module")
def partitioned(module_path: Path) -> Iterator[Archive]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BENCH_DIR", str(module_path))
        with running_archive(workers=1, DICOMSTORE_PARTITIONS="true") as archive:
            store(archive.core, PARTITION, Sets(SMOKE).instances())
            yield archive


def test_the_data_of_every_grpc_scenario_is_valid(partitioned: Archive) -> None:
    rows = [core.measure(scenario, partitioned, Sets(SMOKE), call_with_stubs) for scenario in SCENARIOS]
    assert all(row["items_per_s"] and row["cpu_ms_per_item"] for row in rows)
    assert len(table(rows, GRPC_COLUMNS)) == 2 + len(SCENARIOS)


def test_every_rpc_of_clients_has_a_scenario() -> None:
    assert {*rpc.contract(), rpc.HEALTH} == {scenario.rpc for scenario in SCENARIOS}


def test_a_short_run_measures_the_memory_of_each_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DIR", str(tmp_path))
    small = memory.Size(megabytes=2, instances=4, storm_clients=2, slow_readers=4, seconds=0.1)
    with running_archive(workers=1) as archive:
        rows = list(memory.measure(small, lambda: nullcontext(archive)))
    assert [row["memory"] for row in rows] == ["nothing", "large_instance", "study", "metadata_storm", "slow_readers"]
    peaks = [row["peak_mb"] for row in rows]
    assert all(isinstance(peak, list) and max(size for _, size in peak) > 50 for peak in peaks)


def test_without_ghz_and_go_the_benchmark_says_how_to_get_them(tmp_path: Path) -> None:
    done = bench("grpc", folder=tmp_path, path=str(tmp_path))
    assert done.returncode == 1
    assert "go install github.com/bojand/ghz/cmd/ghz@" in done.stderr


def test_reports_of_several_clients_cover_the_time_from_the_first_start_to_the_last_end() -> None:
    def report(end: str, latency_ms: int, status: str) -> dict[str, object]:
        details = [{"timestamp": f"2024-01-31T10:00:{end}Z", "latency": latency_ms * 1_000_000}]
        return {"statusCodeDistribution": {status: 1}, "details": details}

    found = ghz.outcome([report("02.500000001", 1500, "OK"), report("03.000000000", 500, "Unavailable")], 0.25)
    assert found.taken_s == pytest.approx(2.0)
    assert found.latencies_s == pytest.approx([0.5, 1.5])
    assert found.statuses == {"OK": 1, "Unavailable": 1}


def test_a_call_with_an_unexpected_status_fails_the_measurement(partitioned: Archive) -> None:
    [health] = [scenario for scenario in SCENARIOS if scenario.name == "health"]
    with pytest.raises(RuntimeError, match=r"calls: .'Unavailable': 1."):
        core.measure(health, partitioned, Sets(SMOKE), lambda *_: Outcome(1.0, [1.0], {"Unavailable": 1}, 0.0))


def test_the_report_compares_medians_of_pairs_and_leaves_failed_runs_out(tmp_path: Path) -> None:
    def run(server: str, pair: int, per_s: float, errors: int = 0) -> dict[str, object]:
        figures = {"per_s": per_s, "srv_cpu_ms_per_unit": 1000 / per_s, "srv_peak_rss_mb": 100.0}
        return {"server": server, "workload": "qido", "pair": pair, "unit": "requests", "units": 9, **figures} | {
            "errors": errors
        }

    rows = [run("orthanc", pair, 10) for pair in range(4)]
    rows += [run("dicomstore", pair, per_s) for pair, per_s in enumerate((20, 30, 40))] + [run("dicomstore", 3, 900, 1)]
    lines = report.markdown(rows, ours="dicomstore", figures=tmp_path, link="figures")
    assert "| qido | requests | 10 | 30 | 3 | 100 | 33.3 | 3 | 100 | 100 |" in lines
    assert any("(figures/orthanc.svg)" in line for line in lines)


def test_the_report_plots_searches_over_the_size_of_the_index(tmp_path: Path) -> None:
    sizes = ((7_000, 1.5), (1_000_000, 3.0))
    rows = [
        {"instances": size, "kind": kind, "p50_ms": p50, "p95_ms": 2 * p50}
        for kind in ("page", "name<")
        for size, p50 in sizes
    ]
    lines = report.markdown(rows, ours="dicomstore", figures=tmp_path, link="figures")
    assert "| page | 1.50 | 3 | 3 | 6 | 2 |" in lines
    drawn = "".join(ElementTree.fromstring((tmp_path / "index-scale.svg").read_text()).itertext())
    for text in ("name<", "1,000,000", "instances in the index (log scale)", "p50 of a search, ms (log scale)"):
        assert text in drawn


def test_the_report_refuses_a_line_that_is_not_a_result(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"workload": "qido"}\n{"other": 1}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: not a result row"):
        report.read_rows([file])


def test_searches_of_a_worklist_are_measured(tmp_path: Path) -> None:
    done = bench("--workitems=3000", "--kind=patient_id", folder=tmp_path, module="bench.parts.worklist_search")
    assert done.returncode == 0, done.stderr
    assert "| patient_id | 3000 |" in done.stdout
