"""Conversion between messages of the contract and values of the model, in both directions."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import cast

from dicomstore.v1 import change_feed_service_pb2 as change_feed
from dicomstore.v1 import errors_pb2 as errors
from dicomstore.v1 import extended_query_tag_service_pb2 as tags
from dicomstore.v1 import partition_service_pb2 as partitions
from dicomstore.v1 import resources_pb2 as resources
from dicomstore.v1 import retrieve_service_pb2 as retrieve
from dicomstore.v1 import store_service_pb2 as store
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from server.domain.query_tags import RequestedTag
from server.domain.retrieve import transfer_syntax_choice
from server.domain.retrieve.omission import Omission
from server.domain.retrieve.transfer_syntax_choice import Acceptable
from server.domain.store.receive import Failed, Stored, StoreResult
from server.model.change import Change
from server.model.errors import DicomStoreError, InvalidRequest, Reason
from server.model.ids import Address, InstanceId, Version, parse_address
from server.model.instance import Finding, InstanceMetadata, ResourceState, StoredInstance, ValidationMode
from server.model.partition import DuplicatePolicy, Partition
from server.model.search.query import Level
from server.model.search.query_tag import QueryStatus, Tag, TagError

_LEVELS = {
    tags.TAG_LEVEL_STUDY: Level.STUDY,
    tags.TAG_LEVEL_SERIES: Level.SERIES,
    tags.TAG_LEVEL_INSTANCE: Level.INSTANCE,
}
_MODES = {
    store.VALIDATION_MODE_UNSPECIFIED: ValidationMode.LENIENT,
    store.VALIDATION_MODE_LENIENT: ValidationMode.LENIENT,
    store.VALIDATION_MODE_INDEXED_STRICT: ValidationMode.INDEXED_STRICT,
    store.VALIDATION_MODE_STRICT: ValidationMode.STRICT,
}


def validation_mode(value: store.ValidationMode) -> ValidationMode:
    """Return the mode. Raises InvalidRequest (INVALID_FIELD) for an unknown one."""
    try:
        return _MODES[value]
    except KeyError:
        message = f"Unknown validation mode {value}."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="header.validation") from None


def duplicate_policy(value: resources.DuplicatePolicy, field: str) -> DuplicatePolicy | None:
    """Return the policy; None if it is not given. Raises InvalidRequest (INVALID_FIELD) for an unknown one."""
    if value == resources.DUPLICATE_POLICY_UNSPECIFIED:
        return None
    try:
        return DuplicatePolicy(value)
    except ValueError:
        raise InvalidRequest(Reason.INVALID_FIELD, f"Unknown duplicates policy {value}.", field=field) from None


def reason(value: Reason) -> errors.ErrorReason:
    """Return the reason as the enum of the contract."""
    return cast(errors.ErrorReason, errors.ErrorReason.Value(f"ERROR_REASON_{value}"))


def instance_id(value: InstanceId) -> resources.Address:
    """Return the address of an instance; the default partition has its name."""
    return resources.Address(
        partition=value.partition,
        study_instance_uid=value.study,
        series_instance_uid=value.series,
        sop_instance_uid=value.instance,
    )


def version(value: int) -> Version | None:
    """Return the version of a request; None for 0, which means the current one."""
    return Version(value) if value else None


def address(message: resources.Address) -> Address:
    """Return an address. Raises: as `parse_address`."""
    return parse_address(
        message.partition, message.study_instance_uid, message.series_instance_uid, message.sop_instance_uid
    )


def address_message(value: Address) -> resources.Address:
    """Return the address; the default partition has its name."""
    return resources.Address(
        partition=value.partition,
        study_instance_uid=value.study or "",
        series_instance_uid=value.series or "",
        sop_instance_uid=value.instance or "",
    )


def findings(values: Iterable[Finding]) -> list[resources.AttributeFinding]:
    """Return findings."""
    return [
        resources.AttributeFinding(
            tag=value.tag, keyword=value.keyword, vr=value.vr, message=value.message, path=value.path
        )
        for value in values
    ]


def store_outcome(item: int, result: StoreResult) -> store.StoreOutcome:
    """Return the outcome of an item."""
    if isinstance(result, Stored):
        return store.StoreOutcome(item=item, stored=_stored(result))
    return store.StoreOutcome(item=item, failed=_failed(result))


def _stored(result: Stored) -> store.StoredInstance:
    return store.StoredInstance(
        id=instance_id(result.id),
        sop_class_uid=result.sop_class_uid,
        transfer_syntax_uid=result.transfer_syntax_uid,
        version=result.version,
        size_bytes=result.size_bytes,
        dicom_warning_reason=result.warning_reason,
        findings=findings(result.findings),
        indexed_first_value_only=result.first_value_only,
        identical=result.identical,
        replaced_version=result.replaced or 0,
    )


def _failed(result: Failed) -> resources.ItemError:
    return resources.ItemError(
        reason=reason(result.reason),
        message=result.message,
        dicom_failure_reason=result.failure_reason,
        instance=resources.Address(
            study_instance_uid=result.study_uid,
            series_instance_uid=result.series_uid,
            sop_instance_uid=result.sop_uid,
        ),
        sop_class_uid=result.sop_class_uid,
        findings=findings(result.findings),
        identical=result.identical,
    )


def retrieval_error(stored: StoredInstance, error: DicomStoreError) -> resources.ItemError:
    """Return the error for a stored instance that could not be sent."""
    return resources.ItemError(
        reason=reason(error.reason),
        message=error.message,
        instance=instance_id(stored.id),
        sop_class_uid=stored.sop_class_uid,
    )


def omission(value: Omission) -> retrieve.Omission:
    """Return the omissions of a response."""
    return retrieve.Omission(
        count=value.count, errors=[retrieval_error(stored, error) for stored, error in value.errors]
    )


def acceptable(
    request: "retrieve.RetrieveInstancesRequest | retrieve.RetrieveFramesRequest | retrieve.RetrieveAllBulkDataRequest",
) -> Acceptable:
    """Return the acceptable forms. Raises InvalidRequest (INVALID_FIELD) if the number of qualities is wrong."""
    return transfer_syntax_choice.acceptable(
        request.acceptable_transfer_syntax_uids,
        request.acceptable_qualities,
        request.acceptable_stored_transfer_syntax_uids,
    )


def add_metadata_item(message: retrieve.RetrieveMetadataResponse, value: InstanceMetadata) -> None:
    """Add one data set with its identity, built in place, because adding a message to another one copies it."""
    uids = message.items.add(version=value.version, dicom_json=value.dicom_json).id
    uids.partition = value.id.partition
    uids.study_instance_uid = value.id.study
    uids.series_instance_uid = value.id.series
    uids.sop_instance_uid = value.id.instance


def state(value: ResourceState) -> retrieve.ResourceState:
    """Return the state of a resource."""
    return retrieve.ResourceState(max_version=value.max_version, instance_count=value.instance_count)


def known_state(request: retrieve.RetrieveMetadataRequest) -> ResourceState | None:
    """Return the state that the client has, if given."""
    if not request.HasField("known_state"):
        return None
    return ResourceState(request.known_state.max_version, request.known_state.instance_count)


def change_entry(value: Change) -> change_feed.ChangeEntry:
    """Return an entry. The enums of model and contract have the same numbers."""
    return change_feed.ChangeEntry(
        sequence=value.sequence,
        instance=instance_id(value.instance),
        action=change_feed.ChangeAction.Name(value.action),
        state=change_feed.ChangeState.Name(value.state),
        time=timestamp(value.time),
        version=value.version,
        dicom_json=value.dicom_json or b"",
    )


def partition(value: Partition) -> partitions.Partition:
    """Return a partition."""
    return partitions.Partition(
        name=value.name,
        key=value.key,
        create_time=timestamp(value.created),
        duplicates=cast(resources.DuplicatePolicy, int(value.duplicates or 0)),
    )


def timestamp(value: datetime) -> Timestamp:
    """Return a time."""
    result = Timestamp()
    result.FromDatetime(value)
    return result


def moment(value: Timestamp, field: str) -> datetime:
    """Return a time, in UTC. Raises InvalidRequest (INVALID_FIELD) if it is outside the years 1 to 9999."""
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(Reason.INVALID_FIELD, f"{field} is out of range.", field=field) from None


def period(value: Duration, field: str) -> timedelta:
    """Return a period. Raises InvalidRequest (INVALID_FIELD) if it is out of range."""
    try:
        return value.ToTimedelta()
    except (ValueError, OverflowError):
        raise InvalidRequest(Reason.INVALID_FIELD, f"{field} is out of range.", field=field) from None


def requested_tag(value: tags.NewExtendedQueryTag) -> RequestedTag:
    """Return a requested query tag."""
    return RequestedTag(value.path, value.vr, value.private_creator, _LEVELS.get(value.level))


def tag(value: Tag) -> tags.ExtendedQueryTag:
    """Return a query tag."""
    return tags.ExtendedQueryTag(
        tag=value.new.tag,
        keyword=value.new.keyword,
        vr=value.new.vr,
        private_creator=value.new.private_creator,
        level=cast(tags.TagLevel, int(value.new.level)),
        status=cast(tags.TagStatus, int(value.status)),
        query_status=cast(tags.QueryStatus, int(value.query_status)),
        error_count=value.error_count,
        operation_id=value.operation_id,
    )


def query_status(value: tags.QueryStatus) -> QueryStatus:
    """Return the status. Raises InvalidRequest (INVALID_FIELD) for an unknown one."""
    try:
        return QueryStatus(value)
    except ValueError:
        message = f"Unknown query status {value}."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="query_status") from None


def tag_error(value: TagError) -> tags.ExtendedQueryTagError:
    """Return an indexing error."""
    return tags.ExtendedQueryTagError(
        instance=instance_id(value.id),
        time=timestamp(value.time),
        message=value.message,
    )
