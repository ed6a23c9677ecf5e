"""Kinds of objects, and media types of documents and videos."""

import pytest

from server.dicom.presentation.object_kinds import KIND_OF_CLASS, Kind, document_media_type, kind_of, video_media_type
from server.model.instance import PixelLayout
from server.model.rendering import IconKind

STORAGE = "1.2.840.10008.5.1.4.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
PIXELS = PixelLayout(1, 100, 10, 8, 80)


@pytest.mark.parametrize(
    ("sop_class", "kind"),
    [
        (f"{STORAGE}.88.11", Kind.REPORT),
        (f"{STORAGE}.88.59", Kind.REPORT),
        (f"{STORAGE}.104.1", Kind.DOCUMENT),
        (f"{STORAGE}.104.5", Kind.DOCUMENT),
        (f"{STORAGE}.9.1.1", Kind.WAVEFORM),
        (f"{STORAGE}.11.1", Kind.PRESENTATION),
        (f"{STORAGE}.481.5", Kind.RT_PLAN),
        (f"{STORAGE}.481.8", Kind.RT_PLAN),
        (f"{STORAGE}.481.3", Kind.RT_STRUCTURE),
        (f"{STORAGE}.66.5", Kind.SEGMENTATION),
        (f"{STORAGE}.66", Kind.OTHER),
        (f"{STORAGE}.67", Kind.OTHER),
        (f"{STORAGE}.2", Kind.OTHER),
        (f"{STORAGE}.90.1", Kind.OTHER),
        ("1.2.3.4", Kind.OTHER),
    ],
)
def test_the_sop_class_decides_without_pixel_data(sop_class: str, kind: Kind) -> None:
    assert kind_of(sop_class, EXPLICIT, None) is kind


def test_pixel_data_makes_an_image_for_any_sop_class() -> None:
    for sop_class in (*KIND_OF_CLASS, "1.2.3.4", f"{STORAGE}.66.4", f"{STORAGE}.481.2"):
        assert kind_of(sop_class, EXPLICIT, PIXELS) is Kind.IMAGE


def test_an_unknown_class_is_classified_by_its_attributes() -> None:
    assert kind_of("1.2.3", EXPLICIT, None, {"00420011"}) is Kind.DOCUMENT
    assert kind_of("1.2.3", EXPLICIT, None, {"0040A730"}) is Kind.REPORT
    assert kind_of("1.2.3", EXPLICIT, None, {"00100010"}) is Kind.OTHER


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [
        ("100", "video/mpeg"),
        ("101.1", "video/mpeg"),
        ("102", "video/mp4"),
        ("106.1", "video/mp4"),
        ("108", "video/mp4"),
        ("90", None),
        ("109", None),
    ],
)
def test_videos_are_recognised_by_transfer_syntax(suffix: str, media_type: str | None) -> None:
    syntax = f"1.2.840.10008.1.2.4.{suffix}"
    assert video_media_type(syntax) == media_type
    assert kind_of(f"{STORAGE}.77.1.1.1", syntax, PIXELS) is (Kind.VIDEO if media_type else Kind.IMAGE)


@pytest.mark.parametrize(
    ("sop_class", "named", "media_type"),
    [
        (f"{STORAGE}.104.1", "application/pdf", "application/pdf"),
        (f"{STORAGE}.104.2", "text/XML", "text/xml"),
        (f"{STORAGE}.104.3", "", "model/stl"),
        (f"{STORAGE}.104.1", "application/pdf; charset=x\r\nX: y", "application/pdf"),
        (f"{STORAGE}.104.1", "text/html\r\nX-Evil: 1", "application/pdf"),
        ("1.2.3", "no media type", "application/octet-stream"),
    ],
)
def test_a_document_has_the_media_type_of_the_data_set_if_valid(sop_class: str, named: str, media_type: str) -> None:
    assert document_media_type(sop_class, named) == media_type


def test_every_kind_has_an_icon() -> None:
    assert {kind.value for kind in Kind} == {icon.value for icon in IconKind}
