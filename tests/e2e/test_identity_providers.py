"""Real identity providers: their access tokens are accepted by core and facade, their other tokens are refused."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.data import part10
from tests.e2e.archive import ROOT, Archive, running_archive
from tests.e2e.examples import blocks_of
from tests.ports import free_port

CLIENTS = Path(__file__).parent / "clients"
AUDIENCE = "https://archive.example"
JSON = {"Accept": "application/dicom+json"}
DICOM = {"Content-Type": "application/dicom"}
WELL_KNOWN = "/.well-known/openid-configuration"


@contextmanager
def program(command: list[str], url: str, seconds: float, folder: Path, **environment: str) -> Iterator[None]:
    """Run a program until it answers at a URL, and stop it at the end."""
    with (folder / "provider.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | environment)
    try:
        deadline = time.monotonic() + seconds
        while not answers(url):
            assert process.poll() is None, (folder / "provider.log").read_text()
            assert time.monotonic() < deadline, (folder / "provider.log").read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    """Return whether a GET succeeds."""
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def search(archive: Archive, token: str) -> int:
    """Search for studies; return the status."""
    return httpx.get(f"{archive.http}/v2/studies", headers={**JSON, "Authorization": f"Bearer {token}"}).status_code


def store(archive: Archive, token: str) -> int:
    """Store an instance; return the status."""
    headers = {**JSON, **DICOM, "Authorization": f"Bearer {token}"}
    return httpx.post(f"{archive.http}/v2/studies", content=part10(), headers=headers).status_code


def from_command_line(archive: Archive, token: str, folder: Path) -> int:
    """Search with the command line; return the exit code."""
    file = folder / "token"
    file.write_text(token)
    return archive.run("cli", "--token-file", str(file), "search", check=False).returncode


@pytest.mark.clients("oidc-provider")
def test_oidc_provider_issues_tokens_for_clients(tmp_path: Path) -> None:
    issuer = f"http://127.0.0.1:{(port := free_port())}"
    modules = str(ROOT / ".clients/node_modules")
    command = ["node", str(CLIENTS / "oidc_provider.mjs"), modules, str(port), AUDIENCE]
    settings = {"auth_issuer": issuer, "auth_audience": AUDIENCE}

    def token(client: str) -> str:
        form = {"grant_type": "client_credentials"}
        return str(httpx.post(f"{issuer}/token", data=form, auth=(client, "secret")).json()["access_token"])

    with (
        program(command, issuer + WELL_KNOWN, 30, tmp_path),
        running_archive(tmp_path / "data", **settings) as archive,
    ):
        writer, reader, nobody = map(token, ("writer", "globalReader", "nobody"))
        assert (store(archive, writer), store(archive, reader), store(archive, nobody)) == (200, 403, 403)
        assert (search(archive, writer), search(archive, reader), search(archive, nobody)) == (200, 200, 403)
        assert from_command_line(archive, reader, tmp_path) == 0
        assert from_command_line(archive, nobody, tmp_path) == 1
        assert search(archive, writer[:-2]) == 401


@pytest.mark.clients("keycloak")
@pytest.mark.timeout(600)
def test_keycloak_issues_tokens_with_realm_roles_as_in_the_readme(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    [example] = [text for _, text in blocks_of(ROOT / "README.md", "sh")]
    settings, commands = example.replace("https://login.example", url).split(".venv/bin/dicomstore up &")
    variables = dict(re.findall(r"^export DICOMSTORE_(\w+)=(\S+)$", settings, re.MULTILINE))
    issuer = variables["AUTH_ISSUER"]
    imports = ROOT / ".keycloak/data/import"
    imports.mkdir(parents=True, exist_ok=True)
    (imports / "realm.json").write_bytes((CLIENTS / "keycloak_realm.json").read_bytes())
    command = [
        str(ROOT / ".keycloak/bin/kc.sh"),
        *("start-dev", "--db=dev-mem", "--import-realm", "--http-host=127.0.0.1", f"--http-port={port}"),
    ]
    heap = {"JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx300m"}

    def tokens(**form: str) -> dict[str, str]:
        response = httpx.post(
            f"{issuer}/protocol/openid-connect/token", data=form, auth=("gateway", "secret"), timeout=60
        )
        assert response.status_code == 200, response.text
        found: dict[str, str] = response.json()
        return found

    with (
        program(command, issuer + WELL_KNOWN, 500, tmp_path, **heap),
        running_archive(tmp_path / "data", **{name.lower(): value for name, value in variables.items()}) as archive,
    ):
        service = tokens(grant_type="client_credentials")["access_token"]
        assert (search(archive, service), store(archive, service)) == (204, 403)
        of_alice = tokens(grant_type="password", username="alice", password="secret", scope="openid")
        assert store(archive, of_alice["access_token"]) == 200
        assert search(archive, of_alice["id_token"]) == 401
        assert search(archive, of_alice["refresh_token"]) == 401

        commands = commands.replace("http://127.0.0.1:8080", archive.http).replace(".venv/bin/dicomstore", "dicomstore")
        output = archive.shell(settings + commands)
        assert output.startswith('[{"')
        assert "StudyInstanceUID" in output
