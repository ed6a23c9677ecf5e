"""Accept headers of real clients and their negotiation (PS3.18 section 8.7)."""

import pytest

from facade.request.accept import (
    MediaRange,
    Offer,
    acceptable,
    accepts_json,
    negotiate,
    offer_for,
    parse_accept,
    parse_media_type,
    prefers_gzip,
    prefers_xml,
)
from facade.request.catalogue import Resource

ELE = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
J2K = "1.2.840.10008.1.2.4.90"
STUDY, INSTANCE, FRAMES, BULK = Resource.STUDY, Resource.INSTANCE, Resource.FRAMES, Resource.BULK_DATA

DICOM = "application/dicom"
OCTETS = "application/octet-stream"


def offers(resource: Resource, accept: str) -> list[tuple[str, str, bool]]:
    return [
        (offer.transfer_syntax, offer.media_type, offer.multipart)
        for offer in negotiate(resource, parse_accept(accept))
    ]


MULTIPART_DICOM_AS_STORED = [("*", DICOM, True)]
MULTIPART_DICOM_BY_DEFAULT = [(ELE, DICOM, True), ("*", DICOM, True)]
IMAGES_AND_FILMS = 'multipart/related; type="image/*", multipart/related; type="video/*"'
FRAMES_AS_STORED = [("*", OCTETS, True)]
FRAMES_BY_DEFAULT = [(ELE, OCTETS, True), ("*", OCTETS, True)]


@pytest.mark.parametrize(
    ("client", "resource", "accept", "expected"),
    [
        # Frames
        ("Cornerstone3D", FRAMES, "multipart/related; type=application/octet-stream; transfer-syntax=*", "stored"),
        ("Slim", FRAMES, 'multipart/related; type="application/octet-stream"; transfer-syntax=*', "stored"),
        ("OHIF", FRAMES, 'multipart/related; type="application/octet-stream"; transfer-syntax="*"', "stored"),
        ("OHIF twice", FRAMES, 'multipart/related; type="application/octet-stream"; transfer-syntax=*; '
         'transfer-syntax="1.2.840.10008.1.2.4.90"', "stored"),
        ("ez-wsi", FRAMES, 'multipart/related; transfer-syntax=*; type="application/octet-stream"', "stored"),
        ("no spaces", FRAMES, 'multipart/related;type="application/octet-stream";transfer-syntax=*', "stored"),
        ("capitals", FRAMES, 'Multipart/Related; Type="Application/Octet-Stream"; Transfer-Syntax=*', "stored"),
        ("any", FRAMES, "*/*", "stored"),
        ("dcmjs", FRAMES, 'multipart/related; type="application/octet-stream"', "default"),
        ("no type", FRAMES, "multipart/related", "default"),
    ],
)  # fmt: skip
def test_frame_requests_of_clients_are_accepted(client: str, resource: Resource, accept: str, expected: str) -> None:
    assert offers(resource, accept) == (FRAMES_AS_STORED if expected == "stored" else FRAMES_BY_DEFAULT)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ('multipart/related; type="image/jp2"; transfer-syntax="1.2.840.10008.1.2.4.90"', [(J2K, "image/jp2", True)]),
        ("multipart/related; type=image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90", [(J2K, "image/jp2", True)]),
        ('multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50', [(JPEG, "image/jpeg", True)]),
        ('multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.4.50',
         [(JPEG, OCTETS, True)]),
        (f"application/octet-stream; transfer-syntax={ELE}", [(ELE, OCTETS, False)]),
        ("application/octet-stream; transfer-syntax=*", [("*", OCTETS, False)]),
        ("application/octet-stream", [(ELE, OCTETS, False), ("*", OCTETS, False)]),
        ("image/jls", [("1.2.840.10008.1.2.4.80", "image/jls", False), ("1.2.840.10008.1.2.4.81", "image/jls", False)]),
        ('multipart/related; type="image/x-dicom-rle"; transfer-syntax=1.2.840.10008.1.2.5',
         [("1.2.840.10008.1.2.5", "image/x-dicom-rle", True)]),
        ('multipart/related; type="image/dicom-rle"', [("1.2.840.10008.1.2.5", "image/dicom-rle", True)]),
        ('multipart/related; type="image/", multipart/related; type="video/"', offers(FRAMES, IMAGES_AND_FILMS)),
        ('multipart/related; type="image/jp2"',
         [(J2K, "image/jp2", True), ("1.2.840.10008.1.2.4.91", "image/jp2", True)]),
        ('multipart/related; type="image/jp2"; transfer-syntax=*',
         [("*", "image/jp2", True)]),
    ],
)  # fmt: skip
def test_a_compressed_form_of_a_frame_can_be_requested(accept: str, expected: list[tuple[str, str, bool]]) -> None:
    assert offers(FRAMES, accept) == expected


