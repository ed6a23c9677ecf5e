"""Query strings of real clients, and error texts for invalid ones."""

import pytest
from starlette.requests import Request

from facade.errors import Refusal
from facade.request.query import Parameter, accepted_media_ranges, boolean, integer, parameters_of


def request(query: str, accept: str | None = None) -> Request:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    return Request({"type": "http", "query_string": query.encode(), "headers": headers})


def parameters(query: str) -> list[tuple[str, str]]:
    return [(parameter.name, parameter.value) for parameter in parameters_of(request(query))]


def test_names_may_be_repeated_and_keep_their_order() -> None:
    assert parameters("0020000E=1.2&x=1&0020000E=1.3") == [("0020000E", "1.2"), ("x", "1"), ("0020000E", "1.3")]


def test_values_are_decoded() -> None:
    assert parameters("PatientName=%2Adoe*&StudyInstanceUID=1%5C2&a=x+y%20z&b=%C3%A4") == [
        ("PatientName", "*doe*"),
        ("StudyInstanceUID", "1\\2"),
        ("a", "x y z"),
        ("b", "ä"),
    ]


def test_a_value_may_be_empty_or_missing() -> None:
    assert parameters("a=&b&&c==1") == [("a", ""), ("b", ""), ("c", "=1")]


@pytest.mark.parametrize("query", ["PatientName=<b>", "<=1", "a=%3C&b=<"])
def test_a_less_than_sign_is_refused(query: str) -> None:
    with pytest.raises(Refusal, match=r"^The query string included invalid characters\.$"):
        parameters_of(request(query))
    with pytest.raises(Refusal):
        accepted_media_ranges(request(query))


def test_a_less_than_sign_that_is_percent_encoded_is_data() -> None:
    assert parameters("StudyDescription=%3C5%3c&%3C=1") == [("StudyDescription", "<5<"), ("<", "1")]
    assert accepted_media_ranges(request("StudyDescription=%3C5&accept=image/png"))[0].name == "image/png"


def test_the_accept_parameter_overrides_the_accept_header() -> None:
    media_ranges = accepted_media_ranges(request("a=b&accept=application/dicom+json", "text/html"))

    assert [media_range.name for media_range in media_ranges] == ["application/dicom+json"]


def test_the_accept_parameter_may_be_encoded() -> None:
    media_ranges = accepted_media_ranges(request("accept=multipart%2Frelated%3B%20type%3D%22application%2Fdicom%22"))

    assert (media_ranges[0].name, media_ranges[0].parameters) == ("multipart/related", {"type": "application/dicom"})


def test_accept_parameters_add_up_and_may_be_lists() -> None:
    media_ranges = accepted_media_ranges(
        request("accept=image/png;q=0.5,image/jpeg&Accept=image/jhc&accept=", "text/html")
    )

    assert [media_range.name for media_range in media_ranges] == ["image/jpeg", "image/jhc", "image/png"]


def test_an_empty_accept_parameter_is_ignored() -> None:
    assert [media_range.name for media_range in accepted_media_ranges(request("accept=", "text/html"))] == ["text/html"]


def charset_request(query: str, accept_charset: str, prefer: str) -> Request:
    headers = [(b"accept", b"a/b"), (b"accept-charset", accept_charset.encode()), (b"prefer", prefer.encode())]
    return Request({"type": "http", "query_string": query.encode(), "headers": headers})


@pytest.mark.parametrize(
    ("query", "header"),
    [
        ("", ""),
        ("", "utf-8"),
        ("", "ISO-8859-1, UTF-8;q=0.1"),
        ("", "latin1;q=0.5, *"),
        ("charset=utf-8", "latin1"),
        ("charset=latin1,utf8", ""),
        ("charset=latin1&charset=ISO_IR+192", ""),
    ],
)
def test_a_client_that_accepts_utf_8_is_served(query: str, header: str) -> None:
    assert accepted_media_ranges(charset_request(query, header, "handling=strict"))


@pytest.mark.parametrize(
    ("query", "header"),
    [
        ("", "latin1"),
        ("", "utf-8;q=0, latin1"),
        ("charset=latin1", "utf-8"),
        ("charset=utf-8;q=0", ""),
        ("", "*;q=0.0"),
    ],
)
def test_a_client_that_does_not_accept_utf_8_gets_it_unless_strict(query: str, header: str) -> None:
    assert accepted_media_ranges(charset_request(query, header, "handling=lenient"))
    with pytest.raises(Refusal, match="utf-8") as refused:
        accepted_media_ranges(charset_request(query, header, "handling=strict"))
    assert refused.value.status == 406


def test_accept_headers_add_up() -> None:
    found = Request({"type": "http", "query_string": b"", "headers": [(b"accept", b"a/b"), (b"accept", b"c/d")]})

    assert [media_range.name for media_range in accepted_media_ranges(found)] == ["a/b", "c/d"]


@pytest.mark.parametrize("headers", [[], [(b"accept", b"")], [(b"accept", b" "), (b"accept", b"")]])
def test_no_accept_header_or_an_empty_one_accepts_everything(headers: list[tuple[bytes, bytes]]) -> None:
    found = Request({"type": "http", "query_string": b"accept=", "headers": headers})

    assert [media_range.name for media_range in accepted_media_ranges(found)] == ["*/*"]


def test_an_accept_header_without_a_valid_entry_accepts_nothing() -> None:
    found = Request({"type": "http", "query_string": b"", "headers": [(b"accept", b"nonsense")]})

    assert accepted_media_ranges(found) == []


@pytest.mark.parametrize("value", ["0", "201", "-1"])
def test_a_limit_out_of_range_is_refused_with_the_known_message(value: str) -> None:
    with pytest.raises(
        Refusal,
        match=r"^The query parameter 'Limit' is invalid\. The field Limit must be between 1 and 200\.$",
    ):
        integer([Parameter("LIMIT", value)], "limit", 100, 1, 200)


@pytest.mark.parametrize("value", ["", "x", "1.5", "٣", "9" * 30])
def test_a_limit_that_is_not_a_number_is_refused(value: str) -> None:
    with pytest.raises(Refusal, match="The query parameter 'Limit' is invalid") as refusal:
        integer([Parameter("limit", value)], "limit", 100, 1, 200)

    assert refusal.value.status == 400


def test_numbers_and_booleans_have_defaults() -> None:
    assert integer([], "limit", 100, 1, 200) == 100
    assert boolean([], "fuzzymatching", True) is True
    assert boolean([Parameter("FuzzyMatching", "False")], "fuzzymatching", True) is False


def test_an_invalid_boolean_is_refused() -> None:
    with pytest.raises(Refusal, match=r"'IncludeMetadata' is invalid\. The value 'yes' is neither true nor false\."):
        boolean([Parameter("includemetadata", "yes")], "includeMetadata", True)


@pytest.mark.parametrize("text", ["7", " 7 ", "+7", "7\x1c", "\t\x1f007\n"])
def test_white_space_around_a_number_is_ignored(text: str) -> None:
    assert integer([Parameter("offset", text)], "offset", 0, 0) == 7
