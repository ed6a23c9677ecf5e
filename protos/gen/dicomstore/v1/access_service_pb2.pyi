from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckAccessRequest(_message.Message):
    __slots__ = ("action",)
    ACTION_FIELD_NUMBER: _ClassVar[int]
    action: _access_options_pb2.Action
    def __init__(self, action: _Optional[_Union[_access_options_pb2.Action, str]] = ...) -> None: ...

class CheckAccessResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPrincipalRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PrincipalGrant(_message.Message):
    __slots__ = ("actions", "scope")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedScalarFieldContainer[_access_options_pb2.Action]
    scope: _resources_pb2.Address
    def __init__(self, actions: _Optional[_Iterable[_Union[_access_options_pb2.Action, str]]] = ..., scope: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ...) -> None: ...

class GetPrincipalResponse(_message.Message):
    __slots__ = ("id", "name", "roles", "grants", "authentication_required", "known_roles")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    KNOWN_ROLES_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    grants: _containers.RepeatedCompositeFieldContainer[PrincipalGrant]
    authentication_required: bool
    known_roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., grants: _Optional[_Iterable[_Union[PrincipalGrant, _Mapping]]] = ..., authentication_required: _Optional[bool] = ..., known_roles: _Optional[_Iterable[str]] = ...) -> None: ...
