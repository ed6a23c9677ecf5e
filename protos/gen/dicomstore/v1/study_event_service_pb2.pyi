import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StudyEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STUDY_EVENT_KIND_UNSPECIFIED: _ClassVar[StudyEventKind]
    STUDY_EVENT_KIND_STABLE: _ClassVar[StudyEventKind]
    STUDY_EVENT_KIND_UPDATED: _ClassVar[StudyEventKind]
    STUDY_EVENT_KIND_DELETED: _ClassVar[StudyEventKind]
    STUDY_EVENT_KIND_RESTORED: _ClassVar[StudyEventKind]
STUDY_EVENT_KIND_UNSPECIFIED: StudyEventKind
STUDY_EVENT_KIND_STABLE: StudyEventKind
STUDY_EVENT_KIND_UPDATED: StudyEventKind
STUDY_EVENT_KIND_DELETED: StudyEventKind
STUDY_EVENT_KIND_RESTORED: StudyEventKind

class StudyEvent(_message.Message):
    __slots__ = ("number", "id", "kind", "time", "study", "last_sequence", "instances", "created", "updated", "deleted", "restored")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STUDY_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    number: int
    id: str
    kind: StudyEventKind
    time: _timestamp_pb2.Timestamp
    study: _resources_pb2.Address
    last_sequence: int
    instances: int
    created: int
    updated: int
    deleted: int
    restored: int
    def __init__(self, number: _Optional[int] = ..., id: _Optional[str] = ..., kind: _Optional[_Union[StudyEventKind, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., study: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., last_sequence: _Optional[int] = ..., instances: _Optional[int] = ..., created: _Optional[int] = ..., updated: _Optional[int] = ..., deleted: _Optional[int] = ..., restored: _Optional[int] = ...) -> None: ...

class ListStudyEventsRequest(_message.Message):
    __slots__ = ("after_number", "page_size")
    AFTER_NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    after_number: int
    page_size: int
    def __init__(self, after_number: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListStudyEventsResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[StudyEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[StudyEvent, _Mapping]]] = ...) -> None: ...

class WatchStudyEventsRequest(_message.Message):
    __slots__ = ("after_number", "checkpoint_interval")
    AFTER_NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    after_number: int
    checkpoint_interval: _duration_pb2.Duration
    def __init__(self, after_number: _Optional[int] = ..., checkpoint_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchStudyEventsResponse(_message.Message):
    __slots__ = ("events", "checkpoint_number")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_NUMBER_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[StudyEvent]
    checkpoint_number: int
    def __init__(self, events: _Optional[_Iterable[_Union[StudyEvent, _Mapping]]] = ..., checkpoint_number: _Optional[int] = ...) -> None: ...
