import datetime

from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import search_service_pb2 as _search_service_pb2
from dicomstore.v1 import webhook_service_pb2 as _webhook_service_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StudyQuery(_message.Message):
    __slots__ = ("terms", "fuzzy_matching", "empty_value_matching")
    TERMS_FIELD_NUMBER: _ClassVar[int]
    FUZZY_MATCHING_FIELD_NUMBER: _ClassVar[int]
    EMPTY_VALUE_MATCHING_FIELD_NUMBER: _ClassVar[int]
    terms: _containers.RepeatedCompositeFieldContainer[_search_service_pb2.Term]
    fuzzy_matching: bool
    empty_value_matching: bool
    def __init__(self, terms: _Optional[_Iterable[_Union[_search_service_pb2.Term, _Mapping]]] = ..., fuzzy_matching: _Optional[bool] = ..., empty_value_matching: _Optional[bool] = ...) -> None: ...

class WorkitemRule(_message.Message):
    __slots__ = ("id", "label", "query", "partitions", "template", "enabled", "create_time", "creator", "workitems", "waiting", "problem", "last_failure_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    WORKITEMS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILURE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    label: str
    query: StudyQuery
    partitions: _containers.RepeatedScalarFieldContainer[str]
    template: bytes
    enabled: bool
    create_time: _timestamp_pb2.Timestamp
    creator: str
    workitems: int
    waiting: int
    problem: str
    last_failure_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., label: _Optional[str] = ..., query: _Optional[_Union[StudyQuery, _Mapping]] = ..., partitions: _Optional[_Iterable[str]] = ..., template: _Optional[bytes] = ..., enabled: _Optional[bool] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., creator: _Optional[str] = ..., workitems: _Optional[int] = ..., waiting: _Optional[int] = ..., problem: _Optional[str] = ..., last_failure_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateWorkitemRuleRequest(_message.Message):
    __slots__ = ("label", "query", "partitions", "template")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    label: str
    query: StudyQuery
    partitions: _containers.RepeatedScalarFieldContainer[str]
    template: bytes
    def __init__(self, label: _Optional[str] = ..., query: _Optional[_Union[StudyQuery, _Mapping]] = ..., partitions: _Optional[_Iterable[str]] = ..., template: _Optional[bytes] = ...) -> None: ...

class CreateWorkitemRuleResponse(_message.Message):
    __slots__ = ("rule",)
    RULE_FIELD_NUMBER: _ClassVar[int]
    rule: WorkitemRule
    def __init__(self, rule: _Optional[_Union[WorkitemRule, _Mapping]] = ...) -> None: ...

class GetWorkitemRuleRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetWorkitemRuleResponse(_message.Message):
    __slots__ = ("rule",)
    RULE_FIELD_NUMBER: _ClassVar[int]
    rule: WorkitemRule
    def __init__(self, rule: _Optional[_Union[WorkitemRule, _Mapping]] = ...) -> None: ...

class ListWorkitemRulesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkitemRulesResponse(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[WorkitemRule]
    def __init__(self, rules: _Optional[_Iterable[_Union[WorkitemRule, _Mapping]]] = ...) -> None: ...

class UpdateWorkitemRuleRequest(_message.Message):
    __slots__ = ("id", "label", "query", "partitions", "template", "enabled")
    ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    id: str
    label: str
    query: StudyQuery
    partitions: _webhook_service_pb2.TextList
    template: bytes
    enabled: bool
    def __init__(self, id: _Optional[str] = ..., label: _Optional[str] = ..., query: _Optional[_Union[StudyQuery, _Mapping]] = ..., partitions: _Optional[_Union[_webhook_service_pb2.TextList, _Mapping]] = ..., template: _Optional[bytes] = ..., enabled: _Optional[bool] = ...) -> None: ...

class UpdateWorkitemRuleResponse(_message.Message):
    __slots__ = ("rule",)
    RULE_FIELD_NUMBER: _ClassVar[int]
    rule: WorkitemRule
    def __init__(self, rule: _Optional[_Union[WorkitemRule, _Mapping]] = ...) -> None: ...

class DeleteWorkitemRuleRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteWorkitemRuleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
