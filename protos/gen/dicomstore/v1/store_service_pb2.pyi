import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ValidationMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VALIDATION_MODE_UNSPECIFIED: _ClassVar[ValidationMode]
    VALIDATION_MODE_LENIENT: _ClassVar[ValidationMode]
    VALIDATION_MODE_INDEXED_STRICT: _ClassVar[ValidationMode]
    VALIDATION_MODE_STRICT: _ClassVar[ValidationMode]
VALIDATION_MODE_UNSPECIFIED: ValidationMode
VALIDATION_MODE_LENIENT: ValidationMode
VALIDATION_MODE_INDEXED_STRICT: ValidationMode
VALIDATION_MODE_STRICT: ValidationMode

class StoreHeader(_message.Message):
    __slots__ = ("address", "create_partition", "validation", "duplicates", "reason", "expires_after", "external_metadata")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CREATE_PARTITION_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_METADATA_FIELD_NUMBER: _ClassVar[int]
    address: _resources_pb2.Address
    create_partition: bool
    validation: ValidationMode
    duplicates: _resources_pb2.DuplicatePolicy
    reason: str
    expires_after: _duration_pb2.Duration
    external_metadata: _containers.RepeatedCompositeFieldContainer[ExternalAttribute]
    def __init__(self, address: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., create_partition: _Optional[bool] = ..., validation: _Optional[_Union[ValidationMode, str]] = ..., duplicates: _Optional[_Union[_resources_pb2.DuplicatePolicy, str]] = ..., reason: _Optional[str] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., external_metadata: _Optional[_Iterable[_Union[ExternalAttribute, _Mapping]]] = ...) -> None: ...

class ExternalAttribute(_message.Message):
    __slots__ = ("tag", "vr", "value")
    TAG_FIELD_NUMBER: _ClassVar[int]
    VR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    tag: str
    vr: str
    value: str
    def __init__(self, tag: _Optional[str] = ..., vr: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class InstancePiece(_message.Message):
    __slots__ = ("item", "data", "last", "aborted", "declared_size_bytes", "crc32c")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    DECLARED_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    item: int
    data: bytes
    last: bool
    aborted: bool
    declared_size_bytes: int
    crc32c: int
    def __init__(self, item: _Optional[int] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ..., aborted: _Optional[bool] = ..., declared_size_bytes: _Optional[int] = ..., crc32c: _Optional[int] = ...) -> None: ...

class StoreInstancesRequest(_message.Message):
    __slots__ = ("header", "pieces")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    header: StoreHeader
    pieces: _containers.RepeatedCompositeFieldContainer[InstancePiece]
    def __init__(self, header: _Optional[_Union[StoreHeader, _Mapping]] = ..., pieces: _Optional[_Iterable[_Union[InstancePiece, _Mapping]]] = ...) -> None: ...

class StoredInstance(_message.Message):
    __slots__ = ("id", "sop_class_uid", "transfer_syntax_uid", "version", "size_bytes", "dicom_warning_reason", "findings", "indexed_first_value_only", "identical", "replaced_version")
    ID_FIELD_NUMBER: _ClassVar[int]
    SOP_CLASS_UID_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DICOM_WARNING_REASON_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    INDEXED_FIRST_VALUE_ONLY_FIELD_NUMBER: _ClassVar[int]
    IDENTICAL_FIELD_NUMBER: _ClassVar[int]
    REPLACED_VERSION_FIELD_NUMBER: _ClassVar[int]
    id: _resources_pb2.Address
    sop_class_uid: str
    transfer_syntax_uid: str
    version: int
    size_bytes: int
    dicom_warning_reason: int
    findings: _containers.RepeatedCompositeFieldContainer[_resources_pb2.AttributeFinding]
    indexed_first_value_only: bool
    identical: bool
    replaced_version: int
    def __init__(self, id: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., sop_class_uid: _Optional[str] = ..., transfer_syntax_uid: _Optional[str] = ..., version: _Optional[int] = ..., size_bytes: _Optional[int] = ..., dicom_warning_reason: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[_resources_pb2.AttributeFinding, _Mapping]]] = ..., indexed_first_value_only: _Optional[bool] = ..., identical: _Optional[bool] = ..., replaced_version: _Optional[int] = ...) -> None: ...

class StoreOutcome(_message.Message):
    __slots__ = ("item", "stored", "failed")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    item: int
    stored: StoredInstance
    failed: _resources_pb2.ItemError
    def __init__(self, item: _Optional[int] = ..., stored: _Optional[_Union[StoredInstance, _Mapping]] = ..., failed: _Optional[_Union[_resources_pb2.ItemError, _Mapping]] = ...) -> None: ...

class StoreInstancesResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[StoreOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[StoreOutcome, _Mapping]]] = ...) -> None: ...
