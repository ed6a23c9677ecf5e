import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import PostgresDatabases
from tests.e2e import archive as archive_module
from tests.e2e.archive import ROOT, Archive, running_archive
from tests.object_store import AZURITE, running_moto, running_versitygw, versitygw
from tests.telemetry import promtool

ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests whose programs are missing, and with `--stores s3` those of local files.

    The programs are a browser with a viewer (`make viewer`), clients (`make clients`), and Keycloak (`make keycloak`).
    """
    stores = config.getoption("--stores")
    left_out = [item for item in items if not (_is_possible(item) and (stores == "files" or not _is_about_files(item)))]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def _is_possible(item: pytest.Item) -> bool:
    if not all(_has_client(marker.args[0]) for marker in item.iter_markers("clients")):
        return False
    return item.get_closest_marker("browser") is None or _has_browser()


def _is_about_files(item: pytest.Item) -> bool:
    return item.get_closest_marker("files") is not None


@cache
def _has_browser() -> bool:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    return bool(chromium) and (ROOT / ".viewer/index.html").exists()


@cache
def _has_client(name: str) -> bool:
    if name == "node":
        return bool(shutil.which("node")) and (ROOT / ".clients/node_modules/dicomweb-client").exists()
    if name == "oidc-provider":
        return bool(shutil.which("node")) and (ROOT / ".clients/node_modules/oidc-provider").exists()
    if name == "azurite":
        return bool(shutil.which("node")) and AZURITE.exists()
    if name == "promtool":
        return promtool() is not None
    if name == "versitygw":
        return versitygw() is not None
    if name == "keycloak":
        return bool(shutil.which("java")) and (ROOT / ".keycloak/bin/kc.sh").exists()
    if name == "orthanc":
        return bool(shutil.which("Orthanc")) and ORTHANC_PLUGIN.exists()
    if name == "dcm4che":
        return bool(shutil.which("java")) and (ROOT / ".clients/dcm4che/classes").exists()
    if name == "dcmtk":
        return bool(shutil.which("storescu"))
    return bool(shutil.which(name))


@pytest.fixture(scope="session", autouse=True)
def _stores(request: pytest.FixtureRequest) -> Iterator[None]:
    """With `--stores s3`, let archives keep their blobs in buckets of an S3 server, and their indexes in PostgreSQL.

    The server is versitygw if it is installed, else moto, which copies an object for each range that is read of it.
    """
    if request.config.getoption("--stores") != "s3":
        yield
        return
    databases: PostgresDatabases = request.getfixturevalue("postgres_databases")

    with running_versitygw() if versitygw() else running_moto() as buckets, pytest.MonkeyPatch.context() as patch:

        @cache
        def variables_of(directory: Path) -> Mapping[str, str]:
            index, blobs = databases.url(databases.create()), buckets.bucket()
            return {"DICOMSTORE_DATABASE": index, "DICOMSTORE_BLOBS": blobs}

        patch.setattr(archive_module, "variables_of", variables_of)
        for name, value in buckets.environment.items():
            patch.setenv(name, value)  # for tests that read a bucket
        yield


@pytest.fixture(scope="module")
def archive(module_path: Path) -> Iterator[Archive]:
    """One archive for the tests of a module, on embedded defaults."""
    with running_archive(module_path / "data") as archive:
        yield archive
