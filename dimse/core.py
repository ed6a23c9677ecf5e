"""The connection to the core: one channel for all associations of a process, with credentials for each peer.

The stubs are synchronous: each association has a thread of its own.
"""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from dicomstore.v1 import (
    capabilities_service_pb2_grpc,
    change_feed_service_pb2_grpc,
    commitment_service_pb2_grpc,
    retrieve_service_pb2_grpc,
    search_service_pb2_grpc,
    study_event_service_pb2_grpc,
    transfer_service_pb2_grpc,
    workitem_service_pb2_grpc,
)
from dicomstore.v1.retrieve_service_pb2 import RetrieveInstancesRequest

from common.core_channel import address_of, core_tls_files
from common.settings import SecretText
from common.telemetry import tracing
from dimse.associations.peers import Peer
from dimse.config import Settings
from dimse.local_channel import LocalChannel, Metadata
from dimse.store_stream import GrpcStream, StoreStream, local_stream

_OPTIONS = [
    # A data set without bulk data is one message and may have up to 64 MiB by default.
    ("grpc.max_receive_message_length", 256 * 2**20),
    # The settings name the address; an HTTP proxy from the environment must not be used.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


class Core:
    """The stubs of the core.

    call_seconds: time limit of unary calls, and for each message of a stream.
    """

    def __init__(self, settings: Settings, *, local: str = "", is_separate: bool = False) -> None:
        """Open a channel; it connects on first use.

        Args:
            local: address of a core on the same machine for most calls (`common.process.socket_calls`); may be empty.
            is_separate: it shares no connection with other channels, so that their failures do not delay its calls.

        Raises:
            TlsError: the certificate files cannot be used.
        """
        options = [*_OPTIONS, ("grpc.use_local_subchannel_pool", int(is_separate))]
        tls = core_tls_files(settings)
        if tls is None:
            self.channel = grpc.insecure_channel(settings.core, options=options)
        else:
            content = tls.content
            credentials = grpc.ssl_channel_credentials(
                content.ca or None, content.key or None, content.certificate or None
            )
            self.channel = grpc.secure_channel(address_of(settings.core), credentials, options=options)
        self.call_seconds = settings.dimse_seconds
        self._local = LocalChannel(local) if local else None
        fast: Any = self._local or self.channel
        self.open_store: Callable[[Metadata], StoreStream] = partial(local_stream if self._local else GrpcStream, fast)
        self.capabilities = capabilities_service_pb2_grpc.CapabilitiesServiceStub(self.channel)
        self.commitment = commitment_service_pb2_grpc.CommitmentServiceStub(self.channel)
        self.retrieve_instances = fast.unary_stream(
            "/dicomstore.v1.RetrieveService/RetrieveInstances",
            request_serializer=RetrieveInstancesRequest.SerializeToString,
            response_deserializer=None,
        )
        """Begins a call, whose responses remain serialised: see `dimse.retrieval.instances`."""
        self.retrieve = retrieve_service_pb2_grpc.RetrieveServiceStub(fast)
        self.search = search_service_pb2_grpc.SearchServiceStub(fast)
        self.change_feed = change_feed_service_pb2_grpc.ChangeFeedServiceStub(self.channel)
        self.study_events = study_event_service_pb2_grpc.StudyEventServiceStub(self.channel)
        self.transfers = transfer_service_pb2_grpc.TransferServiceStub(self.channel)
        self.workitems = workitem_service_pb2_grpc.WorkitemServiceStub(fast)

    def close(self) -> None:
        """Close the channel; calls in progress fail."""
        self.channel.close()
        if self._local is not None:
            self._local.close()


def call_metadata(peer: Peer, operation: str) -> Metadata:
    """Return the metadata of a call for a peer: request id, trace, credentials, and facts for the audit trail.

    Args:
        operation: as in "C-STORE".
    """
    facts = (
        ("x-dicomstore-client", peer.address),
        ("x-dicomstore-method", operation),
        ("x-dicomstore-uri", peer.uri),
    )
    return (*own_metadata(peer.token), *facts)  # the core reads facts at the end in the least time


def own_metadata(token: SecretText) -> Metadata:
    """Return the metadata of a call of the gateway itself: request id, the trace of the current span, credentials."""
    span = tracing.current()
    trace = (("traceparent", span.traceparent),) if span is not None else ()
    text = token.get_secret_value()
    credentials = (("authorization", f"Bearer {text}"),) if text else ()
    return (("x-request-id", uuid.uuid4().hex), *trace, *credentials)
