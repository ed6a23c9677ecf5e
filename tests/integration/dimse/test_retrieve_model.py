"""Concurrent C-MOVE and C-GET operations compared with a model.

Several peers retrieve over associations of their own, cancel operations, and refuse instances, while others are stored.
An operation never sends an instance of another study, sends none twice, and its response counts what was received.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, SECONDARY_CAPTURE, part10
from tests.integration.dimse.gateways import running_core, running_gateway
from tests.integration.dimse.peers import (
    CANCEL,
    PATIENT_ROOT,
    STUDY_ROOT,
    SUCCESS,
    Outcome,
    associated,
    cancel,
    keys,
    outcome_of,
    store,
)

PEERS = 6
OPERATIONS = 8
STATUSES = (SUCCESS, SUCCESS, SUCCESS, SUCCESS, 0xB007, 0xA700)
"""Of C-STORE responses: success, warning, failure."""


class Instance(NamedTuple):
    """An instance of the archive."""

    patient: str
    study: str
    series: str
    uid: str

    def file(self) -> bytes:
        """Return it as a file, in one of two transfer syntaxes."""
        return part10(
            PatientID=self.patient,
            StudyInstanceUID=self.study,
            SeriesInstanceUID=self.series,
            SOPInstanceUID=self.uid,
            transfer_syntax=IMPLICIT_LITTLE if self.uid.endswith("1") else EXPLICIT_LITTLE,
        )


def instances_of(study: int, patient: str, uids_of: int = 0) -> list[Instance]:
    """Return the instances of a study in two series, whose UIDs are those of another study if one is given."""
    return [
        Instance(patient, f"2.25.{study}", f"2.25.{uids_of or study}.{series}", f"2.25.{uids_of or study}.{series}.{n}")
        for series in (1, 2)
        for n in range(1, 4)
    ]


ARCHIVE = [
    *instances_of(1, "P1"),
    *instances_of(2, "P1"),
    *instances_of(3, "P2", uids_of=1),
    *instances_of(4, "p1"),
    *instances_of(5, "P2", uids_of=2),
]


@dataclass
class Operation:
    """A C-MOVE or C-GET of a peer, and what its receiver does.

    expected: what it must send.
    received: what arrived, in order, with the status of the response.
    cancels_after, aborts_after: number of received instances after which the peer cancels the operation, or its
        destination aborts the association.
    """

    expected: frozenset[Instance]
    choices: random.Random
    cancel: Callable[[], None]
    cancels_after: int = -1
    aborts_after: int = -1
    received: list[tuple[Instance, int]] = field(default_factory=list)

    def on_store(self, event: Any) -> int:
        """Handle a C-STORE request."""
        if len(self.received) == self.aborts_after:
            event.assoc.abort()
            return 0xC000
        one = event.dataset
        status = self.choices.choice(STATUSES)
        instance = Instance(one.PatientID, one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
        self.received.append((instance, status))
        if len(self.received) == self.cancels_after:
            self.cancel()
        return status

    def check(self, outcome: Outcome) -> None:
        """Compare the response with what was received."""
        received = [instance for instance, _ in self.received]
        assert set(received) <= self.expected
        assert len(set(received)) == len(received)
        ends = [after for after in (self.cancels_after, self.aborts_after) if 0 <= after < len(self.expected)]
        assert len(received) == min(ends, default=len(self.expected))
        missing = self.expected.difference(received)
        failed = [instance.uid for instance, status in self.received if status == 0xA700]
        warnings = sum(status == 0xB007 for _, status in self.received)
        is_cancelled = bool(missing) and len(received) == self.cancels_after
        if missing and not is_cancelled:
            assert len(received) == self.aborts_after
            failed += [instance.uid for instance in missing]
        if is_cancelled:
            status = CANCEL
        elif failed and len(failed) == len(self.expected):
            status = 0xA702
        else:
            status = 0xB000 if failed or warnings else SUCCESS
        completed = len(self.expected) - len(failed) - warnings - (len(missing) if is_cancelled else 0)
        remaining = len(missing) if is_cancelled else None
        assert sorted(outcome.failed_uids) == sorted(failed)
        assert outcome[:5] == (status, completed, len(failed), warnings, remaining)


class Destination:
    """A storage SCP for the C-MOVE operations of all peers, which the Move Originator distinguishes.

    operations: by calling AE title and message id of the C-MOVE.
    """

    def __init__(self) -> None:
        self.operations: dict[tuple[str, int], Operation] = {}

    def _on_store(self, event: Any) -> int:
        request = event.request
        originator = request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID
        return self.operations[originator].on_store(event)

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Accept associations; yield the port."""
        ae = AE("DEST")
        ae.add_supported_context(SECONDARY_CAPTURE, [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._on_store)])
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()


