"""A DIMSE client for tests, which sends files as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common.tls import TlsFiles
from dimse.associations.association import Association, Limits
from dimse.associations.commands import Command, CommandField
from dimse.associations.errors import AssociationLost
from dimse.associations.requestor import Requestor
from dimse.config import RemoteSettings, Settings
from server.dicom.part10.file_meta import read_meta

LIMITS = Limits(max_pdu_bytes=1 << 17, idle_seconds=20, silent_seconds=20, end_seconds=20)


def data_set_of(file: bytes) -> tuple[str, bytes]:
    """Return the transfer syntax and the encoded data set of a Part 10 file."""
    meta = read_meta(file, is_whole=True)
    assert not isinstance(meta, int)
    return meta.transfer_syntax_uid, file[meta.end :]


@contextmanager
def associated(
    port: int,
    *contexts: tuple[str, str],
    called: str = "DICOMSTORE",
    calling: str = "TESTER",
    tls: TlsFiles | None = None,
) -> Iterator[Association]:
    """Yield an association with the archive; `contexts` are SOP classes with one transfer syntax each."""
    remote = RemoteSettings(ae_title=called, host="127.0.0.1", port=port, tls=tls is not None)
    requestor = Requestor(Settings(ae_title=calling), LIMITS, tls)
    association = requestor.open(remote, [(sop_class, [syntax]) for sop_class, syntax in contexts])
    try:
        yield association
    finally:
        association.release()


def send(association: Association, sop_class: str, sop_instance: str, syntax: str, data_set: bytes) -> Command:
    """Send an instance; return the response."""
    context = association.context_for(sop_class, syntax)
    if context is None:
        raise AssociationLost("the context was not accepted")
    request = Command(
        CommandField.C_STORE, affected_sop_class_uid=sop_class, affected_sop_instance_uid=sop_instance, priority=0
    )
    return association.perform(context, request, [data_set])


def store(port: int, file: bytes, sop_class: str, sop_instance: str, **options: Any) -> Command:
    """Send a file over an association of its own; return the response."""
    syntax, data_set = data_set_of(file)
    with associated(port, (sop_class, syntax), **options) as association:
        return send(association, sop_class, sop_instance, syntax, data_set)
