import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InstanceReference(_message.Message):
    __slots__ = ("sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid")
    SOP_CLASS_UID_FIELD_NUMBER: _ClassVar[int]
    SOP_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    STUDY_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    def __init__(self, sop_class_uid: _Optional[str] = ..., sop_instance_uid: _Optional[str] = ..., study_instance_uid: _Optional[str] = ..., series_instance_uid: _Optional[str] = ...) -> None: ...

class RequestCommitmentRequest(_message.Message):
    __slots__ = ("partition", "transaction_uid", "references")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_UID_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    partition: str
    transaction_uid: str
    references: _containers.RepeatedCompositeFieldContainer[InstanceReference]
    def __init__(self, partition: _Optional[str] = ..., transaction_uid: _Optional[str] = ..., references: _Optional[_Iterable[_Union[InstanceReference, _Mapping]]] = ...) -> None: ...

class CommitmentResult(_message.Message):
    __slots__ = ("reference", "failure_reason")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    reference: InstanceReference
    failure_reason: int
    def __init__(self, reference: _Optional[_Union[InstanceReference, _Mapping]] = ..., failure_reason: _Optional[int] = ...) -> None: ...

class Commitment(_message.Message):
    __slots__ = ("scope", "transaction_uid", "create_time", "done", "results")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_UID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    scope: _resources_pb2.Address
    transaction_uid: str
    create_time: _timestamp_pb2.Timestamp
    done: bool
    results: _containers.RepeatedCompositeFieldContainer[CommitmentResult]
    def __init__(self, scope: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., transaction_uid: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., done: _Optional[bool] = ..., results: _Optional[_Iterable[_Union[CommitmentResult, _Mapping]]] = ...) -> None: ...

class RequestCommitmentResponse(_message.Message):
    __slots__ = ("commitment",)
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    commitment: Commitment
    def __init__(self, commitment: _Optional[_Union[Commitment, _Mapping]] = ...) -> None: ...

class GetCommitmentRequest(_message.Message):
    __slots__ = ("partition", "transaction_uid")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_UID_FIELD_NUMBER: _ClassVar[int]
    partition: str
    transaction_uid: str
    def __init__(self, partition: _Optional[str] = ..., transaction_uid: _Optional[str] = ...) -> None: ...

class GetCommitmentResponse(_message.Message):
    __slots__ = ("commitment",)
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    commitment: Commitment
    def __init__(self, commitment: _Optional[_Union[Commitment, _Mapping]] = ...) -> None: ...
