"""`kill -9` of gateway and core while peers store over DIMSE: nothing that was acknowledged is lost.

`DIMSE_KILL_STORES=1000 .venv/bin/pytest tests/e2e/test_dimse_kill.py --timeout 0` stores more.
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from dimse.associations.association import Association
from dimse.associations.errors import AssociationLost, CannotConnect, ProtocolError
from dimse.config import Settings
from dimse.core import Core
from tests.data import EXPLICIT_LITTLE, SECONDARY_CAPTURE, new_uid, part10
from tests.e2e.archive import Archive
from tests.integration.dimse.clients import associated, data_set_of, send
from tests.integration.dimse.test_store import instances, retrieved

STORES = int(os.environ.get("DIMSE_KILL_STORES", "100"))
KILLS = max(2, STORES // 100)
PEERS = 2


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path / "data")
    try:
        archive.start_core()
        archive.start_gateway()
        yield archive
    finally:
        archive.stop()


class Stores:
    """Instances to store, and those that were acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.retries = 0
        self._open = [
            (uid := new_uid(), data_set_of(part10(SOPInstanceUID=uid, **self._pixels()))[1]) for _ in range(STORES)
        ]
        self._changed = threading.Condition()

    @staticmethod
    def _pixels() -> dict[str, object]:
        rows = random.choice([1, 100, 6000, 15_000])
        return {"Rows": rows, "Columns": 100, "frames": [random.randbytes(rows * 100)]}

    def next(self) -> tuple[str, bytes] | None:
        with self._changed:
            return self._open.pop() if self._open else None

    def acknowledge(self, uid: str, data_set: bytes) -> None:
        with self._changed:
            self.acknowledged[uid] = data_set
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.acknowledged) >= count, 90 + STORES)


def store_all(archive: Archive, stores: Stores) -> None:
    """Store as a modality does: what was not acknowledged is sent again, over a new association."""
    waiting = stores.next()
    while waiting:
        try:
            with associated(archive.dimse_port, (SECONDARY_CAPTURE, EXPLICIT_LITTLE)) as association:
                while waiting:
                    if not is_stored(association, *waiting):
                        stores.retries += 1
                        time.sleep(0.05)
                        continue
                    stores.acknowledge(*waiting)
                    waiting = stores.next()
        except (AssociationLost, CannotConnect, ProtocolError):
            stores.retries += 1
            time.sleep(0.05)


def is_stored(association: Association, uid: str, data_set: bytes) -> bool:
    status = send(association, SECONDARY_CAPTURE, uid, EXPLICIT_LITTLE, data_set).status
    assert status in (0x0000, 0xA700)
    return status == 0


def kill_and_restart(archive: Archive, stores: Stores) -> None:
    for number in range(1, KILLS + 1):
        stores.wait_for(STORES * number // (KILLS + 1))
        if number % 2:
            archive.kill_core()
            archive.start_core()
        else:
            archive.kill_gateway()
            archive.start_gateway()


@pytest.mark.files
@pytest.mark.timeout(180 + STORES)
def test_nothing_acknowledged_is_lost_when_gateway_and_core_are_killed(archive: Archive) -> None:
    stores = Stores()
    with ThreadPoolExecutor(PEERS + 1) as threads:
        tasks = [threads.submit(store_all, archive, stores) for _ in range(PEERS)]
        tasks.append(threads.submit(kill_and_restart, archive, stores))
        for task in tasks:
            task.result()
    assert len(stores.acknowledged) == STORES
    assert stores.retries >= KILLS
    core = Core(Settings(core=archive.core_address))
    grpc.channel_ready_future(core.channel).result(20)
    for uid, data_set in stores.acknowledged.items():
        [resource] = instances(core, uid)
        assert data_set_of(retrieved(core, resource)) == (EXPLICIT_LITTLE, data_set)
    core.close()
