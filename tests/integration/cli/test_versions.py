"""`dicomstore versions`, against a real core."""

import json
from pathlib import Path
from typing import Any

import pytest
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION

from tests.core import CoreClient
from tests.data import part10

UIDS = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1", "SOPInstanceUID": "1.2.1.1"}
INSTANCE = tuple(UIDS.values())
BODIES = [part10(PatientName=name, **UIDS) for name in ("one", "two")]


@pytest.fixture
async def stored(archive: CoreClient) -> list[str]:
    """Return the numbers of two versions."""
    found = await archive.stored(*BODIES, duplicates=DUPLICATE_POLICY_NEW_VERSION, reason="wrong patient")
    return [str(one.version) for one in found]


async def test_versions_are_listed_compared_and_reverted(dicomstore: Any, stored: list[str]) -> None:
    first, second = stored
    listed = (await dicomstore("versions", "list", "1.2")).stdout
    assert f"{second} *" in listed
    assert "wrong patient" in listed
    lines = (await dicomstore("versions", "list", *INSTANCE, "--json")).stdout.splitlines()
    assert [json.loads(line)["origin"] for line in lines] == ["stored", "replaced"]
    shown = (await dicomstore("versions", "diff", *INSTANCE, second)).stdout
    assert "PatientName" in shown
    assert shown.splitlines()[-1].split() == ["00100010", "PatientName", "changed", "one", "two"]
    [line] = (await dicomstore("versions", "diff", *INSTANCE, second, "--from", first, "--json")).stdout.splitlines()
    assert json.loads(line)["after"]["Value"] == [{"Alphabetic": "two"}]
    assert "do not differ" in (await dicomstore("versions", "diff", *INSTANCE, first)).stderr
    reverted = await dicomstore("versions", "revert", *INSTANCE, first, "--reason", "it was right")
    assert reverted.exit_code == 0
    last = (await dicomstore("versions", "list", *INSTANCE, "--json")).stdout.splitlines()[-1]
    assert json.loads(last)["version"] == reverted.stdout.strip()
    assert json.loads(last)["reason"] == "it was right"
    again = await dicomstore("versions", "revert", *INSTANCE, reverted.stdout.strip())
    assert "already" in again.stderr


async def test_a_version_is_written_to_a_file(dicomstore: Any, stored: list[str], tmp_path: Path) -> None:
    written = await dicomstore("versions", "get", *INSTANCE, stored[0], "--output", str(tmp_path))
    assert written.exit_code == 0
    assert (tmp_path / "1.2" / "1.2.1" / "1.2.1.1.dcm").read_bytes() == BODIES[0]
    assert (await dicomstore("versions", "get", *INSTANCE, "99", "--output", str(tmp_path))).exit_code != 0