@pytest.mark.parametrize(
    ("syntax", "label"),
    [
        (ELE, OCTETS),
        ("1.2.840.10008.1.2", OCTETS),
        ("1.2.840.10008.1.2.5", "image/dicom-rle"),
        (JPEG, "image/jpeg"),
        ("1.2.840.10008.1.2.4.51", "image/jpeg"),
        ("1.2.840.10008.1.2.4.70", "image/jpeg"),
        ("1.2.840.10008.1.2.4.81", "image/jls"),
        (J2K, "image/jp2"),
        ("1.2.840.10008.1.2.4.202", "image/jphc"),
        ("1.2.840.10008.1.2.4.102", "video/mp4"),
        ("1.2.3", OCTETS),
    ],
)
def test_parts_of_any_type_have_the_media_type_of_their_transfer_syntax(syntax: str, label: str) -> None:
    (offer,) = negotiate(FRAMES, parse_accept('multipart/related; type="*/*"'))

    assert (offer.covers(syntax), offer.label(syntax)) == (True, label)


def test_all_transfer_syntaxes_of_a_media_type_have_equal_quality_and_lossy_ones_are_last() -> None:
    syntaxes, qualities, _ = acceptable(
        negotiate(FRAMES, parse_accept('multipart/related; type="image/jpeg"'))
    ).values()

    assert syntaxes == [f"1.2.840.10008.1.2.4.{suffix}" for suffix in ("70", "57", "51", "50")]
    assert qualities == [1.0] * 4


def test_as_stored_is_limited_to_the_named_media_type() -> None:
    (offer,) = negotiate(FRAMES, parse_accept('multipart/related; type="image/jpeg"; transfer-syntax=*'))

    assert offer.transfer_syntax == "*"
    assert (offer.covers(JPEG), offer.covers(ELE), offer.covers(J2K)) == (True, False, False)


def test_media_types_of_equal_quality_have_equal_quality_for_the_core() -> None:
    accept = 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50, '
    accept += 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90'

    syntaxes, qualities, _ = acceptable(negotiate(FRAMES, parse_accept(accept))).values()
    assert (syntaxes, qualities) == ([JPEG, J2K], [1.0, 1.0])


def test_substitutes_rank_between_named_forms_and_less_preferred_ones() -> None:
    accept = f"application/dicom;q=0.5, */*;q=0.5, application/dicom; transfer-syntax={J2K}; q=0.499"
    syntaxes, qualities, _ = acceptable(negotiate(INSTANCE, parse_accept(accept))).values()

    assert syntaxes == [ELE, "*", J2K]
    assert qualities == pytest.approx([0.5, 0.4999, 0.499], abs=1e-9)


@pytest.mark.parametrize("resource", [STUDY, INSTANCE])
def test_a_wildcard_can_have_a_transfer_syntax(resource: Resource) -> None:
    assert offers(resource, f"*/*; transfer-syntax={ELE}") == [(ELE, DICOM, True)]


@pytest.mark.parametrize("resource", [STUDY, INSTANCE])
def test_whole_objects_are_available_as_a_zip_archive(resource: Resource) -> None:
    assert offers(resource, "application/zip") == [("*", "application/zip", False)]
    assert offers(resource, f"application/zip; transfer-syntax={ELE}") == [(ELE, "application/zip", False)]
    assert offers(resource, 'multipart/related; type="application/zip"') == []


