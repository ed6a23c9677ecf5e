from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkitemState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKITEM_STATE_UNSPECIFIED: _ClassVar[WorkitemState]
    WORKITEM_STATE_SCHEDULED: _ClassVar[WorkitemState]
    WORKITEM_STATE_IN_PROGRESS: _ClassVar[WorkitemState]
    WORKITEM_STATE_COMPLETED: _ClassVar[WorkitemState]
    WORKITEM_STATE_CANCELED: _ClassVar[WorkitemState]
WORKITEM_STATE_UNSPECIFIED: WorkitemState
WORKITEM_STATE_SCHEDULED: WorkitemState
WORKITEM_STATE_IN_PROGRESS: WorkitemState
WORKITEM_STATE_COMPLETED: WorkitemState
WORKITEM_STATE_CANCELED: WorkitemState

class CreateWorkitemRequest(_message.Message):
    __slots__ = ("partition", "workitem_uid", "dicom_json", "create_partition")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    CREATE_PARTITION_FIELD_NUMBER: _ClassVar[int]
    partition: str
    workitem_uid: str
    dicom_json: bytes
    create_partition: bool
    def __init__(self, partition: _Optional[str] = ..., workitem_uid: _Optional[str] = ..., dicom_json: _Optional[bytes] = ..., create_partition: _Optional[bool] = ...) -> None: ...

class CreateWorkitemResponse(_message.Message):
    __slots__ = ("workitem_uid",)
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    workitem_uid: str
    def __init__(self, workitem_uid: _Optional[str] = ...) -> None: ...

class GetWorkitemRequest(_message.Message):
    __slots__ = ("partition", "workitem_uid")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    partition: str
    workitem_uid: str
    def __init__(self, partition: _Optional[str] = ..., workitem_uid: _Optional[str] = ...) -> None: ...

class GetWorkitemResponse(_message.Message):
    __slots__ = ("dicom_json",)
    DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    dicom_json: bytes
    def __init__(self, dicom_json: _Optional[bytes] = ...) -> None: ...

class UpdateWorkitemRequest(_message.Message):
    __slots__ = ("partition", "workitem_uid", "transaction_uid", "dicom_json")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_UID_FIELD_NUMBER: _ClassVar[int]
    DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    partition: str
    workitem_uid: str
    transaction_uid: str
    dicom_json: bytes
    def __init__(self, partition: _Optional[str] = ..., workitem_uid: _Optional[str] = ..., transaction_uid: _Optional[str] = ..., dicom_json: _Optional[bytes] = ...) -> None: ...

class UpdateWorkitemResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChangeWorkitemStateRequest(_message.Message):
    __slots__ = ("partition", "workitem_uid", "transaction_uid", "state")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_UID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    partition: str
    workitem_uid: str
    transaction_uid: str
    state: WorkitemState
    def __init__(self, partition: _Optional[str] = ..., workitem_uid: _Optional[str] = ..., transaction_uid: _Optional[str] = ..., state: _Optional[_Union[WorkitemState, str]] = ...) -> None: ...

class ChangeWorkitemStateResponse(_message.Message):
    __slots__ = ("unchanged",)
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    unchanged: bool
    def __init__(self, unchanged: _Optional[bool] = ...) -> None: ...

class RequestWorkitemCancellationRequest(_message.Message):
    __slots__ = ("partition", "workitem_uid", "dicom_json", "requesting_ae")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUESTING_AE_FIELD_NUMBER: _ClassVar[int]
    partition: str
    workitem_uid: str
    dicom_json: bytes
    requesting_ae: str
    def __init__(self, partition: _Optional[str] = ..., workitem_uid: _Optional[str] = ..., dicom_json: _Optional[bytes] = ..., requesting_ae: _Optional[str] = ...) -> None: ...

class RequestWorkitemCancellationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WorkitemTerm(_message.Message):
    __slots__ = ("attribute", "values")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attribute: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchWorkitemsRequest(_message.Message):
    __slots__ = ("partition", "terms", "fuzzy_matching", "empty_value_matching", "include_attributes", "include_all", "page_size", "page_token", "skip", "strict", "total_count")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    FUZZY_MATCHING_FIELD_NUMBER: _ClassVar[int]
    EMPTY_VALUE_MATCHING_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ALL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    partition: str
    terms: _containers.RepeatedCompositeFieldContainer[WorkitemTerm]
    fuzzy_matching: bool
    empty_value_matching: bool
    include_attributes: _containers.RepeatedScalarFieldContainer[str]
    include_all: bool
    page_size: int
    page_token: str
    skip: int
    strict: bool
    total_count: bool
    def __init__(self, partition: _Optional[str] = ..., terms: _Optional[_Iterable[_Union[WorkitemTerm, _Mapping]]] = ..., fuzzy_matching: _Optional[bool] = ..., empty_value_matching: _Optional[bool] = ..., include_attributes: _Optional[_Iterable[str]] = ..., include_all: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., skip: _Optional[int] = ..., strict: _Optional[bool] = ..., total_count: _Optional[bool] = ...) -> None: ...

class WorkitemMatch(_message.Message):
    __slots__ = ("workitem_uid", "dicom_json")
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    workitem_uid: str
    dicom_json: bytes
    def __init__(self, workitem_uid: _Optional[str] = ..., dicom_json: _Optional[bytes] = ...) -> None: ...

class SearchWorkitemsResponse(_message.Message):
    __slots__ = ("matches", "next_page_token", "ignored_attributes", "total_count")
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    IGNORED_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[WorkitemMatch]
    next_page_token: str
    ignored_attributes: _containers.RepeatedScalarFieldContainer[str]
    total_count: int
    def __init__(self, matches: _Optional[_Iterable[_Union[WorkitemMatch, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., ignored_attributes: _Optional[_Iterable[str]] = ..., total_count: _Optional[int] = ...) -> None: ...
