"""Application entities that query and retrieve, for tests, and the content of their archive."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import grpc
from dicomstore.v1 import store_service_pb2_grpc
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom.association import Association

from tests.core import store_requests

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
    """Return an identifier. A dict is the item of a sequence."""
    made = Dataset()
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


def data_sets(files: Iterable[bytes]) -> dict[str, Dataset]:
    """Return the data sets of files by SOP Instance UID."""
    read = (dcmread(BytesIO(file), force=True) for file in files)
    return {one.SOPInstanceUID: one for one in read}
