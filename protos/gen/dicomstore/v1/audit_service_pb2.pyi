import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_FORM_UNSPECIFIED: _ClassVar[AuditForm]
    AUDIT_FORM_AZURE: _ClassVar[AuditForm]
    AUDIT_FORM_DICOM: _ClassVar[AuditForm]
AUDIT_FORM_UNSPECIFIED: AuditForm
AUDIT_FORM_AZURE: AuditForm
AUDIT_FORM_DICOM: AuditForm

class AuditFilter(_message.Message):
    __slots__ = ("start_time", "end_time", "principal", "partition", "study_instance_uid", "series_instance_uid", "sop_instance_uid", "action", "outcome", "request_id", "client")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    STUDY_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SOP_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    principal: str
    partition: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    action: str
    outcome: str
    request_id: str
    client: str
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., principal: _Optional[str] = ..., partition: _Optional[str] = ..., study_instance_uid: _Optional[str] = ..., series_instance_uid: _Optional[str] = ..., sop_instance_uid: _Optional[str] = ..., action: _Optional[str] = ..., outcome: _Optional[str] = ..., request_id: _Optional[str] = ..., client: _Optional[str] = ...) -> None: ...

class SearchAuditEventsRequest(_message.Message):
    __slots__ = ("filter", "form", "limit", "page_token", "newest_first")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIRST_FIELD_NUMBER: _ClassVar[int]
    filter: AuditFilter
    form: AuditForm
    limit: int
    page_token: str
    newest_first: bool
    def __init__(self, filter: _Optional[_Union[AuditFilter, _Mapping]] = ..., form: _Optional[_Union[AuditForm, str]] = ..., limit: _Optional[int] = ..., page_token: _Optional[str] = ..., newest_first: _Optional[bool] = ...) -> None: ...

class AuditEvent(_message.Message):
    __slots__ = ("writer", "number", "time", "data")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    writer: str
    number: int
    time: _timestamp_pb2.Timestamp
    data: bytes
    def __init__(self, writer: _Optional[str] = ..., number: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class SearchAuditEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[AuditEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[AuditEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchAuditEventsRequest(_message.Message):
    __slots__ = ("filter", "form")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    filter: AuditFilter
    form: AuditForm
    def __init__(self, filter: _Optional[_Union[AuditFilter, _Mapping]] = ..., form: _Optional[_Union[AuditForm, str]] = ...) -> None: ...

class WatchAuditEventsResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[AuditEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[AuditEvent, _Mapping]]] = ...) -> None: ...

class VerifyAuditTrailRequest(_message.Message):
    __slots__ = ("trusted_key", "checkpoint")
    TRUSTED_KEY_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    trusted_key: str
    checkpoint: str
    def __init__(self, trusted_key: _Optional[str] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class AuditFinding(_message.Message):
    __slots__ = ("kind", "place", "message", "is_tampering")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    IS_TAMPERING_FIELD_NUMBER: _ClassVar[int]
    kind: str
    place: str
    message: str
    is_tampering: bool
    def __init__(self, kind: _Optional[str] = ..., place: _Optional[str] = ..., message: _Optional[str] = ..., is_tampering: _Optional[bool] = ...) -> None: ...

class VerifyAuditTrailResponse(_message.Message):
    __slots__ = ("is_intact", "writers", "records", "checkpoint", "key_fingerprint", "public_key", "findings")
    IS_INTACT_FIELD_NUMBER: _ClassVar[int]
    WRITERS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    KEY_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    is_intact: bool
    writers: int
    records: int
    checkpoint: str
    key_fingerprint: str
    public_key: str
    findings: _containers.RepeatedCompositeFieldContainer[AuditFinding]
    def __init__(self, is_intact: _Optional[bool] = ..., writers: _Optional[int] = ..., records: _Optional[int] = ..., checkpoint: _Optional[str] = ..., key_fingerprint: _Optional[str] = ..., public_key: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[AuditFinding, _Mapping]]] = ...) -> None: ...
