"""Checks of `dicomstore doctor` that need only settings: cli/commands/doctor.py."""

import pytest

from cli.commands.config import Setting
from cli.commands.doctor import Status, core_of_facade


@pytest.mark.parametrize(
    ("core", "origin", "listens_on", "is_warned"),
    [
        ("127.0.0.1:50051", "", "127.0.0.1:50051", False),
        ("127.0.0.1:50051", "", "127.0.0.1:6000", False),
        ("127.0.0.1:6000", "DICOMSTORE_CORE", "0.0.0.0:6000", False),
        ("archive.example:50051", "dicomstore.toml", "127.0.0.1:50051", True),
    ],
    ids=["defaults", "as-up-connects-them", "any-address", "elsewhere"],
)
def test_a_facade_configured_for_another_core_is_a_warning(
    core: str, origin: str, listens_on: str, is_warned: bool
) -> None:
    found = core_of_facade(
        [Setting("facade", "core", core, origin), Setting("server", "grpc", listens_on, "DICOMSTORE_GRPC")]
    )
    assert (found is not None) is is_warned
    if found is not None:
        assert found.status is Status.WARNING
        assert origin in found.detail
