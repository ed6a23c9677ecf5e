"""Remote application entities with pynetdicom: they store, answer queries, send, and fail as a test wants."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


@dataclass
class Remote:
    """A running remote.

    files: what it has, by SOP Instance UID.
    received: what was sent to it, in order: transfer syntax and data set.
    notifications: data sets of N-CREATE requests.
    store: returns the status of a C-STORE; it may abort the association, or wait.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    received: list[tuple[str, Dataset]] = field(default_factory=list)
    notifications: list[Dataset] = field(default_factory=list)
    store: Callable[[Any], int] = lambda event: 0
    archive_port: int = 0

    @property
    def uids(self) -> list[str]:
        """SOP Instance UIDs of what was sent to it."""
        return [str(data_set.SOPInstanceUID) for _, data_set in self.received]

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the table of the remote."""
        return {"ae_title": "REMOTE", "host": "127.0.0.1", "port": self.port, **more}

    def has(self, *files: bytes) -> None:
        """Add what it has."""
        for file in files:
            self.files[str(dcmread(BytesIO(file), force=True).SOPInstanceUID)] = file

    def on_store(self, event: Any) -> int:
        """Answer C-STORE."""
        status = self.store(event)
        if status in (0, 0xB000):
            self.received.append((str(event.context.transfer_syntax), event.dataset))
        return status

    def on_create(self, event: Any) -> tuple[int, None]:
        """Answer N-CREATE."""
        self.notifications.append(event.attribute_list)
        return 0, None

    def matching(self, identifier: Dataset) -> list[Dataset]:
        """Return the instances that match the unique keys and Patient ID of an identifier."""
        found = []
        for file in self.files.values():
            data_set = dcmread(BytesIO(file), force=True)
            names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID")
            wanted = {name: str(identifier.get(name) or "") for name in names}
            if all(not value or str(data_set.get(name)) == value for name, value in wanted.items()):
                found.append(data_set)
        return found

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        """Answer C-FIND: one match for each entity of the level, with the requested attributes."""
        levels = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
        level = levels[event.identifier.QueryRetrieveLevel]
        seen = set()
        for data_set in self.matching(event.identifier):
            if data_set[level].value not in seen:
                seen.add(data_set[level].value)
                match = Dataset()
                for element in event.identifier:
                    if element.keyword in data_set:
                        match[element.tag] = data_set[element.tag]
                yield 0xFF00, match

    def on_get(self, event: Any) -> Iterator[Any]:
        """Answer C-GET."""
        found = self.matching(event.identifier)
        yield len(found)
        for data_set in found:
            yield 0xFF00, data_set

    def on_move(self, event: Any) -> Iterator[Any]:
        """Answer C-MOVE; the only destination is the archive."""
        if event.move_destination != "DICOMSTORE":
            yield None, None
            return
        found = self.matching(event.identifier)
        yield "127.0.0.1", self.archive_port, {"contexts": _contexts_of(found)}
        yield len(found)
        for data_set in found:
            yield 0xFF00, data_set


def _contexts_of(data_sets: list[Dataset]) -> list[Any]:
    forms = {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in data_sets}
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(forms)]


@contextmanager
def running_remote(*, syntaxes: list[Any] | None = None, title: str = "REMOTE", **options: Any) -> Iterator[Remote]:
    """Run a remote.

    Args:
        syntaxes: transfer syntaxes in which it stores; by default some.
        options: of `Remote`.
    """
    remote = Remote(**options)
    ae = AE(title)
    ae.require_called_aet = True
    ae.maximum_pdu_size = 65536
    for sop_class in (
        Verification,
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
        StudyRootQueryRetrieveInformationModelGet,
        InstanceAvailabilityNotification,
    ):
        ae.add_supported_context(sop_class, SYNTAXES)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(
            context.abstract_syntax, syntaxes or [*SYNTAXES, JPEGLosslessSV1], scu_role=True, scp_role=True
        )
    handlers = [
        (evt.EVT_C_STORE, remote.on_store),
        (evt.EVT_C_FIND, remote.on_find),
        (evt.EVT_C_GET, remote.on_get),
        (evt.EVT_C_MOVE, remote.on_move),
        (evt.EVT_N_CREATE, remote.on_create),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    remote.port = server.socket.getsockname()[1]
    try:
        yield remote
    finally:
        ae.shutdown()
