import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from dicomstore.v1 import search_service_pb2 as _search_service_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TransferState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSFER_STATE_UNSPECIFIED: _ClassVar[TransferState]
    TRANSFER_STATE_WAITING: _ClassVar[TransferState]
    TRANSFER_STATE_RUNNING: _ClassVar[TransferState]
    TRANSFER_STATE_SUCCEEDED: _ClassVar[TransferState]
    TRANSFER_STATE_FAILED: _ClassVar[TransferState]
    TRANSFER_STATE_CANCELED: _ClassVar[TransferState]

class RetrieveMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRIEVE_METHOD_UNSPECIFIED: _ClassVar[RetrieveMethod]
    RETRIEVE_METHOD_MOVE: _ClassVar[RetrieveMethod]
    RETRIEVE_METHOD_GET: _ClassVar[RetrieveMethod]
TRANSFER_STATE_UNSPECIFIED: TransferState
TRANSFER_STATE_WAITING: TransferState
TRANSFER_STATE_RUNNING: TransferState
TRANSFER_STATE_SUCCEEDED: TransferState
TRANSFER_STATE_FAILED: TransferState
TRANSFER_STATE_CANCELED: TransferState
RETRIEVE_METHOD_UNSPECIFIED: RetrieveMethod
RETRIEVE_METHOD_MOVE: RetrieveMethod
RETRIEVE_METHOD_GET: RetrieveMethod

class Pull(_message.Message):
    __slots__ = ("resources", "keys", "method")
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Address]
    keys: _containers.RepeatedCompositeFieldContainer[_search_service_pb2.Term]
    method: RetrieveMethod
    def __init__(self, resources: _Optional[_Iterable[_Union[_resources_pb2.Address, _Mapping]]] = ..., keys: _Optional[_Iterable[_Union[_search_service_pb2.Term, _Mapping]]] = ..., method: _Optional[_Union[RetrieveMethod, str]] = ...) -> None: ...

class Send(_message.Message):
    __slots__ = ("resources",)
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Address]
    def __init__(self, resources: _Optional[_Iterable[_Union[_resources_pb2.Address, _Mapping]]] = ...) -> None: ...

class Notification(_message.Message):
    __slots__ = ("study",)
    STUDY_FIELD_NUMBER: _ClassVar[int]
    study: _resources_pb2.Address
    def __init__(self, study: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ...) -> None: ...

class CommitmentReport(_message.Message):
    __slots__ = ("transaction_uid", "ae_title")
    TRANSACTION_UID_FIELD_NUMBER: _ClassVar[int]
    AE_TITLE_FIELD_NUMBER: _ClassVar[int]
    transaction_uid: str
    ae_title: str
    def __init__(self, transaction_uid: _Optional[str] = ..., ae_title: _Optional[str] = ...) -> None: ...

class TransferProgress(_message.Message):
    __slots__ = ("total", "completed", "failed", "warnings")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    total: int
    completed: int
    failed: int
    warnings: int
    def __init__(self, total: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., warnings: _Optional[int] = ...) -> None: ...

class Transfer(_message.Message):
    __slots__ = ("id", "partition", "remote", "pull", "send", "notification", "commitment_report", "state", "attempts", "next_attempt_time", "progress", "problem", "create_time", "update_time", "creator", "rule")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    PULL_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_REPORT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    id: str
    partition: str
    remote: str
    pull: Pull
    send: Send
    notification: Notification
    commitment_report: CommitmentReport
    state: TransferState
    attempts: int
    next_attempt_time: _timestamp_pb2.Timestamp
    progress: TransferProgress
    problem: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    creator: str
    rule: str
    def __init__(self, id: _Optional[str] = ..., partition: _Optional[str] = ..., remote: _Optional[str] = ..., pull: _Optional[_Union[Pull, _Mapping]] = ..., send: _Optional[_Union[Send, _Mapping]] = ..., notification: _Optional[_Union[Notification, _Mapping]] = ..., commitment_report: _Optional[_Union[CommitmentReport, _Mapping]] = ..., state: _Optional[_Union[TransferState, str]] = ..., attempts: _Optional[int] = ..., next_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., progress: _Optional[_Union[TransferProgress, _Mapping]] = ..., problem: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., creator: _Optional[str] = ..., rule: _Optional[str] = ...) -> None: ...

