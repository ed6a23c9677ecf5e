import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from dicomstore.v1 import search_service_pb2 as _search_service_pb2
from dicomstore.v1 import store_service_pb2 as _store_service_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChangeableAttributes(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGEABLE_ATTRIBUTES_UNSPECIFIED: _ClassVar[ChangeableAttributes]
    CHANGEABLE_ATTRIBUTES_PATIENT_AND_STUDY: _ClassVar[ChangeableAttributes]
CHANGEABLE_ATTRIBUTES_UNSPECIFIED: ChangeableAttributes
CHANGEABLE_ATTRIBUTES_PATIENT_AND_STUDY: ChangeableAttributes

class ReindexRequest(_message.Message):
    __slots__ = ("tags",)
    TAGS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tags: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("targets", "changes", "attributes", "reason", "partition", "author", "revert_to")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    REVERT_TO_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Address]
    changes: bytes
    attributes: ChangeableAttributes
    reason: str
    partition: str
    author: str
    revert_to: EarlierState
    def __init__(self, targets: _Optional[_Iterable[_Union[_resources_pb2.Address, _Mapping]]] = ..., changes: _Optional[bytes] = ..., attributes: _Optional[_Union[ChangeableAttributes, str]] = ..., reason: _Optional[str] = ..., partition: _Optional[str] = ..., author: _Optional[str] = ..., revert_to: _Optional[_Union[EarlierState, _Mapping]] = ...) -> None: ...

class EarlierState(_message.Message):
    __slots__ = ("time", "before_operation")
    TIME_FIELD_NUMBER: _ClassVar[int]
    BEFORE_OPERATION_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    before_operation: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., before_operation: _Optional[str] = ...) -> None: ...

class UpdateResult(_message.Message):
    __slots__ = ("studies_processed", "studies_updated", "studies_failed", "instances_updated", "errors", "errors_omitted")
    STUDIES_PROCESSED_FIELD_NUMBER: _ClassVar[int]
    STUDIES_UPDATED_FIELD_NUMBER: _ClassVar[int]
    STUDIES_FAILED_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_UPDATED_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    studies_processed: int
    studies_updated: int
    studies_failed: int
    instances_updated: int
    errors: _containers.RepeatedScalarFieldContainer[str]
    errors_omitted: int
    def __init__(self, studies_processed: _Optional[int] = ..., studies_updated: _Optional[int] = ..., studies_failed: _Optional[int] = ..., instances_updated: _Optional[int] = ..., errors: _Optional[_Iterable[str]] = ..., errors_omitted: _Optional[int] = ...) -> None: ...

class ExportRequest(_message.Message):
    __slots__ = ("sources", "query", "everything", "partition", "azure_blob", "s3", "gcs", "folder", "transfer_syntax_uid", "without_manifest", "dicomdir", "author")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    AZURE_BLOB_FIELD_NUMBER: _ClassVar[int]
    S3_FIELD_NUMBER: _ClassVar[int]
    GCS_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_MANIFEST_FIELD_NUMBER: _ClassVar[int]
    DICOMDIR_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Address]
    query: ExportQuery
    everything: bool
    partition: str
    azure_blob: AzureBlobDestination
    s3: S3Destination
    gcs: GcsDestination
    folder: FolderDestination
    transfer_syntax_uid: str
    without_manifest: bool
    dicomdir: bool
    author: str
    def __init__(self, sources: _Optional[_Iterable[_Union[_resources_pb2.Address, _Mapping]]] = ..., query: _Optional[_Union[ExportQuery, _Mapping]] = ..., everything: _Optional[bool] = ..., partition: _Optional[str] = ..., azure_blob: _Optional[_Union[AzureBlobDestination, _Mapping]] = ..., s3: _Optional[_Union[S3Destination, _Mapping]] = ..., gcs: _Optional[_Union[GcsDestination, _Mapping]] = ..., folder: _Optional[_Union[FolderDestination, _Mapping]] = ..., transfer_syntax_uid: _Optional[str] = ..., without_manifest: _Optional[bool] = ..., dicomdir: _Optional[bool] = ..., author: _Optional[str] = ...) -> None: ...

class ExportQuery(_message.Message):
    __slots__ = ("level", "terms", "fuzzy_matching")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    FUZZY_MATCHING_FIELD_NUMBER: _ClassVar[int]
    level: _search_service_pb2.QueryLevel
    terms: _containers.RepeatedCompositeFieldContainer[_search_service_pb2.Term]
    fuzzy_matching: bool
    def __init__(self, level: _Optional[_Union[_search_service_pb2.QueryLevel, str]] = ..., terms: _Optional[_Iterable[_Union[_search_service_pb2.Term, _Mapping]]] = ..., fuzzy_matching: _Optional[bool] = ...) -> None: ...

class AzureBlobDestination(_message.Message):
    __slots__ = ("container_uri", "connection_string", "container_name", "use_managed_identity")
    CONTAINER_URI_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_STRING_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_NAME_FIELD_NUMBER: _ClassVar[int]
    USE_MANAGED_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    container_uri: str
    connection_string: str
    container_name: str
    use_managed_identity: bool
    def __init__(self, container_uri: _Optional[str] = ..., connection_string: _Optional[str] = ..., container_name: _Optional[str] = ..., use_managed_identity: _Optional[bool] = ...) -> None: ...

