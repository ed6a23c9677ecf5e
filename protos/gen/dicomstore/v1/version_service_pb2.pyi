import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VersionOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_ORIGIN_UNSPECIFIED: _ClassVar[VersionOrigin]
    VERSION_ORIGIN_STORED: _ClassVar[VersionOrigin]
    VERSION_ORIGIN_REPLACED: _ClassVar[VersionOrigin]
    VERSION_ORIGIN_UPDATED: _ClassVar[VersionOrigin]
    VERSION_ORIGIN_REVERTED: _ClassVar[VersionOrigin]

class DifferenceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIFFERENCE_KIND_UNSPECIFIED: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_ADDED: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_REMOVED: _ClassVar[DifferenceKind]
    DIFFERENCE_KIND_CHANGED: _ClassVar[DifferenceKind]
VERSION_ORIGIN_UNSPECIFIED: VersionOrigin
VERSION_ORIGIN_STORED: VersionOrigin
VERSION_ORIGIN_REPLACED: VersionOrigin
VERSION_ORIGIN_UPDATED: VersionOrigin
VERSION_ORIGIN_REVERTED: VersionOrigin
DIFFERENCE_KIND_UNSPECIFIED: DifferenceKind
DIFFERENCE_KIND_ADDED: DifferenceKind
DIFFERENCE_KIND_REMOVED: DifferenceKind
DIFFERENCE_KIND_CHANGED: DifferenceKind

class InstanceVersion(_message.Message):
    __slots__ = ("instance", "version", "create_time", "replace_time", "author", "reason", "origin", "transfer_syntax_uid", "size_bytes", "crc32c")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REPLACE_TIME_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    instance: _resources_pb2.Address
    version: int
    create_time: _timestamp_pb2.Timestamp
    replace_time: _timestamp_pb2.Timestamp
    author: str
    reason: str
    origin: VersionOrigin
    transfer_syntax_uid: str
    size_bytes: int
    crc32c: int
    def __init__(self, instance: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., replace_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., author: _Optional[str] = ..., reason: _Optional[str] = ..., origin: _Optional[_Union[VersionOrigin, str]] = ..., transfer_syntax_uid: _Optional[str] = ..., size_bytes: _Optional[int] = ..., crc32c: _Optional[int] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("resource", "page_size", "page_token")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Address
    page_size: int
    page_token: str
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions", "next_page_token")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[InstanceVersion]
    next_page_token: str
    def __init__(self, versions: _Optional[_Iterable[_Union[InstanceVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CompareVersionsRequest(_message.Message):
    __slots__ = ("instance", "from_version", "version")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    instance: _resources_pb2.Address
    from_version: int
    version: int
    def __init__(self, instance: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., from_version: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class AttributeDifference(_message.Message):
    __slots__ = ("path", "keyword", "kind", "vr", "before", "after")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KEYWORD_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VR_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    path: str
    keyword: str
    kind: DifferenceKind
    vr: str
    before: bytes
    after: bytes
    def __init__(self, path: _Optional[str] = ..., keyword: _Optional[str] = ..., kind: _Optional[_Union[DifferenceKind, str]] = ..., vr: _Optional[str] = ..., before: _Optional[bytes] = ..., after: _Optional[bytes] = ...) -> None: ...

class CompareVersionsResponse(_message.Message):
    __slots__ = ("differences", "from_version", "version")
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    differences: _containers.RepeatedCompositeFieldContainer[AttributeDifference]
    from_version: int
    version: int
    def __init__(self, differences: _Optional[_Iterable[_Union[AttributeDifference, _Mapping]]] = ..., from_version: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class RevertInstanceRequest(_message.Message):
    __slots__ = ("instance", "version", "reason")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    instance: _resources_pb2.Address
    version: int
    reason: str
    def __init__(self, instance: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., version: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class RevertInstanceResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...
