import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import operation_service_pb2 as _operation_service_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TagLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TAG_LEVEL_UNSPECIFIED: _ClassVar[TagLevel]
    TAG_LEVEL_STUDY: _ClassVar[TagLevel]
    TAG_LEVEL_SERIES: _ClassVar[TagLevel]
    TAG_LEVEL_INSTANCE: _ClassVar[TagLevel]

class TagStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TAG_STATUS_UNSPECIFIED: _ClassVar[TagStatus]
    TAG_STATUS_ADDING: _ClassVar[TagStatus]
    TAG_STATUS_READY: _ClassVar[TagStatus]
    TAG_STATUS_DELETING: _ClassVar[TagStatus]

class QueryStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUERY_STATUS_UNSPECIFIED: _ClassVar[QueryStatus]
    QUERY_STATUS_ENABLED: _ClassVar[QueryStatus]
    QUERY_STATUS_DISABLED: _ClassVar[QueryStatus]
TAG_LEVEL_UNSPECIFIED: TagLevel
TAG_LEVEL_STUDY: TagLevel
TAG_LEVEL_SERIES: TagLevel
TAG_LEVEL_INSTANCE: TagLevel
TAG_STATUS_UNSPECIFIED: TagStatus
TAG_STATUS_ADDING: TagStatus
TAG_STATUS_READY: TagStatus
TAG_STATUS_DELETING: TagStatus
QUERY_STATUS_UNSPECIFIED: QueryStatus
QUERY_STATUS_ENABLED: QueryStatus
QUERY_STATUS_DISABLED: QueryStatus

class NewExtendedQueryTag(_message.Message):
    __slots__ = ("path", "vr", "private_creator", "level")
    PATH_FIELD_NUMBER: _ClassVar[int]
    VR_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_CREATOR_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    path: str
    vr: str
    private_creator: str
    level: TagLevel
    def __init__(self, path: _Optional[str] = ..., vr: _Optional[str] = ..., private_creator: _Optional[str] = ..., level: _Optional[_Union[TagLevel, str]] = ...) -> None: ...

class ExtendedQueryTag(_message.Message):
    __slots__ = ("tag", "keyword", "vr", "private_creator", "level", "status", "query_status", "error_count", "operation_id")
    TAG_FIELD_NUMBER: _ClassVar[int]
    KEYWORD_FIELD_NUMBER: _ClassVar[int]
    VR_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_CREATOR_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    QUERY_STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    tag: str
    keyword: str
    vr: str
    private_creator: str
    level: TagLevel
    status: TagStatus
    query_status: QueryStatus
    error_count: int
    operation_id: str
    def __init__(self, tag: _Optional[str] = ..., keyword: _Optional[str] = ..., vr: _Optional[str] = ..., private_creator: _Optional[str] = ..., level: _Optional[_Union[TagLevel, str]] = ..., status: _Optional[_Union[TagStatus, str]] = ..., query_status: _Optional[_Union[QueryStatus, str]] = ..., error_count: _Optional[int] = ..., operation_id: _Optional[str] = ...) -> None: ...

class AddExtendedQueryTagsRequest(_message.Message):
    __slots__ = ("tags", "request_id")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[NewExtendedQueryTag]
    request_id: str
    def __init__(self, tags: _Optional[_Iterable[_Union[NewExtendedQueryTag, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class AddExtendedQueryTagsResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: _operation_service_pb2.Operation
    def __init__(self, operation: _Optional[_Union[_operation_service_pb2.Operation, _Mapping]] = ...) -> None: ...

class ListExtendedQueryTagsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "skip")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    skip: int
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., skip: _Optional[int] = ...) -> None: ...

class ListExtendedQueryTagsResponse(_message.Message):
    __slots__ = ("tags", "next_page_token")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[ExtendedQueryTag]
    next_page_token: str
    def __init__(self, tags: _Optional[_Iterable[_Union[ExtendedQueryTag, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetExtendedQueryTagRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class GetExtendedQueryTagResponse(_message.Message):
    __slots__ = ("tag",)
    TAG_FIELD_NUMBER: _ClassVar[int]
    tag: ExtendedQueryTag
    def __init__(self, tag: _Optional[_Union[ExtendedQueryTag, _Mapping]] = ...) -> None: ...

class UpdateExtendedQueryTagRequest(_message.Message):
    __slots__ = ("path", "query_status")
    PATH_FIELD_NUMBER: _ClassVar[int]
    QUERY_STATUS_FIELD_NUMBER: _ClassVar[int]
    path: str
    query_status: QueryStatus
    def __init__(self, path: _Optional[str] = ..., query_status: _Optional[_Union[QueryStatus, str]] = ...) -> None: ...

class UpdateExtendedQueryTagResponse(_message.Message):
    __slots__ = ("tag",)
    TAG_FIELD_NUMBER: _ClassVar[int]
    tag: ExtendedQueryTag
    def __init__(self, tag: _Optional[_Union[ExtendedQueryTag, _Mapping]] = ...) -> None: ...

class DeleteExtendedQueryTagRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class DeleteExtendedQueryTagResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListExtendedQueryTagErrorsRequest(_message.Message):
    __slots__ = ("path", "page_size", "page_token", "skip")
    PATH_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    path: str
    page_size: int
    page_token: str
    skip: int
    def __init__(self, path: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., skip: _Optional[int] = ...) -> None: ...

class ExtendedQueryTagError(_message.Message):
    __slots__ = ("instance", "time", "message")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    instance: _resources_pb2.Address
    time: _timestamp_pb2.Timestamp
    message: str
    def __init__(self, instance: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message: _Optional[str] = ...) -> None: ...

class ListExtendedQueryTagErrorsResponse(_message.Message):
    __slots__ = ("errors", "next_page_token")
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    errors: _containers.RepeatedCompositeFieldContainer[ExtendedQueryTagError]
    next_page_token: str
    def __init__(self, errors: _Optional[_Iterable[_Union[ExtendedQueryTagError, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
