"""Query parameters of rendered resources (PS3.18 section 8.3.5), and acceptable media types."""

import pytest
from dicomstore.v1 import retrieve_service_pb2 as pb
from starlette.requests import Request

from facade.errors import Refusal
from facade.request.accept import parse_accept
from facade.request.catalogue import DOCUMENTS, MOVING, STILL
from facade.request.rendering import (
    acceptable_media_types,
    form_of,
    parse_viewport,
    parse_window,
    rendered_request,
    wants_envelope,
)

ALL = (*STILL, *MOVING, *DOCUMENTS)


def request(query: str = "", accept: str | None = None) -> Request:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    return Request({"type": "http", "query_string": query.encode(), "headers": headers})


def welcome(accept: str | None, query: str = "", possible: tuple[str, ...] = ALL) -> list[str]:
    return acceptable_media_types(request(query, accept), possible)[0]


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("40,400,linear", pb.Window(center=40, width=400, function=pb.WINDOW_FUNCTION_LINEAR)),
        (" -600.5 , 1500 , SIGMOID ", pb.Window(center=-600.5, width=1500, function=pb.WINDOW_FUNCTION_SIGMOID)),
        ("1e3,0.5,linear-exact", pb.Window(center=1000, width=0.5, function=pb.WINDOW_FUNCTION_LINEAR_EXACT)),
        ("40,400", pb.Window(center=40, width=400)),
        ("40,400,", pb.Window(center=40, width=400)),
    ],
)
def test_a_window_is_center_width_and_function(text: str, window: pb.Window) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize(
    "text",
    ["40", "40,x", "40,0,linear", "40,-1", "40,0.5,linear", "40,400,square", "1,2,linear,4", ",,", "nan,1", "inf,1"],
)
def test_an_invalid_window_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="'Window' is invalid") as caught:
        parse_window(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "viewport"),
    [
        ("256,256", pb.Viewport(width=256, height=256)),
        ("256.0, 128", pb.Viewport(width=256, height=128)),
        ("512,,", pb.Viewport(width=512)),
        (
            "100,200,1.5,2,-30,40",
            pb.Viewport(width=100, height=200, source_x=1.5, source_y=2, source_width=-30, source_height=40),
        ),
        ("100,200,,,30,40", pb.Viewport(width=100, height=200, source_width=30, source_height=40)),
    ],
)
def test_a_viewport_is_a_size_and_an_optional_source_region(text: str, viewport: pb.Viewport) -> None:
    assert parse_viewport(text) == viewport


@pytest.mark.parametrize("text", ["256", "a,b", "-1,256", "40000,1", "1,2,3,4,5,6,7", ",", "256;256"])
def test_an_invalid_viewport_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="'Viewport' is invalid"):
        parse_viewport(text)


def test_parameter_names_are_not_case_sensitive() -> None:
    wanted = rendered_request(
        request("Quality=75&annotation=patient%2CTechnique&ICCProfile=sRGB&Window=1,2,linear&viewport=3,4&x=y")
    )
    assert wanted == pb.RetrieveRenderedRequest(
        quality=75,
        annotations=[pb.ANNOTATION_PATIENT, pb.ANNOTATION_TECHNIQUE],
        icc_profile=pb.ICC_PROFILE_SRGB,
        window=pb.Window(center=1, width=2, function=pb.WINDOW_FUNCTION_LINEAR),
        viewport=pb.Viewport(width=3, height=4),
    )


def test_without_parameters_the_request_is_empty() -> None:
    assert rendered_request(request()) == pb.RetrieveRenderedRequest()


@pytest.mark.parametrize(
    "query", ["quality=0", "quality=101", "quality=x", "quality=1.5", "iccprofile=cmyk", "annotation=physician"]
)
def test_unknown_values_are_refused(query: str) -> None:
    with pytest.raises(Refusal) as caught:
        rendered_request(request(query))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("query", "value"),
    [("iccprofile=cmyk", "'cmyk'"), ("annotation=patient,physician", "'physician'"), ("window=1,2,cubic", "'cubic'")],
)
def test_a_refusal_names_the_unknown_value_and_the_possible_ones(query: str, value: str) -> None:
    with pytest.raises(Refusal, match=f"{value} is not among "):
        rendered_request(request(query))


@pytest.mark.parametrize(
    ("accept", "names"),
    [
        (None, ["*/*"]),
        ("", ["*/*"]),
        (" ", ["*/*"]),
        ("*/*", ["*/*"]),
        ("image/*", ["image/*"]),
        ("image/", ["image/*"]),
        ("image/png", ["image/png"]),
        ("image/jpg", ["image/jpeg"]),
        ("application/jpeg, image/jpeg;q=0.5, image/png;q=0.8", ["image/png", "image/jpeg"]),
        ('multipart/related; type="image/png"', ["image/png"]),
        ("multipart/related;type=image/jpeg", ["image/jpeg"]),
        ("multipart/related", ["*/*"]),
        ("text/plain", ["text/plain"]),
        ("video/*", ["video/*"]),
        # Accept headers of browsers for images and pages
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", ["image/*", "*/*"]),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
            ["text/html", "*/*"],
        ),
        ("image/apng", ["image/apng"]),
        ("image/gif, */*;q=0.1", ["image/gif", "*/*"]),
    ],
)
def test_possible_media_types_are_ordered_by_preference(accept: str | None, names: list[str]) -> None:
    assert welcome(accept) == names


@pytest.mark.parametrize(
    "accept", ["application/jpeg", "image/tiff", "nonsense", "image/jpeg;q=0", "application/dicom"]
)
def test_impossible_media_types_are_refused_with_the_possible_ones(accept: str) -> None:
    with pytest.raises(Refusal, match="Possible are image/jpeg, image/png") as caught:
        welcome(accept)
    assert caught.value.status == 406


@pytest.mark.parametrize("accept", ["image/gif", "text/html", "application/pdf", "video/mp4", "text/plain"])
def test_frames_are_still_images(accept: str) -> None:
    with pytest.raises(Refusal):
        welcome(accept, possible=STILL)


def test_the_parameter_overrides_the_header() -> None:
    header = 'multipart/related; type="application/octet-stream"'
    names, media_ranges = acceptable_media_types(request("accept=image%2Fjpeg", header), STILL)
    assert names == ["image/jpeg"]
    assert not wants_envelope(media_ranges, "image/jpeg")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ('multipart/related; type="image/png"', True),
        ('multipart/related; type="*/*"', True),
        ("image/png", False),
        ('image/png, multipart/related; type="image/png"', False),
        ('image/jpeg, multipart/related; type="image/*";q=0.5', True),
        ("", False),
    ],
)
def test_the_first_media_range_that_covers_the_type_decides_on_multipart(accept: str, expected: bool) -> None:
    assert wants_envelope(parse_accept(accept), "image/png") is expected


def test_a_form_depends_on_the_parameters_and_not_on_the_client() -> None:
    wanted = pb.RetrieveRenderedRequest(quality=5)
    same, other = pb.RetrieveRenderedRequest(quality=5), pb.RetrieveRenderedRequest(quality=6)
    same.resource.study_instance_uid = "1.2"
    same.range.offset_bytes = 3
    assert form_of(wanted) == form_of(same) != form_of(other)
    assert same.resource.study_instance_uid == "1.2"