class CreateTransferRequest(_message.Message):
    __slots__ = ("partition", "remote", "pull", "send", "notification", "commitment_report", "request_id", "rule", "claim")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    PULL_FIELD_NUMBER: _ClassVar[int]
    SEND_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_REPORT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    partition: str
    remote: str
    pull: Pull
    send: Send
    notification: Notification
    commitment_report: CommitmentReport
    request_id: str
    rule: str
    claim: bool
    def __init__(self, partition: _Optional[str] = ..., remote: _Optional[str] = ..., pull: _Optional[_Union[Pull, _Mapping]] = ..., send: _Optional[_Union[Send, _Mapping]] = ..., notification: _Optional[_Union[Notification, _Mapping]] = ..., commitment_report: _Optional[_Union[CommitmentReport, _Mapping]] = ..., request_id: _Optional[str] = ..., rule: _Optional[str] = ..., claim: _Optional[bool] = ...) -> None: ...

class CreateTransferResponse(_message.Message):
    __slots__ = ("transfer", "lease", "lease_duration")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    lease: str
    lease_duration: _duration_pb2.Duration
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ..., lease: _Optional[str] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetTransferRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetTransferResponse(_message.Message):
    __slots__ = ("transfer",)
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ...) -> None: ...

class ListTransfersRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "states", "remote", "partition")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[TransferState]
    remote: str
    partition: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[TransferState, str]]] = ..., remote: _Optional[str] = ..., partition: _Optional[str] = ...) -> None: ...

class ListTransfersResponse(_message.Message):
    __slots__ = ("transfers", "next_page_token")
    TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    transfers: _containers.RepeatedCompositeFieldContainer[Transfer]
    next_page_token: str
    def __init__(self, transfers: _Optional[_Iterable[_Union[Transfer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelTransferRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelTransferResponse(_message.Message):
    __slots__ = ("transfer",)
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ...) -> None: ...

class RetryTransferRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class RetryTransferResponse(_message.Message):
    __slots__ = ("transfer",)
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ...) -> None: ...

class ClaimTransfersRequest(_message.Message):
    __slots__ = ("max_transfers", "wait_seconds")
    MAX_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    max_transfers: int
    wait_seconds: int
    def __init__(self, max_transfers: _Optional[int] = ..., wait_seconds: _Optional[int] = ...) -> None: ...

class ClaimedTransfer(_message.Message):
    __slots__ = ("transfer", "lease", "cursor", "traceparent")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    lease: str
    cursor: str
    traceparent: str
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ..., lease: _Optional[str] = ..., cursor: _Optional[str] = ..., traceparent: _Optional[str] = ...) -> None: ...

class ClaimTransfersResponse(_message.Message):
    __slots__ = ("transfers", "lease_duration")
    TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    transfers: _containers.RepeatedCompositeFieldContainer[ClaimedTransfer]
    lease_duration: _duration_pb2.Duration
    def __init__(self, transfers: _Optional[_Iterable[_Union[ClaimedTransfer, _Mapping]]] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TransferOutcome(_message.Message):
    __slots__ = ("problem", "permanent")
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    PERMANENT_FIELD_NUMBER: _ClassVar[int]
    problem: str
    permanent: bool
    def __init__(self, problem: _Optional[str] = ..., permanent: _Optional[bool] = ...) -> None: ...

class ReportTransferRequest(_message.Message):
    __slots__ = ("id", "lease", "progress", "cursor", "outcome")
    ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    id: str
    lease: str
    progress: TransferProgress
    cursor: str
    outcome: TransferOutcome
    def __init__(self, id: _Optional[str] = ..., lease: _Optional[str] = ..., progress: _Optional[_Union[TransferProgress, _Mapping]] = ..., cursor: _Optional[str] = ..., outcome: _Optional[_Union[TransferOutcome, _Mapping]] = ...) -> None: ...

class ReportTransferResponse(_message.Message):
    __slots__ = ("leased",)
    LEASED_FIELD_NUMBER: _ClassVar[int]
    leased: bool
    def __init__(self, leased: _Optional[bool] = ...) -> None: ...
