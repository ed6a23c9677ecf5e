from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WindowFunction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WINDOW_FUNCTION_UNSPECIFIED: _ClassVar[WindowFunction]
    WINDOW_FUNCTION_LINEAR: _ClassVar[WindowFunction]
    WINDOW_FUNCTION_LINEAR_EXACT: _ClassVar[WindowFunction]
    WINDOW_FUNCTION_SIGMOID: _ClassVar[WindowFunction]

class Annotation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANNOTATION_UNSPECIFIED: _ClassVar[Annotation]
    ANNOTATION_PATIENT: _ClassVar[Annotation]
    ANNOTATION_TECHNIQUE: _ClassVar[Annotation]

class IccProfile(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ICC_PROFILE_UNSPECIFIED: _ClassVar[IccProfile]
    ICC_PROFILE_NO: _ClassVar[IccProfile]
    ICC_PROFILE_YES: _ClassVar[IccProfile]
    ICC_PROFILE_SRGB: _ClassVar[IccProfile]
    ICC_PROFILE_ADOBE_RGB: _ClassVar[IccProfile]
    ICC_PROFILE_ROMM_RGB: _ClassVar[IccProfile]
WINDOW_FUNCTION_UNSPECIFIED: WindowFunction
WINDOW_FUNCTION_LINEAR: WindowFunction
WINDOW_FUNCTION_LINEAR_EXACT: WindowFunction
WINDOW_FUNCTION_SIGMOID: WindowFunction
ANNOTATION_UNSPECIFIED: Annotation
ANNOTATION_PATIENT: Annotation
ANNOTATION_TECHNIQUE: Annotation
ICC_PROFILE_UNSPECIFIED: IccProfile
ICC_PROFILE_NO: IccProfile
ICC_PROFILE_YES: IccProfile
ICC_PROFILE_SRGB: IccProfile
ICC_PROFILE_ADOBE_RGB: IccProfile
ICC_PROFILE_ROMM_RGB: IccProfile

class RetrieveInstancesRequest(_message.Message):
    __slots__ = ("resource", "acceptable_transfer_syntax_uids", "range", "acceptable_qualities", "acceptable_stored_transfer_syntax_uids", "head_only", "version")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_QUALITIES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_STORED_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    HEAD_ONLY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Address
    acceptable_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    range: _resources_pb2.ByteRange
    acceptable_qualities: _containers.RepeatedScalarFieldContainer[float]
    acceptable_stored_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    head_only: bool
    version: int
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., acceptable_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ..., acceptable_qualities: _Optional[_Iterable[float]] = ..., acceptable_stored_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., head_only: _Optional[bool] = ..., version: _Optional[int] = ...) -> None: ...

class Omission(_message.Message):
    __slots__ = ("count", "errors")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    count: int
    errors: _containers.RepeatedCompositeFieldContainer[_resources_pb2.ItemError]
    def __init__(self, count: _Optional[int] = ..., errors: _Optional[_Iterable[_Union[_resources_pb2.ItemError, _Mapping]]] = ...) -> None: ...

