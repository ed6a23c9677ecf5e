from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RetrieveInstancesRequest(_message.Message):
    __slots__ = ("resource", "acceptable_transfer_syntax_uids", "range")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.ResourceRef
    acceptable_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    range: _resources_pb2.ByteRange
    def __init__(self, resource: _Optional[_Union[_resources_pb2.ResourceRef, _Mapping]] = ..., acceptable_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ...) -> None: ...

class InstanceHead(_message.Message):
    __slots__ = ("id", "sop_class_uid", "version", "transfer_syntax_uid", "size_bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    SOP_CLASS_UID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    id: _resources_pb2.InstanceId
    sop_class_uid: str
    version: int
    transfer_syntax_uid: str
    size_bytes: int
    def __init__(self, id: _Optional[_Union[_resources_pb2.InstanceId, _Mapping]] = ..., sop_class_uid: _Optional[str] = ..., version: _Optional[int] = ..., transfer_syntax_uid: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class RetrievedPiece(_message.Message):
    __slots__ = ("head", "data", "last", "failed")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    head: InstanceHead
    data: bytes
    last: bool
    failed: _resources_pb2.ItemError
    def __init__(self, head: _Optional[_Union[InstanceHead, _Mapping]] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ..., failed: _Optional[_Union[_resources_pb2.ItemError, _Mapping]] = ...) -> None: ...

class RetrieveInstancesResponse(_message.Message):
    __slots__ = ("pieces",)
    PIECES_FIELD_NUMBER: _ClassVar[int]
    pieces: _containers.RepeatedCompositeFieldContainer[RetrievedPiece]
    def __init__(self, pieces: _Optional[_Iterable[_Union[RetrievedPiece, _Mapping]]] = ...) -> None: ...

class RetrieveFramesRequest(_message.Message):
    __slots__ = ("instance", "frames", "acceptable_transfer_syntax_uids")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    instance: _resources_pb2.InstanceId
    frames: _containers.RepeatedScalarFieldContainer[int]
    acceptable_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, instance: _Optional[_Union[_resources_pb2.InstanceId, _Mapping]] = ..., frames: _Optional[_Iterable[int]] = ..., acceptable_transfer_syntax_uids: _Optional[_Iterable[str]] = ...) -> None: ...

class FrameHead(_message.Message):
    __slots__ = ("frame", "transfer_syntax_uid", "size_bytes")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    frame: int
    transfer_syntax_uid: str
    size_bytes: int
    def __init__(self, frame: _Optional[int] = ..., transfer_syntax_uid: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class FramePiece(_message.Message):
    __slots__ = ("head", "data", "last")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    head: FrameHead
    data: bytes
    last: bool
    def __init__(self, head: _Optional[_Union[FrameHead, _Mapping]] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ...) -> None: ...

class RetrieveFramesResponse(_message.Message):
    __slots__ = ("pieces",)
    PIECES_FIELD_NUMBER: _ClassVar[int]
    pieces: _containers.RepeatedCompositeFieldContainer[FramePiece]
    def __init__(self, pieces: _Optional[_Iterable[_Union[FramePiece, _Mapping]]] = ...) -> None: ...

class RetrieveBulkDataRequest(_message.Message):
    __slots__ = ("instance", "path", "range")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    instance: _resources_pb2.InstanceId
    path: str
    range: _resources_pb2.ByteRange
    def __init__(self, instance: _Optional[_Union[_resources_pb2.InstanceId, _Mapping]] = ..., path: _Optional[str] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ...) -> None: ...

class BulkDataHead(_message.Message):
    __slots__ = ("vr", "size_bytes", "range", "transfer_syntax_uid")
    VR_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    vr: str
    size_bytes: int
    range: _resources_pb2.ByteRange
    transfer_syntax_uid: str
    def __init__(self, vr: _Optional[str] = ..., size_bytes: _Optional[int] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ..., transfer_syntax_uid: _Optional[str] = ...) -> None: ...

class RetrieveBulkDataResponse(_message.Message):
    __slots__ = ("head", "data")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    head: BulkDataHead
    data: bytes
    def __init__(self, head: _Optional[_Union[BulkDataHead, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class RetrieveMetadataRequest(_message.Message):
    __slots__ = ("resource", "known_state")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_STATE_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.ResourceRef
    known_state: ResourceState
    def __init__(self, resource: _Optional[_Union[_resources_pb2.ResourceRef, _Mapping]] = ..., known_state: _Optional[_Union[ResourceState, _Mapping]] = ...) -> None: ...

class ResourceState(_message.Message):
    __slots__ = ("max_version", "instance_count")
    MAX_VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    max_version: int
    instance_count: int
    def __init__(self, max_version: _Optional[int] = ..., instance_count: _Optional[int] = ...) -> None: ...

class MetadataItem(_message.Message):
    __slots__ = ("version", "dicom_json", "id")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    version: int
    dicom_json: bytes
    id: _resources_pb2.InstanceId
    def __init__(self, version: _Optional[int] = ..., dicom_json: _Optional[bytes] = ..., id: _Optional[_Union[_resources_pb2.InstanceId, _Mapping]] = ...) -> None: ...

class RetrieveMetadataResponse(_message.Message):
    __slots__ = ("state", "items")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    state: ResourceState
    items: _containers.RepeatedCompositeFieldContainer[MetadataItem]
    def __init__(self, state: _Optional[_Union[ResourceState, _Mapping]] = ..., items: _Optional[_Iterable[_Union[MetadataItem, _Mapping]]] = ...) -> None: ...
