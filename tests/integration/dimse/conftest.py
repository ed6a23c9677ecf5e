"""A core with a DIMSE gateway in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway


@pytest.fixture(scope="module")
def gateway(module_path: Path) -> Iterator[RunningGateway]:
    """An archive with a gateway that the tests of a module share."""
    with running_core(module_path / "core") as core, running_gateway(core) as running:
        yield running
