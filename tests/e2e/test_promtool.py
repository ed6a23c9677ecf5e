"""Prometheus' own tool accepts the metrics, and the alert rules with their tests."""

import subprocess
from pathlib import Path

import pytest
from dicomstore.v1.metrics_service_pb2 import GetMetricsResponse

from common.telemetry.catalogue import HTTP_REQUESTS, HTTP_SECONDS
from common.telemetry.metrics import provided, snapshot
from common.telemetry.process_figures import process_samples
from facade.monitoring import exposition
from facade.monitoring.families import with_own
from tests.telemetry import promtool

MONITORING = Path(__file__).parents[2] / "deploy/monitoring"

pytestmark = pytest.mark.clients("promtool")


def run(*arguments: str, text: bytes = b"") -> str:
    program = promtool()
    assert program is not None
    done = subprocess.run([program, *arguments], input=text, capture_output=True, check=False, cwd=MONITORING)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def test_the_alert_rules_are_valid() -> None:
    assert "SUCCESS" in run("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml")


def test_the_alerts_fire_when_they_should() -> None:
    assert "SUCCESS" in run("test", "rules", "alerts.test.yaml")


def test_the_metrics_are_valid() -> None:
    HTTP_REQUESTS.of("/{version}/studies", "GET", "200").value += 1
    HTTP_SECONDS.of("/{version}/studies", "GET").observe(0.1)
    with provided(process_samples):
        families = with_own(GetMetricsResponse(), [("node-1", snapshot())])
    run("check", "metrics", text=exposition.text(families, is_open_metrics=False))