class InstanceHead(_message.Message):
    __slots__ = ("id", "sop_class_uid", "version", "transfer_syntax_uid", "size_bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    SOP_CLASS_UID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    id: _resources_pb2.Address
    sop_class_uid: str
    version: int
    transfer_syntax_uid: str
    size_bytes: int
    def __init__(self, id: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., sop_class_uid: _Optional[str] = ..., version: _Optional[int] = ..., transfer_syntax_uid: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("pieces", "omission")
    PIECES_FIELD_NUMBER: _ClassVar[int]
    OMISSION_FIELD_NUMBER: _ClassVar[int]
    pieces: _containers.RepeatedCompositeFieldContainer[RetrievedPiece]
    omission: Omission
    def __init__(self, pieces: _Optional[_Iterable[_Union[RetrievedPiece, _Mapping]]] = ..., omission: _Optional[_Union[Omission, _Mapping]] = ...) -> None: ...

class RetrieveFramesRequest(_message.Message):
    __slots__ = ("instance", "frames", "acceptable_transfer_syntax_uids", "acceptable_qualities", "range", "acceptable_stored_transfer_syntax_uids", "head_only", "version")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_QUALITIES_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_STORED_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    HEAD_ONLY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    instance: _resources_pb2.Address
    frames: _containers.RepeatedScalarFieldContainer[int]
    acceptable_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    acceptable_qualities: _containers.RepeatedScalarFieldContainer[float]
    range: _resources_pb2.ByteRange
    acceptable_stored_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    head_only: bool
    version: int
    def __init__(self, instance: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., frames: _Optional[_Iterable[int]] = ..., acceptable_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., acceptable_qualities: _Optional[_Iterable[float]] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ..., acceptable_stored_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., head_only: _Optional[bool] = ..., version: _Optional[int] = ...) -> None: ...

class FrameHead(_message.Message):
    __slots__ = ("frame", "transfer_syntax_uid", "size_bytes", "version")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    frame: int
    transfer_syntax_uid: str
    size_bytes: int
    version: int
    def __init__(self, frame: _Optional[int] = ..., transfer_syntax_uid: _Optional[str] = ..., size_bytes: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class FramePiece(_message.Message):
    __slots__ = ("head", "data", "last", "failed")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    head: FrameHead
    data: bytes
    last: bool
    failed: _resources_pb2.ItemError
    def __init__(self, head: _Optional[_Union[FrameHead, _Mapping]] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ..., failed: _Optional[_Union[_resources_pb2.ItemError, _Mapping]] = ...) -> None: ...

class RetrieveFramesResponse(_message.Message):
    __slots__ = ("pieces", "omission")
    PIECES_FIELD_NUMBER: _ClassVar[int]
    OMISSION_FIELD_NUMBER: _ClassVar[int]
    pieces: _containers.RepeatedCompositeFieldContainer[FramePiece]
    omission: Omission
    def __init__(self, pieces: _Optional[_Iterable[_Union[FramePiece, _Mapping]]] = ..., omission: _Optional[_Union[Omission, _Mapping]] = ...) -> None: ...

class RetrieveBulkDataRequest(_message.Message):
    __slots__ = ("instance", "path", "range", "version")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    instance: _resources_pb2.Address
    path: str
    range: _resources_pb2.ByteRange
    version: int
    def __init__(self, instance: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., path: _Optional[str] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class BulkDataHead(_message.Message):
    __slots__ = ("vr", "size_bytes", "range", "transfer_syntax_uid", "version", "media_type")
    VR_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    vr: str
    size_bytes: int
    range: _resources_pb2.ByteRange
    transfer_syntax_uid: str
    version: int
    media_type: str
    def __init__(self, vr: _Optional[str] = ..., size_bytes: _Optional[int] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ..., transfer_syntax_uid: _Optional[str] = ..., version: _Optional[int] = ..., media_type: _Optional[str] = ...) -> None: ...

class RetrieveBulkDataResponse(_message.Message):
    __slots__ = ("head", "data")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    head: BulkDataHead
    data: bytes
    def __init__(self, head: _Optional[_Union[BulkDataHead, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class RetrieveAllBulkDataRequest(_message.Message):
    __slots__ = ("resource", "pixel_data_only", "acceptable_transfer_syntax_uids", "acceptable_qualities", "acceptable_stored_transfer_syntax_uids", "version")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PIXEL_DATA_ONLY_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_QUALITIES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_STORED_TRANSFER_SYNTAX_UIDS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Address
    pixel_data_only: bool
    acceptable_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    acceptable_qualities: _containers.RepeatedScalarFieldContainer[float]
    acceptable_stored_transfer_syntax_uids: _containers.RepeatedScalarFieldContainer[str]
    version: int
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., pixel_data_only: _Optional[bool] = ..., acceptable_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., acceptable_qualities: _Optional[_Iterable[float]] = ..., acceptable_stored_transfer_syntax_uids: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ...) -> None: ...

class BulkDataItemHead(_message.Message):
    __slots__ = ("id", "path", "frame", "vr", "transfer_syntax_uid", "size_bytes", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    VR_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SYNTAX_UID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: _resources_pb2.Address
    path: str
    frame: int
    vr: str
    transfer_syntax_uid: str
    size_bytes: int
    version: int
    def __init__(self, id: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., path: _Optional[str] = ..., frame: _Optional[int] = ..., vr: _Optional[str] = ..., transfer_syntax_uid: _Optional[str] = ..., size_bytes: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class BulkDataPiece(_message.Message):
    __slots__ = ("head", "data", "last", "failed")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    head: BulkDataItemHead
    data: bytes
    last: bool
    failed: _resources_pb2.ItemError
    def __init__(self, head: _Optional[_Union[BulkDataItemHead, _Mapping]] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ..., failed: _Optional[_Union[_resources_pb2.ItemError, _Mapping]] = ...) -> None: ...

class RetrieveAllBulkDataResponse(_message.Message):
    __slots__ = ("pieces", "omission")
    PIECES_FIELD_NUMBER: _ClassVar[int]
    OMISSION_FIELD_NUMBER: _ClassVar[int]
    pieces: _containers.RepeatedCompositeFieldContainer[BulkDataPiece]
    omission: Omission
    def __init__(self, pieces: _Optional[_Iterable[_Union[BulkDataPiece, _Mapping]]] = ..., omission: _Optional[_Union[Omission, _Mapping]] = ...) -> None: ...

class RetrieveMetadataRequest(_message.Message):
    __slots__ = ("resource", "known_state", "include_fields", "exclude_fields", "limit", "offset", "version", "include_labels", "external_metadata")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_STATE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELDS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_LABELS_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_METADATA_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Address
    known_state: ResourceState
    include_fields: _containers.RepeatedScalarFieldContainer[str]
    exclude_fields: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    offset: int
    version: int
    include_labels: bool
    external_metadata: bool
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., known_state: _Optional[_Union[ResourceState, _Mapping]] = ..., include_fields: _Optional[_Iterable[str]] = ..., exclude_fields: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., offset: _Optional[int] = ..., version: _Optional[int] = ..., include_labels: _Optional[bool] = ..., external_metadata: _Optional[bool] = ...) -> None: ...

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
    id: _resources_pb2.Address
    def __init__(self, version: _Optional[int] = ..., dicom_json: _Optional[bytes] = ..., id: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ...) -> None: ...

class RetrieveMetadataResponse(_message.Message):
    __slots__ = ("state", "items")
    STATE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    state: ResourceState
    items: _containers.RepeatedCompositeFieldContainer[MetadataItem]
    def __init__(self, state: _Optional[_Union[ResourceState, _Mapping]] = ..., items: _Optional[_Iterable[_Union[MetadataItem, _Mapping]]] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("center", "width", "function")
    CENTER_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    center: float
    width: float
    function: WindowFunction
    def __init__(self, center: _Optional[float] = ..., width: _Optional[float] = ..., function: _Optional[_Union[WindowFunction, str]] = ...) -> None: ...

class Viewport(_message.Message):
    __slots__ = ("width", "height", "source_x", "source_y", "source_width", "source_height")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_X_FIELD_NUMBER: _ClassVar[int]
    SOURCE_Y_FIELD_NUMBER: _ClassVar[int]
    SOURCE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    source_x: float
    source_y: float
    source_width: float
    source_height: float
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., source_x: _Optional[float] = ..., source_y: _Optional[float] = ..., source_width: _Optional[float] = ..., source_height: _Optional[float] = ...) -> None: ...

class RetrieveRenderedRequest(_message.Message):
    __slots__ = ("resource", "frames", "acceptable_media_types", "window", "viewport", "quality", "annotations", "icc_profile", "thumbnail", "range", "version")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTABLE_MEDIA_TYPES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    VIEWPORT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    ICC_PROFILE_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Address
    frames: _containers.RepeatedScalarFieldContainer[int]
    acceptable_media_types: _containers.RepeatedScalarFieldContainer[str]
    window: Window
    viewport: Viewport
    quality: int
    annotations: _containers.RepeatedScalarFieldContainer[Annotation]
    icc_profile: IccProfile
    thumbnail: bool
    range: _resources_pb2.ByteRange
    version: int
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., frames: _Optional[_Iterable[int]] = ..., acceptable_media_types: _Optional[_Iterable[str]] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., viewport: _Optional[_Union[Viewport, _Mapping]] = ..., quality: _Optional[int] = ..., annotations: _Optional[_Iterable[_Union[Annotation, str]]] = ..., icc_profile: _Optional[_Union[IccProfile, str]] = ..., thumbnail: _Optional[bool] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class RenderedHead(_message.Message):
    __slots__ = ("id", "frame", "version", "media_type", "size_bytes", "range")
    ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    id: _resources_pb2.Address
    frame: int
    version: int
    media_type: str
    size_bytes: int
    range: _resources_pb2.ByteRange
    def __init__(self, id: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., frame: _Optional[int] = ..., version: _Optional[int] = ..., media_type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., range: _Optional[_Union[_resources_pb2.ByteRange, _Mapping]] = ...) -> None: ...

class RenderedPiece(_message.Message):
    __slots__ = ("head", "data", "last", "failed")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    head: RenderedHead
    data: bytes
    last: bool
    failed: _resources_pb2.ItemError
    def __init__(self, head: _Optional[_Union[RenderedHead, _Mapping]] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ..., failed: _Optional[_Union[_resources_pb2.ItemError, _Mapping]] = ...) -> None: ...

class RetrieveRenderedResponse(_message.Message):
    __slots__ = ("pieces", "omission")
    PIECES_FIELD_NUMBER: _ClassVar[int]
    OMISSION_FIELD_NUMBER: _ClassVar[int]
    pieces: _containers.RepeatedCompositeFieldContainer[RenderedPiece]
    omission: Omission
    def __init__(self, pieces: _Optional[_Iterable[_Union[RenderedPiece, _Mapping]]] = ..., omission: _Optional[_Union[Omission, _Mapping]] = ...) -> None: ...
