"""Application entities that query and retrieve, for tests, and the content of their archive."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import grpc
from dicomstore.v1 import store_service_pb2_grpc
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from tests.core import store_requests
from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, SECONDARY_CAPTURE

CT = "1.2.840.10008.5.1.4.1.1.2"

PATIENT_ROOT = {"find": "1.2.840.10008.5.1.4.1.2.1.1", "move": "1.2.840.10008.5.1.4.1.2.1.2"}
STUDY_ROOT = {"find": "1.2.840.10008.5.1.4.1.2.2.1", "move": "1.2.840.10008.5.1.4.1.2.2.2"}
PATIENT_ROOT["get"], STUDY_ROOT["get"] = "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3"

SUCCESS, CANCEL, PENDING, PENDING_WITH_WARNING = 0x0000, 0xFE00, 0xFF00, 0xFF01
"""Statuses."""


def store(core: str, *files: bytes) -> None:
    """Store files that must all be stored in the archive with a core at an address."""
    with grpc.insecure_channel(core) as channel:
        responses = store_service_pb2_grpc.StoreServiceStub(channel).StoreInstances(iter(store_requests(files)))
        outcomes = [outcome for response in responses for outcome in response.outcomes]
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["stored"] * len(files), outcomes


def keys(**values: Any) -> Dataset:
    """Return an identifier. A dict is the item of a sequence. Values aren't checked."""
    made = Dataset()
    with config.disable_value_validation():
        for keyword, value in values.items():
            setattr(made, keyword, [keys(**value)] if isinstance(value, dict) else value)
    return made


@contextmanager
def associated(
    port: int,
    *sop_classes: str,
    title: str = "TESTER",
    called: str = "DICOMSTORE",
    receives: Mapping[str, Iterable[str]] | None = None,
    handlers: Iterable[Any] = (),
    extended: Iterable[Any] = (),
) -> Iterator[Association]:
    """Open an association with the gateway.

    Args:
        receives: SOP classes that this side receives, and their transfer syntaxes, each in a context of its own.
        extended: further items of the negotiation.
    """
    ae = AE(title)
    ae.dimse_timeout = ae.network_timeout = 60
    roles = []
    for sop_class in sop_classes:
        ae.add_requested_context(sop_class)
    for sop_class, syntaxes in (receives or {}).items():
        for syntax in syntaxes:
            ae.add_requested_context(sop_class, syntax)
        roles.append(build_role(sop_class, scp_role=True))
    association = ae.associate(
        "127.0.0.1", port, ae_title=called, ext_neg=[*roles, *extended], evt_handlers=list(handlers)
    )
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def found(association: Association, model: str, identifier: Dataset) -> tuple[list[Dataset], list[int]]:
    """Return the matches of a query, and the statuses of all responses."""
    matches, statuses = [], []
    for status, match in association.send_c_find(identifier, model):
        statuses.append(int(status.Status))
        if match is not None:
            matches.append(match)
    return matches, statuses


def cancel(association: Association, message: int, model: str) -> None:
    """Cancel an operation, and return when the request is sent: another thread of pynetdicom does so."""
    sent = threading.Event()

    def on_sent(_: Any) -> None:
        sent.set()

    association.bind(evt.EVT_PDU_SENT, on_sent)
    association.send_c_cancel(message, query_model=model)
    assert sent.wait(20)
    association.unbind(evt.EVT_PDU_SENT, on_sent)


def data_sets(files: Iterable[bytes]) -> dict[str, Dataset]:
    """Return the data sets of files by SOP Instance UID."""
    read = (dcmread(BytesIO(file), force=True) for file in files)
    return {one.SOPInstanceUID: one for one in read}


class Destination:
    """A storage SCP that keeps what it receives.

    received: for each instance calling AE title, transfer syntax, data set, and the originator of the C-MOVE.
    status_of: returns the status for an instance.
    aborts_after: number of instances after which it aborts the association instead of storing another one.
    """

    def __init__(self, *transfer_syntaxes: str, title: str = "DEST") -> None:
        self.received: list[Received] = []
        self.status_of: Callable[[Dataset], int] = lambda _: SUCCESS
        self.aborts_after = -1
        self.transfer_syntaxes = transfer_syntaxes or (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
        self.title = title
        self.port = 0

    def store(self, event: Any) -> int:
        """Handle a C-STORE."""
        request = event.request
        if len(self.received) == self.aborts_after:
            event.assoc.abort()
            return 0xC000
        one = Received(
            event.dataset,
            str(event.context.transfer_syntax),
            request.MoveOriginatorApplicationEntityTitle,
            request.MoveOriginatorMessageID,
        )
        status = self.status_of(one.data_set)
        if status < 0xC000 and status not in (0xA700, 0xA900):
            self.received.append(one)
        return status

    def uids(self) -> list[str]:
        """Return the SOP Instance UIDs of what was stored."""
        return [str(one.data_set.SOPInstanceUID) for one in self.received]

    @contextmanager
    def running(self, *sop_classes: str) -> Iterator["Destination"]:
        """Accept associations for storage classes; with their transfer syntaxes in the order of preference."""
        ae = AE(self.title)
        ae.dimse_timeout = ae.network_timeout = 60
        for sop_class in sop_classes or (SECONDARY_CAPTURE, CT):
            ae.add_supported_context(sop_class, list(self.transfer_syntaxes))
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)])
        self.port = server.socket.getsockname()[1]
        try:
            yield self
        finally:
            server.shutdown()


class Received(NamedTuple):
    """A received instance."""

    data_set: Dataset
    transfer_syntax: str
    originator: str | None
    originator_message: int | None


class Outcome(NamedTuple):
    """The final response of a C-MOVE or C-GET, and the number of pending ones."""

    status: int
    completed: int | None
    failed: int | None
    warning: int | None
    remaining: int | None
    failed_uids: list[str]
    pending: int


def outcome_of(responses: Iterable[tuple[Dataset, Dataset | None]]) -> Outcome:
    """Return the outcome of an operation, and check that the pending responses count up."""
    status, identifier, pending = Dataset(), None, 0
    previous = -1
    for status, identifier in responses:  # noqa: B007
        if status.Status in (PENDING, PENDING_WITH_WARNING):
            pending += 1
            done = (
                status.NumberOfCompletedSuboperations
                + status.NumberOfFailedSuboperations
                + status.NumberOfWarningSuboperations
            )
            assert done > previous
            assert status.NumberOfRemainingSuboperations > 0
            previous = done
    listed = identifier.get("FailedSOPInstanceUIDList", []) if identifier is not None else []
    return Outcome(
        int(status.Status),
        status.get("NumberOfCompletedSuboperations"),
        status.get("NumberOfFailedSuboperations"),
        status.get("NumberOfWarningSuboperations"),
        status.get("NumberOfRemainingSuboperations"),
        [listed] if isinstance(listed, str) else list(listed or []),
        pending,
    )