class S3Destination(_message.Message):
    __slots__ = ("bucket", "prefix", "endpoint", "region", "virtual_hosted_style", "access_key_id", "secret_access_key", "session_token")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    VIRTUAL_HOSTED_STYLE_FIELD_NUMBER: _ClassVar[int]
    ACCESS_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_ACCESS_KEY_FIELD_NUMBER: _ClassVar[int]
    SESSION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    prefix: str
    endpoint: str
    region: str
    virtual_hosted_style: bool
    access_key_id: str
    secret_access_key: str
    session_token: str
    def __init__(self, bucket: _Optional[str] = ..., prefix: _Optional[str] = ..., endpoint: _Optional[str] = ..., region: _Optional[str] = ..., virtual_hosted_style: _Optional[bool] = ..., access_key_id: _Optional[str] = ..., secret_access_key: _Optional[str] = ..., session_token: _Optional[str] = ...) -> None: ...

class GcsDestination(_message.Message):
    __slots__ = ("bucket", "prefix", "service_account_key")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    prefix: str
    service_account_key: str
    def __init__(self, bucket: _Optional[str] = ..., prefix: _Optional[str] = ..., service_account_key: _Optional[str] = ...) -> None: ...

class FolderDestination(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class ExportResult(_message.Message):
    __slots__ = ("exported", "skipped", "exported_bytes", "error_href", "manifest_href", "dicomdir_href")
    EXPORTED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    EXPORTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    ERROR_HREF_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_HREF_FIELD_NUMBER: _ClassVar[int]
    DICOMDIR_HREF_FIELD_NUMBER: _ClassVar[int]
    exported: int
    skipped: int
    exported_bytes: int
    error_href: str
    manifest_href: str
    dicomdir_href: str
    def __init__(self, exported: _Optional[int] = ..., skipped: _Optional[int] = ..., exported_bytes: _Optional[int] = ..., error_href: _Optional[str] = ..., manifest_href: _Optional[str] = ..., dicomdir_href: _Optional[str] = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("source", "partition", "create_partition", "validation", "duplicates", "reason", "in_place", "delete_source", "errors", "continuous", "interval_seconds", "settle_seconds", "author")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    CREATE_PARTITION_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IN_PLACE_FIELD_NUMBER: _ClassVar[int]
    DELETE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    CONTINUOUS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SETTLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    source: str
    partition: str
    create_partition: bool
    validation: _store_service_pb2.ValidationMode
    duplicates: _resources_pb2.DuplicatePolicy
    reason: str
    in_place: bool
    delete_source: bool
    errors: str
    continuous: bool
    interval_seconds: int
    settle_seconds: int
    author: str
    def __init__(self, source: _Optional[str] = ..., partition: _Optional[str] = ..., create_partition: _Optional[bool] = ..., validation: _Optional[_Union[_store_service_pb2.ValidationMode, str]] = ..., duplicates: _Optional[_Union[_resources_pb2.DuplicatePolicy, str]] = ..., reason: _Optional[str] = ..., in_place: _Optional[bool] = ..., delete_source: _Optional[bool] = ..., errors: _Optional[str] = ..., continuous: _Optional[bool] = ..., interval_seconds: _Optional[int] = ..., settle_seconds: _Optional[int] = ..., author: _Optional[str] = ...) -> None: ...

class ImportResult(_message.Message):
    __slots__ = ("stored", "identical", "skipped", "failed", "stored_bytes", "removed", "passes")
    STORED_FIELD_NUMBER: _ClassVar[int]
    IDENTICAL_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    stored: int
    identical: int
    skipped: int
    failed: int
    stored_bytes: int
    removed: int
    passes: int
    def __init__(self, stored: _Optional[int] = ..., identical: _Optional[int] = ..., skipped: _Optional[int] = ..., failed: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., removed: _Optional[int] = ..., passes: _Optional[int] = ...) -> None: ...

class MoveRequest(_message.Message):
    __slots__ = ("to", "max_bytes_per_second")
    TO_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    to: str
    max_bytes_per_second: int
    def __init__(self, to: _Optional[str] = ..., max_bytes_per_second: _Optional[int] = ...) -> None: ...

class MoveResult(_message.Message):
    __slots__ = ("versions_moved", "bytes_moved", "versions_left", "old_copies_until")
    VERSIONS_MOVED_FIELD_NUMBER: _ClassVar[int]
    BYTES_MOVED_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_LEFT_FIELD_NUMBER: _ClassVar[int]
    OLD_COPIES_UNTIL_FIELD_NUMBER: _ClassVar[int]
    versions_moved: int
    bytes_moved: int
    versions_left: int
    old_copies_until: _timestamp_pb2.Timestamp
    def __init__(self, versions_moved: _Optional[int] = ..., bytes_moved: _Optional[int] = ..., versions_left: _Optional[int] = ..., old_copies_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
