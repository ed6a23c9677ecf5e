from dicomstore.v1 import access_options_pb2 as _access_options_pb2
from dicomstore.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QueryLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUERY_LEVEL_UNSPECIFIED: _ClassVar[QueryLevel]
    QUERY_LEVEL_STUDY: _ClassVar[QueryLevel]
    QUERY_LEVEL_SERIES: _ClassVar[QueryLevel]
    QUERY_LEVEL_INSTANCE: _ClassVar[QueryLevel]
    QUERY_LEVEL_PATIENT: _ClassVar[QueryLevel]
QUERY_LEVEL_UNSPECIFIED: QueryLevel
QUERY_LEVEL_STUDY: QueryLevel
QUERY_LEVEL_SERIES: QueryLevel
QUERY_LEVEL_INSTANCE: QueryLevel
QUERY_LEVEL_PATIENT: QueryLevel

class Term(_message.Message):
    __slots__ = ("attribute", "values")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attribute: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class SortKey(_message.Message):
    __slots__ = ("attribute", "descending")
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    DESCENDING_FIELD_NUMBER: _ClassVar[int]
    attribute: str
    descending: bool
    def __init__(self, attribute: _Optional[str] = ..., descending: _Optional[bool] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("level", "scope", "terms", "fuzzy_matching", "include_attributes", "include_all", "page_size", "page_token", "skip", "strict", "empty_value_matching", "total_count", "retrieve_url_base", "prior_record_key", "include_labels", "external_metadata", "sort", "relational")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    FUZZY_MATCHING_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ALL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    EMPTY_VALUE_MATCHING_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    RETRIEVE_URL_BASE_FIELD_NUMBER: _ClassVar[int]
    PRIOR_RECORD_KEY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_LABELS_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_METADATA_FIELD_NUMBER: _ClassVar[int]
    SORT_FIELD_NUMBER: _ClassVar[int]
    RELATIONAL_FIELD_NUMBER: _ClassVar[int]
    level: QueryLevel
    scope: _resources_pb2.Address
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    fuzzy_matching: bool
    include_attributes: _containers.RepeatedScalarFieldContainer[str]
    include_all: bool
    page_size: int
    page_token: str
    skip: int
    strict: bool
    empty_value_matching: bool
    total_count: bool
    retrieve_url_base: str
    prior_record_key: bytes
    include_labels: bool
    external_metadata: bool
    sort: _containers.RepeatedCompositeFieldContainer[SortKey]
    relational: bool
    def __init__(self, level: _Optional[_Union[QueryLevel, str]] = ..., scope: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ..., fuzzy_matching: _Optional[bool] = ..., include_attributes: _Optional[_Iterable[str]] = ..., include_all: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., skip: _Optional[int] = ..., strict: _Optional[bool] = ..., empty_value_matching: _Optional[bool] = ..., total_count: _Optional[bool] = ..., retrieve_url_base: _Optional[str] = ..., prior_record_key: _Optional[bytes] = ..., include_labels: _Optional[bool] = ..., external_metadata: _Optional[bool] = ..., sort: _Optional[_Iterable[_Union[SortKey, _Mapping]]] = ..., relational: _Optional[bool] = ...) -> None: ...

class SearchMatch(_message.Message):
    __slots__ = ("resource", "dicom_json")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    DICOM_JSON_FIELD_NUMBER: _ClassVar[int]
    resource: _resources_pb2.Address
    dicom_json: bytes
    def __init__(self, resource: _Optional[_Union[_resources_pb2.Address, _Mapping]] = ..., dicom_json: _Optional[bytes] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("matches", "next_page_token", "ignored_attributes", "erroneous_attributes", "total_count")
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    IGNORED_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ERRONEOUS_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[SearchMatch]
    next_page_token: str
    ignored_attributes: _containers.RepeatedScalarFieldContainer[str]
    erroneous_attributes: _containers.RepeatedScalarFieldContainer[str]
    total_count: int
    def __init__(self, matches: _Optional[_Iterable[_Union[SearchMatch, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., ignored_attributes: _Optional[_Iterable[str]] = ..., erroneous_attributes: _Optional[_Iterable[str]] = ..., total_count: _Optional[int] = ...) -> None: ...
