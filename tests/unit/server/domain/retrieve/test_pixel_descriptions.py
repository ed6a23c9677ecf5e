"""Image attributes extracted from large metadata (server/domain/retrieve/pixel_descriptions.py)."""

from typing import Any

import orjson
import pytest

from server.domain.retrieve.pixel_descriptions import _selected

ROWS = {"00280010": {"vr": "US", "Value": [7]}}
PIXELS = {"7FE00010": {"vr": "OB", "BulkDataURI": "bulkdata:7FE00010"}}
OVERLAY = {"60000010": {"vr": "US", "Value": [3]}, "60000100": {"vr": "US", "Value": [1]}}
FRAMES = {"52009230": {"vr": "SQ", "Value": [{"00280010": {"vr": "US", "Value": [9]}}] * 3}}
ICON = {"00880200": {"vr": "SQ", "Value": [{"00280010": {"vr": "US", "Value": [1]}, **FRAMES, **PIXELS}]}}
SIGNATURE = {"FFFAFFFA": {"vr": "SQ", "Value": [{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "]},"}]}}]}}
TEXT = {"00104000": {"vr": "LT", "Value": ['"52009230":{"vr":"SQ","Value":[}]},']}}
PRIVATE = {"53010010": {"vr": "SQ", "Value": [{"00280010": {"vr": "US", "Value": [2]}}]}}


@pytest.mark.parametrize("rest", [{}, SIGNATURE, TEXT, PRIVATE, ICON, SIGNATURE | TEXT | ICON])
@pytest.mark.parametrize("frames", [{}, FRAMES, {"52009230": {"vr": "SQ", "Value": []}}])
@pytest.mark.parametrize("overlay", [{}, OVERLAY])
def test_image_attributes_are_found_before_and_after_per_frame_functional_groups(
    rest: dict[str, Any], frames: dict[str, Any], overlay: dict[str, Any]
) -> None:
    metadata = orjson.dumps(dict(sorted((ROWS | PIXELS | overlay | frames | rest).items())))
    expected = ROWS | PIXELS | ({"60000100": OVERLAY["60000100"]} if overlay else {})
    assert _selected(metadata) == expected
