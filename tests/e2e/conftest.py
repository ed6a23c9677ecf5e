import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.archive import ROOT, Archive, running_archive


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests with a browser where there is none, or no viewer (`make viewer`)."""
    has_browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if has_browser and (ROOT / ".viewer/index.html").exists():
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    items[:] = [item for item in items if not item.get_closest_marker("browser")]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """One archive for the tests of a module, on embedded defaults."""
    with running_archive(tmp_path_factory.mktemp("archive") / "data") as archive:
        yield archive
