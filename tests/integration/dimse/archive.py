"""The core behind a gateway, for tests: its content, and transfers."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from dicomstore.v1 import (
    change_feed_service_pb2,
    change_feed_service_pb2_grpc,
    retrieve_service_pb2_grpc,
    store_service_pb2_grpc,
    transfer_service_pb2_grpc,
)
from dicomstore.v1 import retrieve_service_pb2 as retrieve
from dicomstore.v1 import transfer_service_pb2 as pb

from tests.core import Ref, store_requests

FINISHED = (pb.TRANSFER_STATE_SUCCEEDED, pb.TRANSFER_STATE_FAILED, pb.TRANSFER_STATE_CANCELED)


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition has not become true"
        time.sleep(0.02)


class Archive:
    """Synchronous stubs of a core."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.transfers = transfer_service_pb2_grpc.TransferServiceStub(channel)
        self._feed = change_feed_service_pb2_grpc.ChangeFeedServiceStub(channel)
        self._store = store_service_pb2_grpc.StoreServiceStub(channel)
        self._retrieve = retrieve_service_pb2_grpc.RetrieveServiceStub(channel)

    def stores(self, *files: bytes) -> None:
        """Store files that must all be stored."""
        responses = self._store.StoreInstances(iter(store_requests(files)))
        outcomes = [outcome for response in responses for outcome in response.outcomes]
        assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["stored"] * len(files), outcomes

    def uids(self, study: str) -> set[str]:
        """Return the SOP Instance UIDs of a study, which may not exist."""
        request = retrieve.RetrieveInstancesRequest(resource=Ref(study_instance_uid=study), head_only=True)
        try:
            responses = list(self._retrieve.RetrieveInstances(request))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return set()
        return {piece.head.id.sop_instance_uid for response in responses for piece in response.pieces}

    def sends(self, *studies: str, remote: str = "PACS") -> pb.Transfer:
        """Create a transfer to a remote."""
        send = pb.Send(resources=[Ref(study_instance_uid=study) for study in studies])
        return self._created(remote=remote, send=send)

    def pulls(self, *studies: str, remote: str = "PACS", **fields: Any) -> pb.Transfer:
        """Create a transfer from a remote."""
        pull = pb.Pull(resources=[Ref(study_instance_uid=study) for study in studies], **fields)
        return self._created(remote=remote, pull=pull)

    def now(self, transfer: pb.Transfer) -> pb.Transfer:
        """Return the present state of a transfer."""
        found: pb.Transfer = self.transfers.GetTransfer(pb.GetTransferRequest(id=transfer.id)).transfer
        return found

    def after_attempt(self, transfer: pb.Transfer, seconds: float = 30) -> pb.Transfer:
        """Return a transfer when it has finished, or an attempt has failed."""
        found = self.now(transfer)

        def has_ended() -> bool:
            nonlocal found
            found = self.now(transfer)
            return found.state in FINISHED or (found.state == pb.TRANSFER_STATE_WAITING and bool(found.problem))

        eventually(has_ended, seconds)
        return found

    def retried(self, transfer: pb.Transfer) -> pb.Transfer:
        """Begin a transfer again, and return it after the attempt."""
        self.transfers.RetryTransfer(pb.RetryTransferRequest(id=transfer.id))
        return self.after_attempt(transfer)

    def of_rule(self, rule: str) -> list[pb.Transfer]:
        """Return the transfers that a rule has created, newest first."""
        found = self.transfers.ListTransfers(pb.ListTransfersRequest()).transfers
        return [one for one in found if one.rule == rule]

    def has_consumer(self, name: str) -> bool:
        """Return whether the archive keeps a position for a consumer."""
        answer = self._feed.ListConsumers(change_feed_service_pb2.ListConsumersRequest())
        return any(one.name == name for one in answer.consumers)

    def _created(self, **fields: Any) -> pb.Transfer:
        made: pb.Transfer = self.transfers.CreateTransfer(pb.CreateTransferRequest(**fields)).transfer
        return made


@contextmanager
def archive_at(core: str) -> Iterator[Archive]:
    """Connect to a core at an address."""
    with grpc.insecure_channel(core) as channel:
        yield Archive(channel)
