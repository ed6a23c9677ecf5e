"""All services of the contract."""

from dataclasses import dataclass
from typing import Any

from dicomstore.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    capabilities_service_pb2,
    capabilities_service_pb2_grpc,
    change_feed_service_pb2,
    change_feed_service_pb2_grpc,
    commitment_service_pb2,
    commitment_service_pb2_grpc,
    delete_service_pb2,
    delete_service_pb2_grpc,
    extended_query_tag_service_pb2,
    extended_query_tag_service_pb2_grpc,
    label_service_pb2,
    label_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    login_service_pb2,
    login_service_pb2_grpc,
    metrics_service_pb2,
    metrics_service_pb2_grpc,
    operation_service_pb2,
    operation_service_pb2_grpc,
    partition_service_pb2,
    partition_service_pb2_grpc,
    retrieve_service_pb2,
    search_service_pb2,
    share_service_pb2,
    share_service_pb2_grpc,
    store_service_pb2,
    study_event_service_pb2,
    study_event_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
    transfer_service_pb2,
    transfer_service_pb2_grpc,
    version_service_pb2,
    version_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
    workitem_event_service_pb2,
    workitem_event_service_pb2_grpc,
    workitem_rule_service_pb2,
    workitem_rule_service_pb2_grpc,
    workitem_service_pb2,
    workitem_service_pb2_grpc,
)
from grpc_health.v1 import health_pb2_grpc

from server.rpc.capabilities import CapabilitiesServicer
from server.rpc.change_feed import ChangeFeedServicer
from server.rpc.delete import DeleteServicer
from server.rpc.events.study_events import StudyEventServicer
from server.rpc.events.webhooks import WebhookServicer
from server.rpc.extended_query_tags import ExtendedQueryTagServicer
from server.rpc.lifecycle.commitments import CommitmentServicer
from server.rpc.lifecycle.labels import LabelServicer
from server.rpc.lifecycle.service import LifecycleServicer
from server.rpc.lifecycle.transfers import TransferServicer
from server.rpc.lifecycle.versions import VersionServicer
from server.rpc.monitoring.metrics import MetricsServicer
from server.rpc.operations import OperationServicer
from server.rpc.partition import PartitionServicer
from server.rpc.pieces import add_service
from server.rpc.retrieve import RetrieveServicer
from server.rpc.search import SearchServicer
from server.rpc.security.access import AccessServicer
from server.rpc.security.audit import AuditServicer
from server.rpc.security.logins import LoginServicer
from server.rpc.security.share_links import ShareServicer
from server.rpc.security.tokens import TokenServicer
from server.rpc.store import StoreServicer, add_store_service
from server.rpc.worklist.events import WorkitemEventServicer
from server.rpc.worklist.workitem_rules import WorkitemRuleServicer
from server.rpc.worklist.workitems import WorkitemServicer

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (store_service_pb2, "StoreService"),
        (retrieve_service_pb2, "RetrieveService"),
        (search_service_pb2, "SearchService"),
        (delete_service_pb2, "DeleteService"),
        (lifecycle_service_pb2, "LifecycleService"),
        (version_service_pb2, "VersionService"),
        (label_service_pb2, "LabelService"),
        (commitment_service_pb2, "CommitmentService"),
        (transfer_service_pb2, "TransferService"),
        (workitem_service_pb2, "WorkitemService"),
        (workitem_rule_service_pb2, "WorkitemRuleService"),
        (workitem_event_service_pb2, "WorkitemEventService"),
        (change_feed_service_pb2, "ChangeFeedService"),
        (study_event_service_pb2, "StudyEventService"),
        (webhook_service_pb2, "WebhookService"),
        (extended_query_tag_service_pb2, "ExtendedQueryTagService"),
        (operation_service_pb2, "OperationService"),
        (partition_service_pb2, "PartitionService"),
        (token_service_pb2, "TokenService"),
        (share_service_pb2, "ShareService"),
        (login_service_pb2, "LoginService"),
        (capabilities_service_pb2, "CapabilitiesService"),
        (access_service_pb2, "AccessService"),
        (audit_service_pb2, "AuditService"),
        (metrics_service_pb2, "MetricsService"),
    )
)
"""Their full names."""


@dataclass(frozen=True, slots=True)
class Services:
    """The services of a core."""

    store: StoreServicer
    retrieve: RetrieveServicer
    search: SearchServicer
    delete: DeleteServicer
    lifecycle: LifecycleServicer
    versions: VersionServicer
    labels: LabelServicer
    commitments: CommitmentServicer
    transfers: TransferServicer
    workitems: WorkitemServicer
    workitem_rules: WorkitemRuleServicer
    workitem_events: WorkitemEventServicer
    change_feed: ChangeFeedServicer
    study_events: StudyEventServicer
    webhooks: WebhookServicer
    tags: ExtendedQueryTagServicer
    operations: OperationServicer
    partition: PartitionServicer
    tokens: TokenServicer
    share_links: ShareServicer
    logins: LoginServicer
    capabilities: CapabilitiesServicer
    access: AccessServicer
    audit: AuditServicer
    metrics: MetricsServicer
    health: Any

    def register(self, server: Any) -> None:
        """Add the services to a server."""
        add_store_service(self.store, server)
        add_service(retrieve_service_pb2.DESCRIPTOR.services_by_name["RetrieveService"], self.retrieve, server)
        add_service(search_service_pb2.DESCRIPTOR.services_by_name["SearchService"], self.search, server)
        delete_service_pb2_grpc.add_DeleteServiceServicer_to_server(self.delete, server)
        lifecycle_service_pb2_grpc.add_LifecycleServiceServicer_to_server(self.lifecycle, server)
        version_service_pb2_grpc.add_VersionServiceServicer_to_server(self.versions, server)
        label_service_pb2_grpc.add_LabelServiceServicer_to_server(self.labels, server)
        commitment_service_pb2_grpc.add_CommitmentServiceServicer_to_server(self.commitments, server)
        transfer_service_pb2_grpc.add_TransferServiceServicer_to_server(self.transfers, server)
        workitem_service_pb2_grpc.add_WorkitemServiceServicer_to_server(self.workitems, server)
        workitem_rule_service_pb2_grpc.add_WorkitemRuleServiceServicer_to_server(self.workitem_rules, server)
        workitem_event_service_pb2_grpc.add_WorkitemEventServiceServicer_to_server(self.workitem_events, server)
        change_feed_service_pb2_grpc.add_ChangeFeedServiceServicer_to_server(self.change_feed, server)
        study_event_service_pb2_grpc.add_StudyEventServiceServicer_to_server(self.study_events, server)
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(self.webhooks, server)
        extended_query_tag_service_pb2_grpc.add_ExtendedQueryTagServiceServicer_to_server(self.tags, server)
        operation_service_pb2_grpc.add_OperationServiceServicer_to_server(self.operations, server)
        partition_service_pb2_grpc.add_PartitionServiceServicer_to_server(self.partition, server)
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(self.tokens, server)
        login_service_pb2_grpc.add_LoginServiceServicer_to_server(self.logins, server)
        share_service_pb2_grpc.add_ShareServiceServicer_to_server(self.share_links, server)
        capabilities_service_pb2_grpc.add_CapabilitiesServiceServicer_to_server(self.capabilities, server)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(self.access, server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(self.audit, server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self.metrics, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
