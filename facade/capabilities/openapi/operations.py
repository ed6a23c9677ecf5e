"""The statuses and bodies of each endpoint that `representations` does not tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from facade.administration import audit, principal, tokens, usage
from facade.administration import operations as operation_lists
from facade.capabilities.representations import Endpoint
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
from facade.monitoring import metrics
from facade.sessions import login
from facade.sharing import links, redeem
from facade.worklist import event_channel, event_stream, rules, search, subscriptions, workitems


@dataclass(frozen=True, slots=True)
class Described:
    """What an endpoint returns and accepts.

    statuses: those without an error; further ones that have a body of the same form as the first.
    schema: of a JSON body, in `schemas`; empty if there is none, or it is no JSON.
    request: the same of the body of a request.
    """

    statuses: tuple[int, ...]
    schema: str = ""
    request: str = ""


_SEARCH = Described((200, 204), "DataSets")
_RETRIEVAL = Described((200, 206, 304))
_NOTHING = Described((204,))
_STARTED = ("OperationReference",)
_STREAM = Described((200,))
_ACCEPTED = Described((202,))

DESCRIBED: Mapping[Endpoint, Described] = MappingProxyType(
    {
        **dict.fromkeys((qido.all_studies, qido.all_series, qido.all_instances), _SEARCH),
        **dict.fromkeys((qido.series_of_study, qido.instances_of_study, qido.instances_of_series), _SEARCH),
        stow.store: Described((200, 202, 409), "DataSet"),
        **dict.fromkeys((wado.instances, wado.frames, wado_uri.retrieve), _RETRIEVAL),
        **dict.fromkeys((bulk_data.bulk_data, bulk_data.all_bulk_data, bulk_data.pixel_data), _RETRIEVAL),
        **dict.fromkeys((rendered.rendered, rendered.rendered_frames, rendered.thumbnail), _RETRIEVAL),
        metadata.metadata: Described((200, 304), "DataSets"),
        delete.delete: _NOTHING,
        trash.undelete: Described((200,), "RestoredInstances"),
        trash.deleted: Described((200,), "Deletions"),
        versions.versions: Described((200,), "Versions"),
        versions.difference: Described((200,), "Differences"),
        versions.revert: Described((200,), "Version"),
        holds.set_hold: Described((200,), "Hold", "NewHold"),
        holds.release: _NOTHING,
        holds.holds_of_resource: Described((200,), "Holds"),
        holds.holds: Described((200,), "Holds"),
        expiry.expiry: Described((200,), "Expiry"),
        expiry.set_expiry: Described((200,), "Expiry", "NewExpiry"),
        expiry.remove_expiry: _NOTHING,
        labels.labels: Described((200,), "Labels"),
        labels.replace: Described((200,), "Labels", "Labels"),
        labels.change: Described((200,), "Labels", "LabelChanges"),
        labels.remove: _NOTHING,
        bulk_update.bulk_update: Described((202,), *_STARTED, "UpdateRequest"),
        bulk_update.revert_to: Described((202,), *_STARTED, "RevertRequest"),
        export.export: Described((202,), *_STARTED, "ExportRequest"),
        imports.start_import: Described((202,), *_STARTED, "ImportRequest"),
        transfers.transfers: Described((200,), "Transfers"),
        transfers.create: Described((202,), "Transfer", "NewTransfer"),
        transfers.transfer: Described((200,), "Transfer"),
        transfers.cancel: _ACCEPTED,
        transfers.retry: Described((202,), "Transfer"),
        commitments.request_commitment: Described((200, 202), "DataSet", "DataSet"),
        commitments.result: Described((200, 202), "DataSet"),
        search.search: _SEARCH,
        workitems.create: Described((201,), "", "OneOrMoreDataSets"),
        workitems.retrieve: Described((200,), "DataSets"),
        workitems.update: Described((200,), "", "OneOrMoreDataSets"),
        workitems.change_state: Described((200,), "", "OneOrMoreDataSets"),
        workitems.request_cancellation: Described((202,), "", "OneOrMoreDataSets"),
        subscriptions.subscribe: Described((201,)),
        subscriptions.unsubscribe: Described((200,)),
        subscriptions.suspend: Described((200,)),
        subscriptions.subscribers: Described((200,), "Subscribers"),
        event_channel.channel: Described((101,)),
        event_stream.stream: _STREAM,
        rules.rules: Described((200,), "Rules"),
        rules.create: Described((201,), "Rule", "NewRule"),
        rules.rule: Described((200,), "Rule"),
        rules.update: Described((200,), "Rule", "RuleChange"),
        rules.delete: _NOTHING,
        change_feed.changes: Described((200,), "Changes"),
        change_feed.latest_change: Described((200, 204), "Change"),
        stream.stream: _STREAM,
        consumers.consumers: Described((200,), "Consumers"),
        consumers.consumer: Described((200,), "Consumer"),
        consumers.set_position: Described((200,), "Consumer", "ConsumerPosition"),
        consumers.delete: _NOTHING,
        studies.events: Described((200,), "StudyEvents"),
        studies.stream: _STREAM,
        webhooks.webhooks: Described((200,), "Webhooks"),
        webhooks.create: Described((201,), "Webhook", "NewWebhook"),
        webhooks.webhook: Described((200,), "Webhook"),
        webhooks.update: Described((200,), "Webhook", "WebhookChange"),
        webhooks.delete: _NOTHING,
        webhooks.dead_letters: Described((200,), "DeadLetters"),
        webhooks.delete_dead_letters: Described((200,), "Deleted"),
        webhooks.retry: Described((200,), "Retried"),
        extended_query_tags.tags: Described((200,), "QueryTags"),
        extended_query_tags.add: Described((202,), *_STARTED, "NewQueryTags"),
        extended_query_tags.tag: Described((200,), "QueryTag"),
        extended_query_tags.update: Described((200,), "QueryTag", "QueryTagChange"),
        extended_query_tags.delete: _NOTHING,
        extended_query_tags.errors: Described((200,), "QueryTagErrors"),
        operation_lists.operations: Described((200,), "Operations"),
        operation_lists.errors: Described((200,), "OperationErrors"),
        operations.operation: Described((200, 202), "Operation"),
        operations.cancel: Described((200, 202), "Operation"),
        audit.events: Described((200,), "AuditRecords"),
        tokens.tokens: Described((200,), "Tokens"),
        tokens.create: Described((201,), "Token", "NewToken"),
        tokens.revoke: _NOTHING,
        principal.principal: Described((200,), "Principal"),
        usage.usage: Described((200,), "PartitionUsage"),
        partitions.partitions: Described((200,), "Partitions"),
        partitions.update: Described((200,), "Partition", "PartitionChange"),
        partitions.delete: _NOTHING,
        links.share: Described((201,), "ShareLink", "NewShareLink"),
        links.share_for_upload: Described((201,), "ShareLink", "NewShareLink"),
        links.links: Described((200,), "ShareLinks"),
        links.revoke: _NOTHING,
        openapi.as_json: Described((200,), "Document"),
        openapi.as_yaml: Described((200,)),
        health.health: Described((200,), "Health"),
        metrics.metrics: _STREAM,
        home.home: Described((200,), "Service"),
        site.root: Described((200, 304), "Service"),
        redeem.redeem: Described((200, 303)),
        login.login: Described((302, 303)),
        login.callback: Described((302, 303)),
        login.logout: Described((200, 204, 303)),
        login.link: Described((200,)),
        login.redeem_link: Described((303,)),
    }
)
"""By endpoint; a test fails when one is missing."""
