from collections.abc import Iterator

import pytest

from tests.e2e.archive import Archive, running_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """One archive for the tests of a module, on embedded defaults."""
    with running_archive(tmp_path_factory.mktemp("archive") / "data") as archive:
        yield archive
