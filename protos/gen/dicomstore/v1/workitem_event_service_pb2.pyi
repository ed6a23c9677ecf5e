import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import workitem_service_pb2 as _workitem_service_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkitemEventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKITEM_EVENT_TYPE_UNSPECIFIED: _ClassVar[WorkitemEventType]
    WORKITEM_EVENT_TYPE_STATE_REPORT: _ClassVar[WorkitemEventType]
    WORKITEM_EVENT_TYPE_CANCEL_REQUESTED: _ClassVar[WorkitemEventType]
    WORKITEM_EVENT_TYPE_PROGRESS_REPORT: _ClassVar[WorkitemEventType]
    WORKITEM_EVENT_TYPE_ASSIGNED: _ClassVar[WorkitemEventType]
WORKITEM_EVENT_TYPE_UNSPECIFIED: WorkitemEventType
WORKITEM_EVENT_TYPE_STATE_REPORT: WorkitemEventType
WORKITEM_EVENT_TYPE_CANCEL_REQUESTED: WorkitemEventType
WORKITEM_EVENT_TYPE_PROGRESS_REPORT: WorkitemEventType
WORKITEM_EVENT_TYPE_ASSIGNED: WorkitemEventType

class WorkitemEvent(_message.Message):
    __slots__ = ("position", "workitem_uid", "type", "time", "dicom_json")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    position: int
    workitem_uid: str
    type: WorkitemEventType
    time: _timestamp_pb2.Timestamp
    dicom_json: bytes
    def __init__(self, position: _Optional[int] = ..., workitem_uid: _Optional[str] = ..., type: _Optional[_Union[WorkitemEventType, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dicom_json: _Optional[bytes] = ...) -> None: ...

class SubscribeToWorkitemsRequest(_message.Message):
    __slots__ = ("partition", "workitem_uid", "ae_title", "deletion_lock", "terms", "fuzzy_matching", "empty_value_matching", "strict")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    AE_TITLE_FIELD_NUMBER: _ClassVar[int]
    DELETION_LOCK_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    FUZZY_MATCHING_FIELD_NUMBER: _ClassVar[int]
    EMPTY_VALUE_MATCHING_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    partition: str
    workitem_uid: str
    ae_title: str
    deletion_lock: bool
    terms: _containers.RepeatedCompositeFieldContainer[_workitem_service_pb2.WorkitemTerm]
    fuzzy_matching: bool
    empty_value_matching: bool
    strict: bool
    def __init__(self, partition: _Optional[str] = ..., workitem_uid: _Optional[str] = ..., ae_title: _Optional[str] = ..., deletion_lock: _Optional[bool] = ..., terms: _Optional[_Iterable[_Union[_workitem_service_pb2.WorkitemTerm, _Mapping]]] = ..., fuzzy_matching: _Optional[bool] = ..., empty_value_matching: _Optional[bool] = ..., strict: _Optional[bool] = ...) -> None: ...

class SubscribeToWorkitemsResponse(_message.Message):
    __slots__ = ("ignored_attributes",)
    IGNORED_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ignored_attributes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ignored_attributes: _Optional[_Iterable[str]] = ...) -> None: ...

class UnsubscribeFromWorkitemsRequest(_message.Message):
    __slots__ = ("partition", "workitem_uid", "ae_title")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_UID_FIELD_NUMBER: _ClassVar[int]
    AE_TITLE_FIELD_NUMBER: _ClassVar[int]
    partition: str
    workitem_uid: str
    ae_title: str
    def __init__(self, partition: _Optional[str] = ..., workitem_uid: _Optional[str] = ..., ae_title: _Optional[str] = ...) -> None: ...

class UnsubscribeFromWorkitemsResponse(_message.Message):
    __slots__ = ("unchanged",)
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    unchanged: bool
    def __init__(self, unchanged: _Optional[bool] = ...) -> None: ...

class SuspendWorklistSubscriptionRequest(_message.Message):
    __slots__ = ("partition", "ae_title")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    AE_TITLE_FIELD_NUMBER: _ClassVar[int]
    partition: str
    ae_title: str
    def __init__(self, partition: _Optional[str] = ..., ae_title: _Optional[str] = ...) -> None: ...

class SuspendWorklistSubscriptionResponse(_message.Message):
    __slots__ = ("unchanged",)
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    unchanged: bool
    def __init__(self, unchanged: _Optional[bool] = ...) -> None: ...

class ListWorkitemSubscribersRequest(_message.Message):
    __slots__ = ("partition", "after_ae_title", "page_size")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    AFTER_AE_TITLE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    partition: str
    after_ae_title: str
    page_size: int
    def __init__(self, partition: _Optional[str] = ..., after_ae_title: _Optional[str] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListWorkitemSubscribersResponse(_message.Message):
    __slots__ = ("subscribers",)
    SUBSCRIBERS_FIELD_NUMBER: _ClassVar[int]
    subscribers: _containers.RepeatedCompositeFieldContainer[WorkitemSubscriber]
    def __init__(self, subscribers: _Optional[_Iterable[_Union[WorkitemSubscriber, _Mapping]]] = ...) -> None: ...

class WorkitemSubscriber(_message.Message):
    __slots__ = ("ae_title", "worklist", "has_earlier_worklist", "workitems", "locked_workitems", "pending_events", "update_time")
    AE_TITLE_FIELD_NUMBER: _ClassVar[int]
    WORKLIST_FIELD_NUMBER: _ClassVar[int]
    HAS_EARLIER_WORKLIST_FIELD_NUMBER: _ClassVar[int]
    WORKITEMS_FIELD_NUMBER: _ClassVar[int]
    LOCKED_WORKITEMS_FIELD_NUMBER: _ClassVar[int]
    PENDING_EVENTS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ae_title: str
    worklist: WorklistSubscription
    has_earlier_worklist: bool
    workitems: int
    locked_workitems: int
    pending_events: int
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, ae_title: _Optional[str] = ..., worklist: _Optional[_Union[WorklistSubscription, _Mapping]] = ..., has_earlier_worklist: _Optional[bool] = ..., workitems: _Optional[int] = ..., locked_workitems: _Optional[int] = ..., pending_events: _Optional[int] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WorklistSubscription(_message.Message):
    __slots__ = ("deletion_lock", "terms")
    DELETION_LOCK_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    deletion_lock: bool
    terms: _containers.RepeatedCompositeFieldContainer[_workitem_service_pb2.WorkitemTerm]
    def __init__(self, deletion_lock: _Optional[bool] = ..., terms: _Optional[_Iterable[_Union[_workitem_service_pb2.WorkitemTerm, _Mapping]]] = ...) -> None: ...

class ReceiveWorkitemEventsRequest(_message.Message):
    __slots__ = ("partition", "ae_title", "checkpoint_interval")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    AE_TITLE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    partition: str
    ae_title: str
    checkpoint_interval: _duration_pb2.Duration
    def __init__(self, partition: _Optional[str] = ..., ae_title: _Optional[str] = ..., checkpoint_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReceiveWorkitemEventsResponse(_message.Message):
    __slots__ = ("events", "checkpoint")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[WorkitemEvent]
    checkpoint: str
    def __init__(self, events: _Optional[_Iterable[_Union[WorkitemEvent, _Mapping]]] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class AcknowledgeWorkitemEventsRequest(_message.Message):
    __slots__ = ("partition", "ae_title", "checkpoint")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    AE_TITLE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    partition: str
    ae_title: str
    checkpoint: str
    def __init__(self, partition: _Optional[str] = ..., ae_title: _Optional[str] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class AcknowledgeWorkitemEventsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchWorkitemsRequest(_message.Message):
    __slots__ = ("partition", "terms", "fuzzy_matching", "empty_value_matching", "strict", "after_position", "include_workitems", "checkpoint_interval")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    FUZZY_MATCHING_FIELD_NUMBER: _ClassVar[int]
    EMPTY_VALUE_MATCHING_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    AFTER_POSITION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_WORKITEMS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    partition: str
    terms: _containers.RepeatedCompositeFieldContainer[_workitem_service_pb2.WorkitemTerm]
    fuzzy_matching: bool
    empty_value_matching: bool
    strict: bool
    after_position: int
    include_workitems: bool
    checkpoint_interval: _duration_pb2.Duration
    def __init__(self, partition: _Optional[str] = ..., terms: _Optional[_Iterable[_Union[_workitem_service_pb2.WorkitemTerm, _Mapping]]] = ..., fuzzy_matching: _Optional[bool] = ..., empty_value_matching: _Optional[bool] = ..., strict: _Optional[bool] = ..., after_position: _Optional[int] = ..., include_workitems: _Optional[bool] = ..., checkpoint_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchWorkitemsResponse(_message.Message):
    __slots__ = ("events", "checkpoint_position", "events_removed", "ignored_attributes")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_POSITION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    IGNORED_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[WatchedWorkitemEvent]
    checkpoint_position: int
    events_removed: bool
    ignored_attributes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, events: _Optional[_Iterable[_Union[WatchedWorkitemEvent, _Mapping]]] = ..., checkpoint_position: _Optional[int] = ..., events_removed: _Optional[bool] = ..., ignored_attributes: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchedWorkitemEvent(_message.Message):
    __slots__ = ("event", "workitem_dicom_json")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    WORKITEM_DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    event: WorkitemEvent
    workitem_dicom_json: bytes
    def __init__(self, event: _Optional[_Union[WorkitemEvent, _Mapping]] = ..., workitem_dicom_json: _Optional[bytes] = ...) -> None: ...
