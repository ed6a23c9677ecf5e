from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
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
    __slots__ = ("targets", "changes", "attributes", "reason", "partition", "author")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Address]
    changes: bytes
    attributes: ChangeableAttributes
    reason: str
    partition: str
    author: str
    def __init__(self, targets: _Optional[_Iterable[_Union[_resources_pb2.Address, _Mapping]]] = ..., changes: _Optional[bytes] = ..., attributes: _Optional[_Union[ChangeableAttributes, str]] = ..., reason: _Optional[str] = ..., partition: _Optional[str] = ..., author: _Optional[str] = ...) -> None: ...

class UpdateResult(_message.Message):
    __slots__ = ("studies_processed", "studies_updated", "studies_failed", "instances_updated", "errors")
    STUDIES_PROCESSED_FIELD_NUMBER: _ClassVar[int]
    STUDIES_UPDATED_FIELD_NUMBER: _ClassVar[int]
    STUDIES_FAILED_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_UPDATED_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    studies_processed: int
    studies_updated: int
    studies_failed: int
    instances_updated: int
    errors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, studies_processed: _Optional[int] = ..., studies_updated: _Optional[int] = ..., studies_failed: _Optional[int] = ..., instances_updated: _Optional[int] = ..., errors: _Optional[_Iterable[str]] = ...) -> None: ...
