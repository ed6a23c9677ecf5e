"""The files in deploy/ pass the linters of their formats, and contain valid settings.

They are not executed: that needs a container engine.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from facade.config import Settings as FacadeSettings
from server.config import Settings as CoreSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(path.name for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")


def loaded(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def run(program: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_passes_hadolint() -> None:
    run("hadolint", "--failure-threshold", "info", DEPLOY / "Dockerfile")


def test_the_image_is_built_from_the_packages_of_the_project_only() -> None:
    lines = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    packages = {path.parent.name for path in DEPLOY.parent.glob("*/__init__.py")} - {"bench", "docs", "tests"}
    assert lines[1] == "**"
    assert packages | {"protos", "requirements"} <= allowed
    assert all((DEPLOY.parent / name).exists() for name in allowed)


def test_the_compose_file_has_a_valid_schema() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_the_compose_file_requires_authentication_and_has_known_variables() -> None:
    archive = loaded(DEPLOY / "compose.yaml")["services"]["archive"]
    environment = archive["environment"]
    assert environment["DICOMSTORE_AUTH_REQUIRED"] == "true"
    assert all(port.startswith("127.0.0.1:") for port in archive["ports"])
    known = {f"DICOMSTORE_{name.upper()}" for name in (*CoreSettings.model_fields, *FacadeSettings.model_fields)}
    assert {name.removesuffix("_FILE") for name in environment} <= known


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_has_a_valid_schema(name: str) -> None:
    import kubernetes_validate  # takes seconds, which each test process would spend when it collects the tests

    kubernetes_validate.validate(loaded(KUBERNETES / name), kubernetes_validate.latest_version(), strict=True)


def test_all_manifests_are_applied() -> None:
    assert sorted(loaded(KUBERNETES / "kustomization.yaml")["resources"]) == MANIFESTS


def test_the_settings_of_the_cluster_are_valid_and_require_authentication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "database-url": "postgresql+psycopg://dicomstore@db/dicomstore",
        "secret-key": "s" * 32,
    }
    for name, text in secrets.items():
        tmp_path.joinpath(name).write_text(text)
    settings = (KUBERNETES / "dicomstore.toml").read_text().replace("/run/secrets/dicomstore", str(tmp_path))
    tmp_path.joinpath("dicomstore.toml").write_text(settings)
    monkeypatch.setenv("DICOMSTORE_CONFIG", str(tmp_path / "dicomstore.toml"))
    core, facade = CoreSettings(), FacadeSettings()
    assert core.auth_required
    assert core.grpc.startswith("127.0.0.1:")
    assert facade.tls_certificate == "/run/secrets/tls/tls.crt"
    assert facade.secret_key.get_secret_value() == core.secret_key.get_secret_value() == secrets["secret-key"]


def test_a_pod_has_time_to_complete_its_requests() -> None:
    pod = loaded(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]
    [archive] = pod["containers"]
    pause = archive["lifecycle"]["preStop"]["sleep"]["seconds"]
    settings = (KUBERNETES / "dicomstore.toml").read_text()
    assert settings.count("shutdown_seconds = 20") == 2
    assert pod["terminationGracePeriodSeconds"] > pause + 20
