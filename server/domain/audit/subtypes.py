"""Names of accesses in the audit trail: the sub-types that Azure's DICOM service uses, and more of the same form."""

import re
from functools import cache

_SUBTYPES = {
    "StoreService/StoreInstances": "store",
    "OperationService/Import": "bulk-import-store",
    "RetrieveService/RetrieveInstances": "retrieve",
    "RetrieveService/RetrieveFrames": "retrieve",
    "RetrieveService/RetrieveBulkData": "retrieve",
    "RetrieveService/RetrieveAllBulkData": "retrieve",
    "RetrieveService/RetrieveMetadata": "retrieve-metadata",
    "RetrieveService/RetrieveRendered": "retrieve-rendered",
    "SearchService/Search": "query",
    "DeleteService/DeleteInstances": "delete",
    "LifecycleService/UndeleteInstances": "undelete",
    "LifecycleService/ListDeletions": "deletions",
    "LifecycleService/ListHolds": "holds",
    "LifecycleService/GetExpiry": "expiry",
    "WorkitemService/CreateWorkitem": "add-workitem",
    "WorkitemService/GetWorkitem": "retrieve-workitem",
    "WorkitemService/UpdateWorkitem": "update-workitem",
    "WorkitemService/ChangeWorkitemState": "change-state-workitem",
    "WorkitemService/RequestWorkitemCancellation": "cancel-workitem",
    "WorkitemService/SearchWorkitems": "query-workitem",
    "WorkitemEventService/SubscribeToWorkitems": "subscribe-workitem",
    "WorkitemEventService/UnsubscribeFromWorkitems": "unsubscribe-workitem",
    "WorkitemEventService/SuspendWorklistSubscription": "suspend-worklist-subscription",
    "WorkitemEventService/ListWorkitemSubscribers": "workitem-subscribers",
    "WorkitemEventService/ReceiveWorkitemEvents": "workitem-events",
    "WorkitemEventService/WatchWorkitems": "watch-workitems",
    "ChangeFeedService/ListChanges": "change-feed",
    "ChangeFeedService/GetLatestChange": "change-feed",
    "ChangeFeedService/WatchChanges": "change-feed",
    "ExtendedQueryTagService/AddExtendedQueryTags": "add-extended-query-tag",
    "ExtendedQueryTagService/DeleteExtendedQueryTag": "remove-extended-query-tag",
    "ExtendedQueryTagService/GetExtendedQueryTag": "get-extended-query-tag",
    "ExtendedQueryTagService/ListExtendedQueryTags": "get-all-extended-query-tag",
    "ExtendedQueryTagService/UpdateExtendedQueryTag": "update-extended-query-tag",
    "ExtendedQueryTagService/ListExtendedQueryTagErrors": "get-extended-query-tag-errors",
}
_OF_OPERATION = {"ExportRequest": "export", "UpdateRequest": "update-study"}
"""By request message of an operation that StartOperation starts."""

_OF_SERVICE = {"OperationService": "operation", "PartitionService": "partition"}

NOT_RECORDED = frozenset(
    {
        "CapabilitiesService/GetCapabilities",
        "MetricsService/GetMetrics",
        "WorkitemEventService/AcknowledgeWorkitemEvents",
        "TransferService/ClaimTransfers",
        "TransferService/ReportTransfer",
    }
)
"""Calls that return no data of the archive, and change none: capabilities are the same for everybody, metrics are
numbers that programs read every few seconds, the call that receives events is recorded with their number, and those of
a gateway that creates a transfer and reads or stores its instances are recorded."""


@cache
def subtype_of(rpc: str, operation: str = "") -> str:
    """Return the sub-type of an rpc.

    Args:
        rpc: as in "SearchService/Search".
        operation: the request message of the operation that it starts.
    """
    if operation in _OF_OPERATION:
        return _OF_OPERATION[operation]
    service, _, name = rpc.partition("/")
    return _SUBTYPES.get(rpc) or _OF_SERVICE.get(service) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
