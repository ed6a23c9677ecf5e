"""People log in with a browser and see a study in OHIF; no script has a token."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.archive import ROOT
from tests.e2e.studies import PHANTOM_STUDY, phantom_study
from tests.e2e.test_identity_providers import CLIENTS, WELL_KNOWN, program
from tests.e2e.viewer import START_S, Watched, archive_with_viewer, chromium, is_an_image, watched_page
from tests.login_provider import AUDIENCE, identity_provider
from tests.ports import free_port
from tests.programs import run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning"),  # of the identity provider
]

RESOURCE = "https://archive.example"
STUDY = f"/viewer/viewer?StudyInstanceUIDs={PHANTOM_STUDY}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@contextmanager
def an_archive(folder: Path, port: int = 0, **settings: str) -> Iterator[str]:
    """Run an archive of two nodes with one study; yield its address."""
    with archive_with_viewer(folder, port=port, workers=2, **settings) as address:
        headers = {
            "Authorization": f"Bearer {(folder / 'data/operator.token').read_text().strip()}",
            "Content-Type": "application/dicom",
            "Accept": "application/dicom+json",
        }
        with httpx.Client(base_url=address, headers=headers, trust_env=False, timeout=START_S) as client:
            for file in phantom_study():
                assert client.post("/v2/studies", content=file).status_code in (200, 202)
        yield address


def sees_a_study(browser: Browser, address: str, log_in: Callable[[Page], None]) -> None:
    """Open a study without a session, log in, see the study, log out."""
    with watched_page(browser, address) as user:
        user.open(STUDY)
        log_in(user.page)
        user.page.wait_for_url(f"{address}{STUDY}")
        user.paints(is_an_image)
        has_no_token(user)
        user.open("/logout")
        user.page.get_by_role("button", name="Log out").click()
        user.page.wait_for_load_state()
        [answer] = [user.page.request.get(f"{address}/v2/studies", headers={"Accept": "application/dicom+json"})]
        assert answer.status == 401
        user.wrong.clear()  # the provider may have pages with errors


def has_no_token(user: Watched) -> None:
    """Check that scripts cannot read a token."""
    assert "dicomstore" not in user.page.evaluate("document.cookie")
    stored = user.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert not re.search(r"eyJ[\w-]{20,}|dcm[a-z]_", stored)
    [session] = [one for one in user.page.context.cookies() if one["name"] == "dicomstore-session"]
    assert (session["httpOnly"], session["sameSite"]) == (True, "Lax")


def test_a_user_logs_in_at_an_identity_provider(browser: Browser, tmp_path: Path) -> None:
    def log_in(page: Page) -> None:
        page.locator("input[name=sub]").fill("alice")
        page.get_by_role("button", name="Authorize").click()

    with (
        identity_provider() as provider,
        an_archive(
            tmp_path,
            auth_issuer=provider.url,
            auth_audience=AUDIENCE,
            auth_client_id="facade",
            auth_client_secret="secret",
        ) as address,
    ):
        sees_a_study(browser, address, log_in)
        assert [form["grant_type"] for form in provider.requests] == ["authorization_code"]


def test_the_operator_opens_a_session_with_a_login_link(browser: Browser, tmp_path: Path) -> None:
    with an_archive(tmp_path, auth_required="true") as address, watched_page(browser, address) as user:
        core = re.search(r"gRPC +(\S+)", (tmp_path / "welcome").read_text())
        assert core is not None
        environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}", "DICOMSTORE_DATA": str(tmp_path / "data")}
        ran = run("cli", "login", "--core", core[1], "--url", address, environment=environment, folder=tmp_path)
        user.page.goto(ran.stdout.decode().strip())
        user.page.get_by_role("button", name="Open the archive").click()
        user.page.wait_for_url(f"{address}/")
        user.open(STUDY)
        user.paints(is_an_image)
        has_no_token(user)


@pytest.mark.clients("oidc-provider")
def test_a_user_logs_in_at_oidc_provider(browser: Browser, tmp_path: Path) -> None:
    def log_in(page: Page) -> None:
        page.locator("input[name=login]").fill("alice")
        page.locator("input[name=password]").fill("secret")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()

    issuer, port = f"http://127.0.0.1:{(provider_port := free_port())}", free_port()
    modules, redirect_uri = str(ROOT / ".clients/node_modules"), f"http://127.0.0.1:{port}/login/callback"
    command = ["node", str(CLIENTS / "oidc_provider.mjs"), modules, str(provider_port), RESOURCE, redirect_uri]
    settings = {
        "auth_issuer": issuer,
        "auth_audience": RESOURCE,
        "auth_client_id": "facade",
        "auth_client_secret": "secret",
    }
    with program(command, issuer + WELL_KNOWN, 30, tmp_path), an_archive(tmp_path, port, **settings) as address:
        sees_a_study(browser, address, log_in)


@pytest.mark.clients("keycloak")
def test_a_user_logs_in_at_keycloak(browser: Browser, tmp_path: Path) -> None:
    def log_in(page: Page) -> None:
        page.locator("#username").fill("alice")
        page.locator("#password").fill("secret")
        page.locator("#kc-login").click()

    url, port = f"http://127.0.0.1:{(provider_port := free_port())}", free_port()
    issuer = f"{url}/realms/hospital"
    home = tmp_path / "keycloak"
    shutil.copytree(ROOT / ".keycloak", home)
    imports = home / "data/import"
    imports.mkdir(parents=True, exist_ok=True)
    realm = (CLIENTS / "keycloak_realm.json").read_text().replace("http://127.0.0.1:1/", f"http://127.0.0.1:{port}/")
    (imports / "realm.json").write_text(realm)
    options = ("start-dev", "--db=dev-mem", "--import-realm", "--http-host=127.0.0.1", f"--http-port={provider_port}")
    settings = {
        "auth_issuer": issuer,
        "auth_audience": "dicomstore",
        "auth_roles_claim": "realm_access.roles",
        "auth_client_id": "facade",
        "auth_client_secret": "secret",
    }
    with (
        program(
            [str(home / "bin/kc.sh"), *options],
            issuer + WELL_KNOWN,
            500,
            tmp_path,
            JAVA_OPTS_KC_HEAP="-Xms64m -Xmx300m",
        ),
        an_archive(tmp_path, port, **settings) as address,
    ):
        sees_a_study(browser, address, log_in)
