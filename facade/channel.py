"""The connection to the core: stubs over one channel, deadlines, and translation of errors.

Every failed call raises `CoreFailure`. The channel retries unary reads if the core is unavailable for a moment; it
never retries streams, because the caller may already have their first messages.
"""

import asyncio
import json
import logging
import operator
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import grpc
from dicomstore.v1 import (
    access_service_pb2_grpc,
    audit_service_pb2_grpc,
    capabilities_service_pb2_grpc,
    change_feed_service_pb2_grpc,
    commitment_service_pb2_grpc,
    delete_service_pb2_grpc,
    extended_query_tag_service_pb2_grpc,
    label_service_pb2_grpc,
    lifecycle_service_pb2_grpc,
    login_service_pb2_grpc,
    metrics_service_pb2_grpc,
    operation_service_pb2_grpc,
    partition_service_pb2_grpc,
    retrieve_service_pb2_grpc,
    search_service_pb2_grpc,
    share_service_pb2_grpc,
    store_service_pb2_grpc,
    study_event_service_pb2_grpc,
    token_service_pb2_grpc,
    transfer_service_pb2_grpc,
    version_service_pb2_grpc,
    webhook_service_pb2_grpc,
    workitem_event_service_pb2_grpc,
    workitem_rule_service_pb2_grpc,
    workitem_service_pb2_grpc,
)
from dicomstore.v1.capabilities_service_pb2 import GetCapabilitiesRequest, GetCapabilitiesResponse
from dicomstore.v1.store_service_pb2 import StoreInstancesResponse
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status

from common.core_channel import open_channel
from common.tls import TlsFiles
from facade.errors import CoreFailure
from facade.timeouts import IdleTimeout

_log = logging.getLogger("facade")

DOMAIN = "dicomstore"

CAPABILITIES_SECONDS = 10.0
_WARNING_SECONDS = 60.0
_STATUS_SECONDS = 1.0
_STATUS_STEP_SECONDS = 0.01

Metadata = tuple[tuple[str, str | bytes], ...]

_READS = {
    "SearchService": ["Search"],
    "ChangeFeedService": ["ListChanges", "GetLatestChange", "GetConsumer", "ListConsumers"],
    "StudyEventService": ["ListStudyEvents"],
    "WebhookService": ["GetWebhook", "ListWebhooks", "ListDeadLetters"],
    "WorkitemRuleService": ["GetWorkitemRule", "ListWorkitemRules"],
    "TransferService": ["GetTransfer", "ListTransfers"],
    "ExtendedQueryTagService": ["ListExtendedQueryTags", "GetExtendedQueryTag", "ListExtendedQueryTagErrors"],
    "OperationService": ["GetOperation", "ListOperations", "ListOperationErrors", "WaitOperation"],
    "PartitionService": ["ListPartitions", "ListPartitionUsage", "GetPartition"],
    "TokenService": ["ListTokens"],
    "AccessService": ["GetPrincipal"],
    "VersionService": ["ListVersions"],
    "ShareService": ["ListShareLinks", "GetOwnShareLink"],
    "CapabilitiesService": ["GetCapabilities"],
    "MetricsService": ["GetMetrics"],
}
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": f"dicomstore.v1.{service}", "method": method}
                for service, methods in _READS.items()
                for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # Messages are about 1 MiB, but a data set without bulk data is one message and may be as large as the core's
    # `max_header_bytes`; with the default of 4 MiB, large enhanced multi-frame metadata would fail.
    ("grpc.max_receive_message_length", 256 * 2**20),
    # gRPC buffers this much of each response. By default it buffers up to 8 MiB, which would stay in memory for a slow
    # client.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 << 10),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # The settings name the address; an HTTP proxy from the environment must not be used.
    ("grpc.enable_http_proxy", 0),
]


def channel_to(core: str, tls: TlsFiles | None = None) -> grpc.aio.Channel:
    """Return a channel to a core: `core` is HOST:PORT, or https://HOST:PORT with its TLS files."""
    return open_channel(core, tls, _OPTIONS)