@pytest.mark.parametrize("name", ["image/jphc", "image/jhc"])
def test_all_names_of_htj2k_mean_its_three_transfer_syntaxes(name: str) -> None:
    assert [syntax for syntax, _, _ in offers(FRAMES, f'multipart/related; type="{name}"')] == [
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.202",
        "1.2.840.10008.1.2.4.203",
    ]


@pytest.mark.parametrize(
    ("client", "accept", "expected"),
    [
        ("dcmjs", 'multipart/related; type="application/dicom"', MULTIPART_DICOM_BY_DEFAULT),
        ("unquoted", "multipart/related; type=application/dicom", MULTIPART_DICOM_BY_DEFAULT),
        ("python", 'multipart/related; type="application/dicom"; transfer-syntax=*', MULTIPART_DICOM_AS_STORED),
        ("Weasis", 'multipart/related;type="application/dicom";transfer-syntax=*', MULTIPART_DICOM_AS_STORED),
        ("ez-wsi", 'multipart/related; transfer-syntax=*; type="application/dicom"', MULTIPART_DICOM_AS_STORED),
        ("dicomtrolley", "*/*", MULTIPART_DICOM_AS_STORED),
        ("explicit", f'multipart/related; type="application/dicom"; transfer-syntax={ELE}', [(ELE, DICOM, True)]),
    ],
)
@pytest.mark.parametrize("resource", [STUDY, INSTANCE])
def test_instance_requests_of_clients_are_accepted(
    resource: Resource, client: str, accept: str, expected: list[tuple[str, str, bool]]
) -> None:
    assert offers(resource, accept) == expected


def test_one_instance_can_be_requested_without_multipart() -> None:
    assert offers(INSTANCE, "application/dicom; transfer-syntax=*") == [("*", DICOM, False)]
    assert offers(INSTANCE, "application/dicom") == [(ELE, DICOM, False), ("*", DICOM, False)]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", [("*", OCTETS, False)]),
        ("application/octet-stream; transfer-syntax=*", [("*", OCTETS, False)]),
        ('multipart/related; type="application/octet-stream"', FRAMES_BY_DEFAULT),
        ('multipart/related; type="*/*"', FRAMES_AS_STORED),
        ("", []),
    ],
)
def test_bulk_data_is_the_body_unless_multipart_is_requested(
    accept: str, expected: list[tuple[str, str, bool]]
) -> None:
    assert offers(BULK, accept) == expected


@pytest.mark.parametrize(
    ("resource", "accept"),
    [
        (STUDY, ""),
        (STUDY, "application/dicom"),
        (STUDY, 'multipart/related; type="application/octet-stream"'),
        (STUDY, "application/dicom+json"),
        (INSTANCE, "text/html"),
        (INSTANCE, "application/dicom; q=0"),
        (INSTANCE, "application/dicom; transfer-syntax=nonsense"),
        (FRAMES, 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.90'),
        (FRAMES, "application/dicom"),
        (FRAMES, "application/jpeg"),
        (FRAMES, "nonsense"),
        (BULK, "image/jpeg"),
    ],
)
def test_unavailable_forms_are_not_offered(resource: Resource, accept: str) -> None:
    assert offers(resource, accept) == []


def test_one_acceptable_entry_of_a_list_is_enough() -> None:
    assert offers(FRAMES, 'image/png, nonsense/, ;;, */*;q=2, multipart/related; type="*/*"') == [("*", "*/*", True)]


def test_a_list_is_offered_in_the_order_of_quality() -> None:
    accept = (
        'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90; q=0.5, '
        'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50; q=0.9, '
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1;q=0.1"
    )

    assert offers(FRAMES, accept) == [(JPEG, "image/jpeg", True), (J2K, "image/jp2", True), (ELE, OCTETS, False)]


def test_the_stored_form_comes_first_among_equals() -> None:
    accept = f"application/dicom; transfer-syntax={ELE}, application/dicom; transfer-syntax=*"

    assert offers(INSTANCE, accept) == [("*", DICOM, False), (ELE, DICOM, False)]
    assert offers(INSTANCE, accept + ";q=0.9") == [(ELE, DICOM, False), ("*", DICOM, False)]


def test_a_browser_gets_the_form_of_its_wildcard() -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

    assert offers(INSTANCE, browser) == MULTIPART_DICOM_AS_STORED


def test_the_response_has_the_media_type_of_the_selected_offer() -> None:
    made = [Offer(JPEG, "image/jpeg", True), Offer("*", OCTETS, True)]

    assert offer_for(made, JPEG) == made[0]
    assert offer_for(made, J2K) == made[1]
    assert offer_for(made[:1], J2K) is None


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json",
        "application/dicom+json, application/json",
        "application/json",
        "application/*",
        "*/*",
        "APPLICATION/DICOM+JSON; charset=utf-8",
        "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*",
        'multipart/related; type="application/dicom+xml", application/dicom+json;q=0.5',
    ],
)
def test_json_is_accepted(accept: str) -> None:
    assert accepts_json(parse_accept(accept))


