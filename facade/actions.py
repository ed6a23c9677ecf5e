"""The permission that each endpoint requires: that of the rpc which it calls, as the contract declares it."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from dicomstore.v1 import access_options_pb2
from dicomstore.v1.access_options_pb2 import Action
from dicomstore.v1.access_service_pb2 import CheckAccessRequest
from google.protobuf import descriptor_pool
from starlette.requests import Request
from starlette.responses import Response

from facade.administration import audit, principal, tokens, usage
from facade.administration import operations as operation_lists
from facade.channel import Core, Metadata
from facade.endpoints import (
    bulk_data,
    change_feed,
    delete,
    extended_query_tags,
    health,
    home,
    metadata,
    openapi,
    operations,
    partitions,
    qido,
    rendered,
    stow,
    wado,
    wado_uri,
)
from facade.endpoints.changes import consumers, stream
from facade.errors import CoreFailure, Refusal
from facade.events import studies, webhooks
from facade.explorer import site
from facade.lifecycle import (
    bulk_update,
    commitments,
    expiry,
    export,
    holds,
    imports,
    labels,
    transfers,
    trash,
    versions,
)
from facade.monitoring import metrics as monitoring
from facade.serving.observe import call_metadata, identity_metadata
from facade.sessions import login
from facade.sharing import links, redeem
from facade.worklist import event_channel, event_stream, rules, search, subscriptions, workitems

Endpoint = Callable[[Request], Awaitable[Response]]

RPCS: Mapping[Endpoint, str] = MappingProxyType(
    {
        stow.store: "StoreService.StoreInstances",
        wado.instances: "RetrieveService.RetrieveInstances",
        wado.frames: "RetrieveService.RetrieveFrames",
        wado_uri.retrieve: "RetrieveService.RetrieveRendered",
        rendered.rendered: "RetrieveService.RetrieveRendered",
        rendered.rendered_frames: "RetrieveService.RetrieveRendered",
        rendered.thumbnail: "RetrieveService.RetrieveRendered",
        metadata.metadata: "RetrieveService.RetrieveMetadata",
        bulk_data.bulk_data: "RetrieveService.RetrieveBulkData",
        bulk_data.all_bulk_data: "RetrieveService.RetrieveAllBulkData",
        bulk_data.pixel_data: "RetrieveService.RetrieveAllBulkData",
        qido.all_studies: "SearchService.Search",
        qido.all_series: "SearchService.Search",
        qido.all_instances: "SearchService.Search",
        qido.series_of_study: "SearchService.Search",
        qido.instances_of_study: "SearchService.Search",
        qido.instances_of_series: "SearchService.Search",
        delete.delete: "DeleteService.DeleteInstances",
        versions.versions: "VersionService.ListVersions",
        versions.difference: "VersionService.CompareVersions",
        versions.revert: "VersionService.RevertInstance",
        trash.undelete: "LifecycleService.UndeleteInstances",
        trash.deleted: "LifecycleService.ListDeletions",
        expiry.expiry: "LifecycleService.GetExpiry",
        expiry.set_expiry: "LifecycleService.SetExpiry",
        expiry.remove_expiry: "LifecycleService.SetExpiry",
        holds.set_hold: "LifecycleService.SetHold",
        holds.release: "LifecycleService.ReleaseHold",
        holds.holds_of_resource: "LifecycleService.ListHolds",
        holds.holds: "LifecycleService.ListHolds",
        commitments.request_commitment: "CommitmentService.RequestCommitment",
        commitments.result: "CommitmentService.GetCommitment",
        transfers.transfers: "TransferService.ListTransfers",
        transfers.create: "TransferService.CreateTransfer",
        transfers.transfer: "TransferService.GetTransfer",
        transfers.cancel: "TransferService.CancelTransfer",
        transfers.retry: "TransferService.RetryTransfer",
        search.search: "WorkitemService.SearchWorkitems",
        workitems.create: "WorkitemService.CreateWorkitem",
        workitems.retrieve: "WorkitemService.GetWorkitem",
        workitems.update: "WorkitemService.UpdateWorkitem",
        workitems.change_state: "WorkitemService.ChangeWorkitemState",
        workitems.request_cancellation: "WorkitemService.RequestWorkitemCancellation",
        subscriptions.subscribe: "WorkitemEventService.SubscribeToWorkitems",
        subscriptions.unsubscribe: "WorkitemEventService.UnsubscribeFromWorkitems",
        subscriptions.suspend: "WorkitemEventService.SuspendWorklistSubscription",
        subscriptions.subscribers: "WorkitemEventService.ListWorkitemSubscribers",
        event_channel.channel: "WorkitemEventService.ReceiveWorkitemEvents",
        event_stream.stream: "WorkitemEventService.WatchWorkitems",
        labels.labels: "LabelService.GetLabels",
        labels.replace: "LabelService.ChangeLabels",
        labels.change: "LabelService.ChangeLabels",
        labels.remove: "LabelService.ChangeLabels",
        change_feed.changes: "ChangeFeedService.ListChanges",
        change_feed.latest_change: "ChangeFeedService.GetLatestChange",
        stream.stream: "ChangeFeedService.WatchChanges",
        consumers.consumers: "ChangeFeedService.ListConsumers",
        consumers.consumer: "ChangeFeedService.GetConsumer",
        consumers.set_position: "ChangeFeedService.SetConsumerPosition",
        consumers.delete: "ChangeFeedService.DeleteConsumer",
        studies.events: "StudyEventService.ListStudyEvents",
        studies.stream: "StudyEventService.WatchStudyEvents",
        webhooks.webhooks: "WebhookService.ListWebhooks",
        webhooks.create: "WebhookService.CreateWebhook",
        webhooks.webhook: "WebhookService.GetWebhook",
        webhooks.update: "WebhookService.UpdateWebhook",
        webhooks.delete: "WebhookService.DeleteWebhook",
        webhooks.dead_letters: "WebhookService.ListDeadLetters",
        webhooks.retry: "WebhookService.RetryDeadLetters",
        webhooks.delete_dead_letters: "WebhookService.DeleteDeadLetters",
        rules.rules: "WorkitemRuleService.ListWorkitemRules",
        rules.create: "WorkitemRuleService.CreateWorkitemRule",
        rules.rule: "WorkitemRuleService.GetWorkitemRule",
        rules.update: "WorkitemRuleService.UpdateWorkitemRule",
        rules.delete: "WorkitemRuleService.DeleteWorkitemRule",
        extended_query_tags.tags: "ExtendedQueryTagService.ListExtendedQueryTags",
        extended_query_tags.add: "ExtendedQueryTagService.AddExtendedQueryTags",
        extended_query_tags.tag: "ExtendedQueryTagService.GetExtendedQueryTag",
        extended_query_tags.update: "ExtendedQueryTagService.UpdateExtendedQueryTag",
        extended_query_tags.delete: "ExtendedQueryTagService.DeleteExtendedQueryTag",
        extended_query_tags.errors: "ExtendedQueryTagService.ListExtendedQueryTagErrors",
        operations.operation: "OperationService.GetOperation",
        operations.cancel: "OperationService.CancelOperation",
        operation_lists.operations: "OperationService.ListOperations",
        operation_lists.errors: "OperationService.ListOperationErrors",
        audit.events: "AuditService.SearchAuditEvents",
        tokens.tokens: "TokenService.ListTokens",
        tokens.create: "TokenService.CreateToken",
        tokens.revoke: "TokenService.RevokeToken",
        principal.principal: "AccessService.GetPrincipal",
        usage.usage: "PartitionService.ListPartitionUsage",
        partitions.partitions: "PartitionService.ListPartitions",
        partitions.delete: "PartitionService.DeletePartition",
        partitions.update: "PartitionService.UpdatePartition",
        links.share: "ShareService.CreateShareLink",
        links.share_for_upload: "ShareService.CreateShareLink",
        links.links: "ShareService.ListShareLinks",
        links.revoke: "ShareService.RevokeShareLink",
        monitoring.metrics: "MetricsService.GetMetrics",
    }
)
"""By endpoint, the rpc that it calls; for several, one of them, because they require the same action."""

OPERATIONS: Mapping[Endpoint, str] = MappingProxyType(
    {
        bulk_update.bulk_update: "UpdateRequest",
        bulk_update.revert_to: "UpdateRequest",
        export.export: "ExportRequest",
        imports.start_import: "ImportRequest",
    }
)
"""By endpoint, the request message of the operation that it starts, which declares the action."""

ANONYMOUS = frozenset(
    {
        *(health.health, home.home, site.root, openapi.as_json, openapi.as_yaml),
        redeem.redeem,
        *(login.login, login.callback, login.logout, login.link, login.redeem_link),
    }
)
"""Endpoints that require no permission."""

_CHECK_SECONDS = 3.0


def action_of(endpoint: Endpoint) -> Action:
    """Return the action that an endpoint requires.

    Raises:
        LookupError: it is in none of the tables.
    """
    if endpoint in ANONYMOUS:
        return Action.ACTION_ANONYMOUS
    if endpoint in OPERATIONS:
        message = descriptor_pool.Default().FindMessageTypeByName(f"dicomstore.v1.{OPERATIONS[endpoint]}")
        of_message: Any = message.GetOptions().Extensions
        started: Action = of_message[access_options_pb2.start_action]
        return started
    method = descriptor_pool.Default().FindMethodByName(f"dicomstore.v1.{RPCS[endpoint]}")
    extensions: Any = method.GetOptions().Extensions  # the type stubs know no extensions
    action: Action = extensions[access_options_pb2.action]
    return action


async def require_permission(request: Request, endpoint: Endpoint) -> None:
    """Ask the core whether the client may do what an endpoint does; for requests that never reach the core.

    Does nothing if the core does not answer: the refusal of a malformed request reveals no data.

    Raises:
        CoreFailure: UNAUTHENTICATED or PERMISSION_DENIED.
    """
    action = action_of(endpoint)
    if action == Action.ACTION_ANONYMOUS:
        return
    core: Core = request.app.state.core
    asked = CheckAccessRequest(action=action)
    try:
        await core.call(core.access.CheckAccess, asked, _metadata(request), seconds=_CHECK_SECONDS)
    except CoreFailure as failure:
        if failure.code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            raise


def _metadata(request: Request) -> Metadata:
    """Return the metadata of the call; without facts for the audit trail if these are what was refused."""
    try:
        return call_metadata(request)
    except Refusal:
        return identity_metadata(request)
