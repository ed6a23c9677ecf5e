"""C-STORE: an instance is passed on to the core while it arrives, and acknowledged when it is durable."""

from collections.abc import Sequence
from hashlib import sha256

import grpc
from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.store_service_pb2 import StoreHeader, ValidationMode

from common.telemetry import tracing
from common.telemetry.catalogue import DIMSE_BYTES, DIMSE_INSTANCES
from dimse.associations.association import Association, Request
from dimse.associations.commands import CommandField
from dimse.associations.peers import Peer
from dimse.config import Settings, uids_of
from dimse.core import Core, call_metadata
from dimse.services import statuses
from dimse.services.storage.file_format import file_meta, identifiers
from dimse.services.storage.outcomes import STORED, Answer, answer_to, answer_to_failure
from dimse.services.storage.sop_classes import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from dimse.services.storage.stored_alike import has_stored_data_set
from dimse.services.storage.uploads import Upload, UploadFailed, Uploads

_PIECE_BYTES = 640 << 10
"""Size of the pieces of a large instance; a smaller one, such as a CT slice, is a single message."""

_RECEIVED, _RECEIVED_BYTES = DIMSE_INSTANCES.of("received"), DIMSE_BYTES.of("received")

_MISMATCH = Answer(
    statuses.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "SOP Class or Instance UID differs from that of the command"
)
_NO_DATA_SET = Answer(statuses.CANNOT_UNDERSTAND, "there is no data set")
_OTHER_CLASS = Answer(statuses.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context")


class Store:
    """The storage service."""

    commands = (CommandField.C_STORE,)

    def __init__(self, settings: Settings, core: Core) -> None:
        self._core = core
        self._classes = frozenset((*STORAGE_SOP_CLASSES, *uids_of(settings.storage_sop_classes)))
        self._transfer_syntaxes = tuple(
            dict.fromkeys((*TRANSFER_SYNTAXES, *uids_of(settings.storage_transfer_syntaxes)))
        )
        self._uploads = Uploads()

    def transfer_syntaxes(self, abstract_syntax: str) -> Sequence[str]:
        """Return all transfer syntaxes for a storage SOP class."""
        return self._transfer_syntaxes if abstract_syntax in self._classes else ()

    def serve(self, request: Request) -> None:
        """Store an instance, and respond with the outcome."""
        if tracing.current_span() is not None:
            # Its call of the core is part of its trace, and of no other one.
            self.association_ended(request.association)
            try:
                answer = self._store(request)
            finally:
                self.association_ended(request.association)
        else:
            answer = self._store(request)
        request.association.discard_data_set()
        request.respond(answer.status, error_comment=answer.comment)

    def association_ended(self, association: Association) -> None:
        """End the call to the core."""
        if upload := self._uploads.forget(id(association)):
            upload.end()

    def _store(self, request: Request) -> Answer:
        command, context, association = request.command, request.context, request.association
        if not command.has_data_set:
            return _NO_DATA_SET
        sop_class, instance = command.sop_class_uid, command.sop_instance_uid
        if sop_class != context.abstract_syntax:
            return _OTHER_CLASS
        buffer = bytearray(_PIECE_BYTES)
        view = memoryview(buffer)
        meta = file_meta(sop_class, instance, context.transfer_syntax)
        start = len(meta)
        view[:start] = meta
        size = start + association.read_data_set(view[start:])
        found = identifiers(view[start:size], context.transfer_syntax)
        if found is not None and found != (sop_class, instance):
            return _MISMATCH
        is_whole = not association.has_more_data
        try:
            try:
                return self._upload(association, view, start, size, context.transfer_syntax)
            except UploadFailed as failure:
                # The call may have ended with a restart of the core, between two instances.
                if not (is_whole and failure.code is grpc.StatusCode.UNAVAILABLE):
                    raise
                return self._upload(association, view, start, size, context.transfer_syntax)
        except UploadFailed as failure:
            return answer_to_failure(failure.code)

    def _upload(
        self, association: Association, view: memoryview, start: int, size: int, transfer_syntax: str
    ) -> Answer:
        """Send what is in the buffer and the rest of the data set to the core; return the answer to its outcome.

        Args:
            start: of the data set, behind the file meta information in the buffer.
            size: number of bytes in the buffer.

        Raises:
            UploadFailed: the outcome is not known.
        """
        upload = self._uploads.of(id(association), lambda: self._begin(association.peer))
        with upload as is_usable:
            if not is_usable:
                return self._upload(association, view, start, size, transfer_syntax)
            try:
                digest = sha256(view[start:size]) if association.has_more_data else None
                sent = 0
                while association.has_more_data:
                    upload.send(view[:size], last=False)
                    sent += size
                    size = association.read_data_set(view)
                    if digest is not None:
                        digest.update(view[:size])
                upload.send(view[:size], last=True)
                outcome = upload.outcome()
            except BaseException:
                upload.cancel()
                raise
        _RECEIVED.value += 1
        _RECEIVED_BYTES.value += sent + size
        if outcome.failed.reason == ErrorReason.ERROR_REASON_INSTANCE_ALREADY_EXISTS:
            digest = digest or sha256(view[start:size])
            instance = outcome.failed.instance
            if has_stored_data_set(self._core, association.peer, instance, transfer_syntax, digest.digest()):
                return STORED
        return answer_to(outcome)

    def _begin(self, peer: Peer) -> Upload:
        header = StoreHeader(
            address=Address(partition=peer.partition),
            create_partition=bool(peer.partition),
            validation=ValidationMode.VALIDATION_MODE_LENIENT,
        )
        return Upload(self._core, header, call_metadata(peer, "C-STORE"))