@pytest.mark.parametrize(
    "accept", ["", "application/dicom", "application/data", "text/html", "application/dicom+xml", "*/*;q=0", ","]
)
def test_json_is_not_accepted(accept: str) -> None:
    assert not accepts_json(parse_accept(accept))


@pytest.mark.parametrize(
    ("accept", "xml"),
    [
        ("application/dicom+xml", True),
        ("application/dicom+xml, application/dicom+json", True),
        ("application/dicom+json, application/dicom+xml", False),
        ("application/dicom+xml;q=0.5, application/dicom+json", False),
        ("application/dicom+json;q=0.5, application/dicom+xml", True),
        ("*/*", False),
        ("text/html", False),
    ],
)
def test_xml_is_used_if_the_client_prefers_it(accept: str, xml: bool) -> None:
    assert prefers_xml(parse_accept(accept)) is xml


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ('multipart/related; type="application/dicom"; boundary="a b;,c"', "multipart/related",
         {"type": "application/dicom", "boundary": "a b;,c"}),
        ("multipart/related;type=application/dicom;boundary=0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1", "multipart/related",
         {"type": "application/dicom", "boundary": "0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"}),
        ('application/dicom; transfer-syntax="1.2\\\\3"', "application/dicom", {"transfer-syntax": "1.2\\3"}),
        ("Application/DICOM", "application/dicom", {}),
        ("multipart/related; boundary==a=b=", "multipart/related", {"boundary": "=a=b="}),
    ],
)  # fmt: skip
def test_content_types_are_parsed_as_leniently(text: str, name: str, parameters: dict[str, str]) -> None:
    assert parse_media_type(text) == MediaRange(name, parameters)


@pytest.mark.parametrize("text", ["", ";", "nonsense", "a/b/c", "/"])
def test_an_invalid_media_type_is_none(text: str) -> None:
    assert parse_media_type(text) is None


@pytest.mark.parametrize(
    "header",
    ["gzip", "gzip, deflate, br, zstd", "GZIP", "x-gzip", "*", "deflate, gzip;q=1.0, *;q=0.5", "gzip;q=0.1",
     "identity;q=0.5, gzip;q=0.8", "identity;q=0, gzip ; q=0.2", "gzip, identity", "*;q=0, gzip", "br;q=7, gzip"],
)  # fmt: skip
def test_gzip_is_preferred_if_accept_encoding_ranks_it_first(header: str) -> None:
    assert prefers_gzip([header])


@pytest.mark.parametrize(
    "header",
    ["", "identity", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "br, deflate", "identity, gzip;q=0.5", "gzip;q=0, x-gzip",
     "gzip;q=2", "gzip;level=9", "gzipped", "gzip;q=0.5, *", "identity;q=0"],
)  # fmt: skip
def test_gzip_is_not_preferred_otherwise(header: str) -> None:
    assert not prefers_gzip([header])


def test_accept_encoding_may_be_in_several_headers_or_missing() -> None:
    assert prefers_gzip(["br", "gzip"])
    assert not prefers_gzip([])