def request_of(choices: random.Random) -> tuple[dict[str, str], Dataset, frozenset[Instance]]:
    """Return the information model of a random request, its identifier, and the instances that it refers to."""
    one, other = choices.choice(ARCHIVE), choices.choice(ARCHIVE)
    of_series = [instance for instance in ARCHIVE if instance.study == one.study and instance.series == one.series]
    match choices.choice(("PATIENT", "STUDY", "STUDIES", "SERIES", "IMAGE")):
        case "PATIENT":
            found = [instance for instance in ARCHIVE if instance.patient == one.patient]
            return PATIENT_ROOT, keys(QueryRetrieveLevel="PATIENT", PatientID=one.patient), frozenset(found)
        case "STUDY":
            found = [instance for instance in ARCHIVE if instance.study == one.study]
            return STUDY_ROOT, keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=one.study), frozenset(found)
        case "STUDIES":
            studies = [one.study, other.study]
            found = [instance for instance in ARCHIVE if instance.study in studies]
            return STUDY_ROOT, keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=studies), frozenset(found)
        case "SERIES":
            values = {"StudyInstanceUID": one.study, "SeriesInstanceUID": one.series}
            return STUDY_ROOT, keys(QueryRetrieveLevel="SERIES", **values), frozenset(of_series)
        case _:
            uids = [one.uid, other.uid]
            values = {"StudyInstanceUID": one.study, "SeriesInstanceUID": one.series}
            found = [instance for instance in of_series if instance.uid in uids]
            return STUDY_ROOT, keys(QueryRetrieveLevel="IMAGE", SOPInstanceUID=uids, **values), frozenset(found)


def retrieve(port: int, destination: Destination, seed: int) -> None:
    """Perform random operations as one peer, and check each."""
    choices = random.Random(seed)
    title = f"PEER{seed}"
    current: list[Operation] = []  # the receiver of the C-GET in progress
    handlers = [(evt.EVT_C_STORE, lambda event: current[-1].on_store(event))]
    models = [model[kind] for model in (PATIENT_ROOT, STUDY_ROOT) for kind in ("move", "get")]
    receives = {SECONDARY_CAPTURE: [EXPLICIT_LITTLE]}
    with associated(port, *models, title=title, receives=receives, handlers=handlers) as association:
        for message in range(1, OPERATIONS + 1):
            kind = choices.choice(("move", "move", "get"))
            model, identifier, expected = request_of(choices)
            operation = Operation(
                expected, random.Random(choices.random()), _cancelling(association, message, model[kind])
            )
            match choices.choice(("all", "cancel", "abort")):
                case "cancel":
                    operation.cancels_after = choices.randint(1, 6)
                case "abort" if kind == "move":
                    operation.aborts_after = choices.randint(0, 6)
            current.append(operation)
            destination.operations[title, message] = operation
            if kind == "move":
                responses: Any = association.send_c_move(identifier, "DEST", model["move"], msg_id=message)
            else:
                responses = association.send_c_get(identifier, model["get"], msg_id=message)
            operation.check(outcome_of(responses))


def _cancelling(association: Association, message: int, model: str) -> Callable[[], None]:
    return partial(cancel, association, message, model)


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    with running_core(module_path / "core") as core:
        store(core, *(instance.file() for instance in ARCHIVE))
        yield core


def test_concurrent_operations_send_what_was_requested_and_count_it(core: str) -> None:
    """Meanwhile, studies are stored whose series and instances have the same UIDs as those that are retrieved."""
    destination, is_over = Destination(), threading.Event()

    def store_others(seeds: Sequence[int]) -> None:
        for study in count(1000):
            if is_over.wait(0.01):
                return
            store(core, *(one.file() for one in instances_of(study, "P3", uids_of=seeds[study % len(seeds)])))

    with destination.listening() as port:
        remotes = {"DEST": {"host": "127.0.0.1", "port": port}}
        with running_gateway(core, remotes=remotes) as gateway, ThreadPoolExecutor(PEERS + 1) as pool:
            writer = pool.submit(store_others, (1, 2, 4))
            peers = [pool.submit(retrieve, gateway.port, destination, seed) for seed in range(PEERS)]
            try:
                for peer in peers:
                    peer.result()
            finally:
                is_over.set()
            writer.result()
