from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_instance_bytes", "max_header_bytes", "max_message_bytes", "max_page_size", "default_page_size")
    MAX_INSTANCE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_HEADER_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    max_instance_bytes: int
    max_header_bytes: int
    max_message_bytes: int
    max_page_size: int
    default_page_size: int
    def __init__(self, max_instance_bytes: _Optional[int] = ..., max_header_bytes: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_page_size: _Optional[int] = ..., default_page_size: _Optional[int] = ...) -> None: ...

class Features(_message.Message):
    __slots__ = ("partitions", "authentication_required")
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    partitions: bool
    authentication_required: bool
    def __init__(self, partitions: _Optional[bool] = ..., authentication_required: _Optional[bool] = ...) -> None: ...

class GetCapabilitiesResponse(_message.Message):
    __slots__ = ("server_version", "limits", "features", "encodable_transfer_syntax_uids", "decodable_transfer_syntax_uids", "rendered_media_types")
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    ENCODABLE_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    DECODABLE_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    RENDERED_MEDIA_TYPES_FIELD_NUMBER: _ClassVar[int]
    server_version: str
    limits: Limits
    features: Features
    encodable_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    decodable_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    rendered_media_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, server_version: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., features: _Optional[_Union[Features, _Mapping]] = ..., encodable_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., decodable_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., rendered_media_types: _Optional[_Iterable[str]] = ...) -> None: ...