class Core:
    """Stubs of the core's services. One instance per application, shared by all requests."""

    def __init__(self, channel: Any, call_seconds: float, idle_seconds: float) -> None:
        """Take over a channel: a `grpc.aio.Channel`, or one with the same methods (see `node.calls`)."""
        self.channel = channel
        self.call_seconds = call_seconds
        self.idle_seconds = idle_seconds
        self._capabilities = GetCapabilitiesResponse()
        self._capabilities_at = float("-inf")
        # The generated stubs have no types; their methods take and return the typed messages.
        self.store: Any = store_service_pb2_grpc.StoreServiceStub(self.channel)
        # Messages that are not yet packed are serialised by a method of their own (see `request.upload`).
        self.store.StoreInstances = self.channel.stream_stream(
            "/dicomstore.v1.StoreService/StoreInstances",
            request_serializer=operator.methodcaller("SerializeToString"),
            response_deserializer=StoreInstancesResponse.FromString,
        )
        self.retrieve: Any = retrieve_service_pb2_grpc.RetrieveServiceStub(self.channel)
        self.search: Any = search_service_pb2_grpc.SearchServiceStub(self.channel)
        self.delete: Any = delete_service_pb2_grpc.DeleteServiceStub(self.channel)
        self.commitments: Any = commitment_service_pb2_grpc.CommitmentServiceStub(self.channel)
        self.transfers: Any = transfer_service_pb2_grpc.TransferServiceStub(self.channel)
        self.workitem_rules: Any = workitem_rule_service_pb2_grpc.WorkitemRuleServiceStub(self.channel)
        self.workitems: Any = workitem_service_pb2_grpc.WorkitemServiceStub(self.channel)
        self.workitem_events: Any = workitem_event_service_pb2_grpc.WorkitemEventServiceStub(self.channel)
        self.labels: Any = label_service_pb2_grpc.LabelServiceStub(self.channel)
        self.lifecycle: Any = lifecycle_service_pb2_grpc.LifecycleServiceStub(self.channel)
        self.versions: Any = version_service_pb2_grpc.VersionServiceStub(self.channel)
        self.changes: Any = change_feed_service_pb2_grpc.ChangeFeedServiceStub(self.channel)
        self.study_events: Any = study_event_service_pb2_grpc.StudyEventServiceStub(self.channel)
        self.webhooks: Any = webhook_service_pb2_grpc.WebhookServiceStub(self.channel)
        self.tags: Any = extended_query_tag_service_pb2_grpc.ExtendedQueryTagServiceStub(self.channel)
        self.operations: Any = operation_service_pb2_grpc.OperationServiceStub(self.channel)
        self.partitions: Any = partition_service_pb2_grpc.PartitionServiceStub(self.channel)
        self.logins: Any = login_service_pb2_grpc.LoginServiceStub(self.channel)
        self.shares: Any = share_service_pb2_grpc.ShareServiceStub(self.channel)
        self.capabilities: Any = capabilities_service_pb2_grpc.CapabilitiesServiceStub(self.channel)
        self.audit: Any = audit_service_pb2_grpc.AuditServiceStub(self.channel)
        self.tokens: Any = token_service_pb2_grpc.TokenServiceStub(self.channel)
        self.access: Any = access_service_pb2_grpc.AccessServiceStub(self.channel)
        self.metrics: Any = metrics_service_pb2_grpc.MetricsServiceStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    async def close(self) -> None:
        """Close the channel; calls in progress are cancelled."""
        await self.channel.close(None)

    async def call(self, method: Any, request: Any, metadata: Metadata, *, seconds: float | None = None) -> Any:
        """Make a unary call.

        Raises:
            CoreFailure: it failed, or took longer than `seconds`, by default `call_seconds`.
        """
        try:
            return await method(request, metadata=metadata, timeout=seconds or self.call_seconds)
        except grpc.aio.AioRpcError as error:
            raise failure(error) from error

    async def get_capabilities(self, metadata: Metadata) -> GetCapabilitiesResponse:
        """Return the capabilities of the core, cached for `CAPABILITIES_SECONDS`.

        They do not change while the core runs, but the core may be restarted with other settings.
        """
        if time.monotonic() - self._capabilities_at > CAPABILITIES_SECONDS:
            request = GetCapabilitiesRequest()
            self._capabilities = await self.call(self.capabilities.GetCapabilities, request, metadata)
            self._capabilities_at = time.monotonic()
        return self._capabilities

    def messages(self, call: Any) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call; see `messages`."""
        return messages(call, first_seconds=self.call_seconds, idle_seconds=self.idle_seconds)


def failure(error: grpc.aio.AioRpcError) -> CoreFailure:
    """Return the error for a failed call, with the reason of the contract if the core sent one."""
    code, message = error.code().name, error.details() or ""
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except ValueError:  # details that contradict the status: not from a dicomstore core
        status = None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    has_info = False
    for detail in status.details if status else ():
        if detail.Is(info.DESCRIPTOR):
            has_info = detail.Unpack(info) and info.domain == DOMAIN
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
    if has_info:
        return CoreFailure(info.reason, code, message, info.metadata, retry.retry_delay.seconds or None)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        _unreachable(message)
    return CoreFailure("", code, message)


_warned_at = float("-inf")


def _unreachable(details: str) -> None:
    """Log why there is no connection to the core, such as a certificate that is not trusted; once a minute."""
    global _warned_at
    if time.monotonic() - _warned_at > _WARNING_SECONDS:
        _warned_at = time.monotonic()
        _log.warning("the core cannot be reached: %s", details)


class CallStatus:
    """The status with which the core ended a call with a request stream.

    If the core ends a call during a write, the write fails as well, and grpc.aio replaces the core's status by its own
    INTERNAL, just before or after the status has arrived. The status is therefore read when the call is done, and again
    for a short time if it is only that of the failed write.
    """

    def __init__(self, call: Any) -> None:
        """Observe `call`; must be created before the first write."""
        self._call = call
        self._first: grpc.aio.AioRpcError | None = None
        self._is_ok = False
        call.add_done_callback(self._keep)

    async def failure(self) -> CoreFailure | None:
        """Wait for the end of the call and return its failure; None if the core ended it with OK."""
        error = await self.error()
        return None if error is None else failure(error)

    async def error(self) -> grpc.aio.AioRpcError | None:
        """As `failure`, with the error of gRPC."""
        await self._call.code()
        if self._is_ok:
            return None
        error = self._first or _status_now(self._call)
        waited_s = 0.0
        while _is_failed_write(error) and waited_s < _STATUS_SECONDS:
            await asyncio.sleep(_STATUS_STEP_SECONDS)
            waited_s += _STATUS_STEP_SECONDS
            error = _status_now(self._call)
        return None if error.code() is grpc.StatusCode.OK else error

    def _keep(self, call: Any) -> None:
        self._is_ok = _result(call.code()) is grpc.StatusCode.OK
        if not self._is_ok:
            self._first = _status_now(call)


def _is_failed_write(error: grpc.aio.AioRpcError) -> bool:
    # The core's own INTERNAL always comes with details in the trailer.
    return error.code() is grpc.StatusCode.INTERNAL and not error.trailing_metadata()


def _status_now(call: Any) -> grpc.aio.AioRpcError:
    """Return the status of a call that is done, without yielding to the event loop, so that it cannot change."""
    code, details, trailer = map(_result, (call.code(), call.details(), call.trailing_metadata()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailer, details, None)


def _result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the call is not done")


async def messages(call: Any, *, first_seconds: float, idle_seconds: float) -> AsyncGenerator[Any, None]:
    """Yield the messages of a stream. The call is cancelled if the reader stops early.

    Raises:
        CoreFailure: the stream failed, or a timeout.
    """
    idle_timeout = IdleTimeout(first_seconds)
    try:
        while True:
            with idle_timeout:
                message = await call.read()
            if message is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            yield message
            idle_timeout.seconds = idle_seconds
    except grpc.aio.AioRpcError as error:
        raise failure(error) from error
    except TimeoutError as error:
        raise CoreFailure("", "DEADLINE_EXCEEDED", "timeout while waiting for the core") from error
    finally:
        idle_timeout.close()
        call.cancel()  # no effect on a call that has ended
