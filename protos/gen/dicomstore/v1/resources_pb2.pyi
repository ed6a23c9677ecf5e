from dicomstore.v1 import errors_pb2 as _errors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DuplicatePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DUPLICATE_POLICY_UNSPECIFIED: _ClassVar[DuplicatePolicy]
    DUPLICATE_POLICY_REJECT: _ClassVar[DuplicatePolicy]
    DUPLICATE_POLICY_NEW_VERSION: _ClassVar[DuplicatePolicy]
DUPLICATE_POLICY_UNSPECIFIED: DuplicatePolicy
DUPLICATE_POLICY_REJECT: DuplicatePolicy
DUPLICATE_POLICY_NEW_VERSION: DuplicatePolicy

class Address(_message.Message):
    __slots__ = ("partition", "study_instance_uid", "series_instance_uid", "sop_instance_uid")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    STUDY_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SOP_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    partition: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    def __init__(self, partition: _Optional[str] = ..., study_instance_uid: _Optional[str] = ..., series_instance_uid: _Optional[str] = ..., sop_instance_uid: _Optional[str] = ...) -> None: ...

class ByteRange(_message.Message):
    __slots__ = ("offset_bytes", "length_bytes")
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    LENGTH_BYTES_FIELD_NUMBER: _ClassVar[int]
    offset_bytes: int
    length_bytes: int
    def __init__(self, offset_bytes: _Optional[int] = ..., length_bytes: _Optional[int] = ...) -> None: ...

class AttributeFinding(_message.Message):
    __slots__ = ("tag", "keyword", "vr", "message", "path")
    TAG_FIELD_NUMBER: _ClassVar[int]
    KEYWORD_FIELD_NUMBER: _ClassVar[int]
    VR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    tag: str
    keyword: str
    vr: str
    message: str
    path: str
    def __init__(self, tag: _Optional[str] = ..., keyword: _Optional[str] = ..., vr: _Optional[str] = ..., message: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("reason", "message", "dicom_failure_reason", "instance", "sop_class_uid", "findings", "identical")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DICOM_FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SOP_CLASS_UID_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    IDENTICAL_FIELD_NUMBER: _ClassVar[int]
    reason: _errors_pb2.ErrorReason
    message: str
    dicom_failure_reason: int
    instance: Address
    sop_class_uid: str
    findings: _containers.RepeatedCompositeFieldContainer[AttributeFinding]
    identical: bool
    def __init__(self, reason: _Optional[_Union[_errors_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ..., dicom_failure_reason: _Optional[int] = ..., instance: _Optional[_Union[Address, _Mapping]] = ..., sop_class_uid: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[AttributeFinding, _Mapping]]] = ..., identical: _Optional[bool] = ...) -> None: ...
