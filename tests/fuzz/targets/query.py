"""Query strings of searches, metadata and rendered resources. The input is the query as sent."""

from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote

from dicomstore.v1.search_service_pb2 import SearchRequest, Term
from starlette.requests import Request

from facade.endpoints.qido import Scope, returned_attributes
from facade.errors import Refusal
from facade.request.metadata import selection_of
from facade.request.query import Parameter, accepted_media_ranges, parameters_of, prefers_strict
from facade.request.rendering import form_of, rendered_request
from facade.request.search_query import MAX_ROWS, Search, parse_search, shown_names
from facade.versions import INSTANCE, SERIES, STUDY, VERSIONS
from tests.fuzz.target import require

Result = TypeVar("Result")

_QUERIES = [
    "",
    "PatientName=Doe*&limit=10&offset=5&includefield=all",
    "00100020=P1&StudyDate=20200101-20201231&includefield=00081030,StudyDescription&fuzzymatching=true",
    "StudyInstanceUID=1.2.3%5C1.2.4&0020000E=1.2,1.3&emptyvaluematching=false&totalcount=TRUE",
    "PriorRecordKey=AAECAwQFBgcICQoL&includefield=RecordKey&pagetoken=abcdefghijklmnopqrstuv",
    "accept=application/dicom%2Bjson&charset=utf-8&accept=*/*;q=0.1",
    "window=40.5,400,linear-exact&viewport=512,512,,,100,-200.5&quality=90&iccprofile=srgb&annotation=patient,technique",
    "viewport=,256&window=-1e3,1",
    "limit=99999999999999999999&offset=-1",
    "ScheduledProcedureStepSequence.Modality=CT&x=%&y=%C3%28&=1&&a==b&%3C=%00",
    "includefield=all,PatientName&excludefield=PixelData&limit=0",
    "PatientName=<script>",
    "PatientName=%F0%9F%98%80%ED%A0%80+a+%2B",
]


def seeds() -> Iterator[bytes]:
    """Yield queries of clients and malformed ones."""
    for query in _QUERIES:
        yield query.encode()


def check(data: bytes) -> None:
    """Check that every query gives parameters of the contract, or a refusal with a short text."""
    lenient = _request(data, strict=False)
    parameters = _unless_refused(lambda: parameters_of(lenient))
    if parameters is None:
        return
    require(len(parameters) <= data.count(b"&") + 1, "a pair gives one parameter")
    again = _unless_refused(lambda: parameters_of(_request(_written(parameters), strict=False)))
    require(again == parameters, "parameters can be written and read")

    search = _unless_refused(lambda: parse_search(parameters, strict=False))
    strict = _unless_refused(lambda: parse_search(parameters, strict=True))
    for found in (search, strict):
        if found is not None:
            _check_search(found)
    require(strict is None or search is not None, "what strict handling accepts is accepted")
    _check_others(_request(data, strict=False), parameters)
    _check_others(_request(data, strict=True), parameters)


def _check_search(search: Search) -> None:
    require(1 <= search.limit <= MAX_ROWS, "the limit is bounded")
    require(0 <= search.offset < 2**63, "the offset is bounded")
    for level in (STUDY, SERIES, INSTANCE):
        request = SearchRequest(
            level=level,
            terms=[Term(attribute=name, values=values) for name, values in search.terms.items()],
            include_attributes=returned_attributes(search, Scope(level, (level,)), VERSIONS["v2"]),
            page_token=search.page_token,
            prior_record_key=search.prior_record_key,
            skip=search.offset,
        )
        request.SerializeToString()
    shown = shown_names(list(search.terms))
    require(
        len(shown) <= 20 * 66 and shown.isascii() and shown.isprintable(), "names in headers are short and printable"
    )


def _check_others(request: Request, parameters: list[Parameter]) -> None:
    _unless_refused(lambda: accepted_media_ranges(request))
    selection = _unless_refused(lambda: selection_of(parameters))
    if selection is not None:
        require(selection.tag.isascii() and selection.tag.isprintable(), "an entity tag is printable")
    rendered = _unless_refused(lambda: rendered_request(request))
    if rendered is not None:
        require(form_of(rendered).isalnum() or "-" in form_of(rendered), "an entity tag is printable")
        require(0 <= rendered.viewport.width <= 32767 and 0 <= rendered.viewport.height <= 32767, "images are bounded")
    prefers_strict(request)


def _unless_refused(parse: Callable[[], Result]) -> Result | None:
    try:
        return parse()
    except Refusal as refusal:
        require(refusal.status in (400, 406), "a malformed query is 400 or 406")
        require(len(refusal.text) < 2000 and refusal.text.isprintable(), "texts of errors are short and printable")
        return None


def _request(query: bytes, *, strict: bool) -> Request:
    headers = [(b"prefer", b"handling=strict")] if strict else []
    return Request({"type": "http", "query_string": query, "headers": headers})


def _written(parameters: list[Parameter]) -> bytes:
    return "&".join(f"{quote(each.name, safe='')}={quote(each.value, safe='')}" for each in parameters).encode()
