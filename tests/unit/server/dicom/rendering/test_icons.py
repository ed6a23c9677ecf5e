"""Icons of objects without image."""

from io import BytesIO

import pytest
from PIL import Image

from server.dicom.rendering import draw_icon
from server.model.rendering import DrawIcon, IconKind, ImageFormat, Output, Viewport


@pytest.mark.parametrize("format_", [ImageFormat.JPEG, ImageFormat.PNG])
@pytest.mark.parametrize("kind", list(IconKind))
def test_each_kind_has_an_icon(kind: IconKind, format_: ImageFormat) -> None:
    icon = draw_icon(DrawIcon(kind, Output(format=format_)))
    image = Image.open(BytesIO(icon))
    assert f"image/{(image.format or '').lower()}" == format_.value
    assert image.size == (128, 128)
    dark, light = image.getextrema()
    assert dark < 110  # type: ignore[operator]
    assert light > 240  # type: ignore[operator]
    assert len(icon) < 8192


def test_all_icons_differ() -> None:
    icons = {draw_icon(DrawIcon(kind, Output(format=ImageFormat.PNG))) for kind in IconKind}
    assert len(icons) == len(IconKind)


@pytest.mark.parametrize(
    ("viewport", "side"),
    [
        (Viewport(), 128),
        (Viewport(64, 64), 64),
        (Viewport(300, 200), 200),
        (Viewport(50, 0), 50),
        (Viewport(32767, 32767), 1024),
        (Viewport(1, 1), 16),
    ],
)
def test_icons_are_square_and_fit(viewport: Viewport, side: int) -> None:
    icon = draw_icon(DrawIcon(IconKind.REPORT, Output(viewport=viewport)))
    assert Image.open(BytesIO(icon)).size == (side, side)
