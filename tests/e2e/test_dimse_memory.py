"""Memory of the DIMSE gateway while it receives and sends large instances on several associations."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from dimse.associations.acceptor import Acceptor, listen
from dimse.associations.association import Request
from dimse.associations.commands import Command, CommandField
from dimse.associations.limits import AssociationCounts
from dimse.associations.pdus import Roles
from dimse.associations.peers import Peers
from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings, Settings
from dimse.queries.identifiers import UNIQUE_KEYS, Level
from dimse.transfers.queries import identifier
from tests.data import EXPLICIT_LITTLE, SECONDARY_CAPTURE, new_uid, part10
from tests.e2e.archive import Archive
from tests.integration.dimse.clients import LIMITS, store
from tests.integration.dimse.peers import STUDY_ROOT

ASSOCIATIONS = 6
FRAMES = 24
MEBIBYTE = 1 << 20


class Destination:
    """A storage SCP that discards what it receives."""

    def __init__(self) -> None:
        self.count = 0

    def serve(self, request: Request) -> None:
        """Answer a C-STORE."""
        request.association.discard_data_set()
        self.count += 1
        request.respond(0)

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Accept associations; yield the port."""
        listener = listen("127.0.0.1:0")
        acceptor = Acceptor(
            listener,
            tls=None,
            peers=Peers(Settings(ae_title="DEST")),
            counts=AssociationCounts(20, 20),
            limits=LIMITS,
            supported=lambda _: [EXPLICIT_LITTLE],
            extension=lambda *_: b"",
            serve=self.serve,
            on_end=lambda _: None,
            is_shared=False,
        )
        port = listener.getsockname()[1]
        thread = threading.Thread(target=acceptor.run)
        thread.start()
        try:
            yield port
        finally:
            acceptor.stop()
            thread.join()
            acceptor.finish(5)


@pytest.fixture(scope="module")
def destination() -> Iterator[tuple[Destination, int]]:
    destination = Destination()
    with destination.listening() as port:
        yield destination, port


@pytest.fixture(scope="module")
def archive(module_path: Path, destination: tuple[Destination, int]) -> Iterator[Archive]:
    archive = Archive(module_path / "data")
    remotes = {"DEST": {"host": "127.0.0.1", "port": destination[1]}}
    try:
        archive.start_core()
        archive.start_gateway(dimse_seconds="100", remotes=json.dumps(remotes))
        yield archive
    finally:
        archive.stop()


def memory(archive: Archive, kind: str) -> int:
    """Return the present (VmRSS) or largest (VmHWM) resident set of the gateway, in bytes."""
    assert archive.gateway is not None
    [size] = re.findall(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{archive.gateway.pid}/status").read_text())
    return int(size) * 1024


def assert_small(archive: Archive, operation: Callable[[], None]) -> None:
    """Check the memory that an operation needs on each of several associations."""
    assert archive.gateway is not None
    operation()  # what the first one loads is not that of an association
    before = memory(archive, "VmRSS")
    Path(f"/proc/{archive.gateway.pid}/clear_refs").write_text("5")  # resets VmHWM
    with ThreadPoolExecutor(ASSOCIATIONS) as threads:
        for task in [threads.submit(operation) for _ in range(ASSOCIATIONS)]:
            task.result()
    assert (memory(archive, "VmHWM") - before) / ASSOCIATIONS < 8 * MEBIBYTE


def large(**attributes: str) -> bytes:
    """Return an instance of 24 MiB."""
    return part10(frames=[bytes(MEBIBYTE)] * FRAMES, Rows=1024, Columns=1024, **attributes)


def test_an_association_that_stores_needs_less_than_eight_mebibytes(archive: Archive) -> None:
    def store_large() -> None:
        instance = new_uid()
        assert store(archive.dimse_port, large(SOPInstanceUID=instance), SECONDARY_CAPTURE, instance).status == 0

    assert_small(archive, store_large)


@pytest.mark.parametrize("name", ["move", "get"])
def test_an_association_that_retrieves_needs_less_than_eight_mebibytes(
    archive: Archive, destination: tuple[Destination, int], name: str
) -> None:
    """A study with a large instance, one that just fits into memory, and smaller ones."""
    study, receiver, model = new_uid(), destination[0], STUDY_ROOT[name]
    files = [{"frames": [bytes(size)], "Rows": 1, "Columns": size} for size in [16_000] * 20 + [60_000] * 2]
    uids = [new_uid() for _ in range(len(files) + 1)]
    contents = [
        part10(StudyInstanceUID=study, SOPInstanceUID=uid, **one) for uid, one in zip(uids, files, strict=False)
    ]
    for uid, content in zip(uids, [*contents, large(StudyInstanceUID=study, SOPInstanceUID=uids[-1])], strict=True):
        assert store(archive.dimse_port, content, SECONDARY_CAPTURE, uid).status == 0
    remote = RemoteSettings(ae_title="DICOMSTORE", host="127.0.0.1", port=archive.dimse_port)
    roles = {SECONDARY_CAPTURE: Roles(scu=False, scp=True)} if name == "get" else {}
    proposals = [(model, [EXPLICIT_LITTLE]), (SECONDARY_CAPTURE, [EXPLICIT_LITTLE])]

    def retrieve() -> None:
        association = Requestor(Settings(ae_title="TESTER"), LIMITS, None).open(
            remote, proposals, roles=roles, silent_seconds=100
        )
        association.serve = receiver.serve
        context = association.context_for(model)
        assert context is not None
        field = CommandField.C_GET if name == "get" else CommandField.C_MOVE
        command = Command(field, affected_sop_class_uid=model, priority=0)
        if name == "move":
            command.move_destination = "DEST"
        keys = identifier(Level.STUDY, {UNIQUE_KEYS[Level.STUDY]: study}, EXPLICIT_LITTLE)
        response = association.perform(context, command, [keys])
        assert (response.status, response.completed_suboperations) == (0, len(uids))
        association.release()

    receiver.count = 0
    assert_small(archive, retrieve)
    assert receiver.count == len(uids) * (ASSOCIATIONS + 1)
