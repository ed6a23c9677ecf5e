"""Memory of the DIMSE gateway while it receives large instances on several associations."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dimse.associations.commands import Command, CommandField
from tests.data import EXPLICIT_LITTLE, SECONDARY_CAPTURE, new_uid, part10
from tests.e2e.archive import Archive
from tests.integration.dimse.clients import associated, data_set_of, store

ASSOCIATIONS = 6
FRAMES = 24
MEBIBYTE = 1 << 20


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path / "data")
    try:
        archive.start_core()
        archive.start_gateway(dimse_seconds="100")
        yield archive
    finally:
        archive.stop()


def memory(archive: Archive, kind: str) -> int:
    """Return the present (VmRSS) or largest (VmHWM) resident set of the gateway, in bytes."""
    assert archive.gateway is not None
    [size] = re.findall(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{archive.gateway.pid}/status").read_text())
    return int(size) * 1024


def test_an_association_needs_less_than_eight_mebibytes(archive: Archive) -> None:
    uid = new_uid()
    assert store(archive.dimse_port, part10(SOPInstanceUID=uid), SECONDARY_CAPTURE, uid).status == 0
    before = memory(archive, "VmRSS")

    def store_large() -> None:
        instance = new_uid()
        frames = [bytes(MEBIBYTE)] * FRAMES
        _, data_set = data_set_of(part10(SOPInstanceUID=instance, frames=frames, Rows=1024, Columns=1024))
        with associated(archive.dimse_port, (SECONDARY_CAPTURE, EXPLICIT_LITTLE)) as association:
            [context] = association.contexts.values()
            command = Command(
                CommandField.C_STORE, affected_sop_class_uid=SECONDARY_CAPTURE, affected_sop_instance_uid=instance
            )
            assert association.perform(context, command, [data_set]).status == 0

    with ThreadPoolExecutor(ASSOCIATIONS) as threads:
        for task in [threads.submit(store_large) for _ in range(ASSOCIATIONS)]:
            task.result()
    assert (memory(archive, "VmHWM") - before) / ASSOCIATIONS < 8 * MEBIBYTE
