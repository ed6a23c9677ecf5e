from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeleteInstancesRequest(_message.Message):
    __slots__ = ("resource", "reason", "erase_now")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERASE_NOW_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Address
    reason: str
    erase_now: bool
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., reason: _Optional[str] = ..., erase_now: _Optional[bool] = ...) -> None: ...

class DeleteInstancesResponse(_message.Message):
    __slots__ = ("deleted_instances", "erased_instances")
    DELETED_INSTANCES_FIELD_NUMBER: _ClassVar[int]
    ERASED_INSTANCES_FIELD_NUMBER: _ClassVar[int]
    deleted_instances: int
    erased_instances: int
    def __init__(self, deleted_instances: _Optional[int] = ..., erased_instances: _Optional[int] = ...) -> None: ...
