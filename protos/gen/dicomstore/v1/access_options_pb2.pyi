from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_ANONYMOUS: _ClassVar[Action]
    ACTION_AUTHENTICATED: _ClassVar[Action]
    ACTION_OF_OPERATION_TYPE: _ClassVar[Action]
    ACTION_READ: _ClassVar[Action]
    ACTION_WRITE: _ClassVar[Action]
    ACTION_DELETE: _ClassVar[Action]
    ACTION_MANAGE_EXTENDED_QUERY_TAGS: _ClassVar[Action]
    ACTION_EXPORT: _ClassVar[Action]
    ACTION_AUDIT: _ClassVar[Action]
    ACTION_ADMINISTER: _ClassVar[Action]
    ACTION_MONITOR: _ClassVar[Action]
ACTION_UNSPECIFIED: Action
ACTION_ANONYMOUS: Action
ACTION_AUTHENTICATED: Action
ACTION_OF_OPERATION_TYPE: Action
ACTION_READ: Action
ACTION_WRITE: Action
ACTION_DELETE: Action
ACTION_MANAGE_EXTENDED_QUERY_TAGS: Action
ACTION_EXPORT: Action
ACTION_AUDIT: Action
ACTION_ADMINISTER: Action
ACTION_MONITOR: Action
ACTION_FIELD_NUMBER: _ClassVar[int]
action: _descriptor.FieldDescriptor
START_ACTION_FIELD_NUMBER: _ClassVar[int]
start_action: _descriptor.FieldDescriptor
