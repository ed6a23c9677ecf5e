"""Search requests at the core, and extended query tags.

The input is UTF-8 text: one character that selects options, then lines `attribute=value`; other lines are attributes to
return.
"""

import contextlib
from collections.abc import Iterator

from server.dicom.elements.keywords import path_of
from server.dicom.matching.attributes import SearchKey
from server.dicom.matching.query_tags import key_of, new_tag, registered_tag
from server.domain.search import page_token, record_key
from server.domain.search.request import SearchRequest, Term, parse, private_attributes, unknown_attributes
from server.model.errors import InvalidRequest
from server.model.ids import NO_PARTITION, Address
from server.model.search.query import Between, Condition, DateTimeRange, Equals, Level, Like, NameMatches, NameWords
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagStatus
from tests.fuzz.target import require

_REQUESTS = [
    "",
    "aPatientName=Doe^J*\nStudyDate=20200101-\nStudyTime=-1200\nPatientID",
    "bPatientName=Müller=山田^太郎\nModality=CT\\MR\nStudyInstanceUID=1.2.3",
    "cStudyDate=20200101-20201231\nStudyTime=080000.5-095959\nTimezoneOffsetFromUTC=+0100",
    "dPatientBirthDate=19800229\nAcquisitionDateTime=20200101120000.123456+0100-",
    "eNumberOfSeriesRelatedInstances=5\nPatientWeight=70.5\nInstanceNumber=+007\nRows=1e3",
    'fAccessionNumber=""\nReferringPhysicianName=*\nModalitiesInStudy=?T',
    "g00400275.00400009=SPS1\nRequestAttributesSequence.ScheduledProcedureStepID=*1\n00091001=x\n00101010=045Y",
    "hPatientName=\\\\\nPatientID=\0 \nStudyDate=2020.01.01\nSeriesDate=20201301",
    "iUnknownKeyword=1\n=2\n00100010.=3\n7FE00010=4",
    "jPatientWeight=1e400\nPatientWeight=nan\nPatientSize=-0",
]


def seeds() -> Iterator[bytes]:
    """Yield requests for all levels, and malformed ones."""
    for text in _REQUESTS:
        yield text.encode()


def _tag(key: int, path: str, vr: str, level: Level) -> tuple[str, SearchKey]:
    return path, key_of(Tag(key, NewTag(path, "", vr, "", level), TagStatus.READY, QueryStatus.ENABLED, 0, ""))


_TAGS = dict([_tag(1, "00101030", "DS", Level.STUDY), _tag(2, "00080012", "DA", Level.INSTANCE)])


def check(data: bytes) -> None:
    """Check that every request gives conditions that an index can compare, or an error without values."""
    text = data.decode("utf-8", "ignore")
    option = ord(text[0]) if text else 0
    lines = text[1:].split("\n")
    pairs = [line.partition("=") for line in lines if "=" in line]
    terms: dict[str, list[str]] = {}
    for name, _, value in pairs:
        terms.setdefault(name, []).append(value)
    request = SearchRequest(
        level=Level(option % 3 + 1),
        scope=Address(NO_PARTITION, "1.2.3" if option & 4 else None),
        terms=tuple(Term(name, tuple(values)) for name, values in terms.items()),
        fuzzy_matching=bool(option & 8),
        empty_value_matching=bool(option & 16),
        include_attributes=tuple(line for line in lines if "=" not in line),
        include_all=bool(option & 32),
        strict=bool(option & 64),
    )
    _check_request(request)
    for name, _, value in pairs[:8]:
        _check_names(name, value)


def _check_request(request: SearchRequest) -> None:
    list(private_attributes(request))
    list(unknown_attributes(request))
    try:
        parsed = parse(request, _TAGS)
    except InvalidRequest as error:
        names = "\n".join([*(term.attribute for term in request.terms), *request.include_attributes])
        values = [value for term in request.terms for value in term.values if len(value) > 8 and value not in names]
        require(not any(value in error.message for value in values), "an error does not repeat values")
        return
    require(parse(request, _TAGS).identity == parsed.identity, "a page token is valid for the same request")
    token = page_token.make(7, parsed.identity)
    require(page_token.read(token, parsed.identity) == 7, "a page token can be read")
    for condition in parsed.query.conditions:
        _check_condition(condition)


def _check_condition(condition: Condition) -> None:
    for matcher in condition.matchers:
        if isinstance(matcher, Between):
            _check_range(matcher)
        elif isinstance(matcher, DateTimeRange):
            _check_range(matcher.local)
        elif isinstance(matcher, Equals):
            require(bool(matcher.values), "there are values to compare with")
        elif isinstance(matcher, Like):
            require(bool(matcher.pattern), "there is a pattern")
        elif isinstance(matcher, NameMatches):
            require(bool(matcher.patterns), "there are patterns")
        elif isinstance(matcher, NameWords):
            require(all(matcher.prefixes), "the words of names are not empty")


def _check_range(matcher: Between) -> None:
    require(matcher.low is not None or matcher.high is not None, "a range has an end")
    for end in (matcher.low, matcher.high):
        require(end is None or end.isascii(), "the ends of a range are comparable")


def _check_names(name: str, value: str) -> None:
    path = path_of(name)
    if path is not None:
        require(path_of(".".join(path)) == path, "a path can be written and read")
    with contextlib.suppress(InvalidRequest):
        tag = new_tag(name, value[:2], value[2:], Level.SERIES)
        require(path_of(tag.tag) == (tag.tag,), "an extended query tag is an attribute")
    with contextlib.suppress(InvalidRequest):
        registered_tag(name)
    with contextlib.suppress(InvalidRequest):
        page_token.read(value, b"")
    with contextlib.suppress(InvalidRequest):
        record_key.read(value.encode(), Level.STUDY, NO_PARTITION)
