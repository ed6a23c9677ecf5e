"""Reduced metadata for rendering: gives the same presentation, at any size."""

from typing import Any

import orjson
import pytest

from server.dicom.elements.canonical_json import Attributes
from server.dicom.pixel_data.image_pixel_module import describe_pixels
from server.dicom.presentation.presentation import bulk_needed, presentation_of
from server.dicom.presentation.presentation_attributes import essentials
from server.model.errors import DicomStoreError, WrongState
from server.model.pixels import PixelDescription
from tests.corpus import corpus
from tests.unit.server.dicom.reading import read


def enhanced(frames: int, filler: int = 0) -> dict[str, Any]:
    """Return a data set whose frames have three different slopes."""
    items = [
        {
            "00209111": {"vr": "SQ", "Value": [{"00209157": {"vr": "UL", "Value": [number]}}]},
            "00289145": {"vr": "SQ", "Value": [{"00281053": {"vr": "DS", "Value": [1.5 + number % 3]}}]},
            "00280999": {"vr": "LT", "Value": ['quoted "]} text' + "x" * filler]},
        }
        for number in range(frames)
    ]
    return {
        "00280010": {"vr": "US", "Value": [4]},
        "00400275": {"vr": "SQ", "Value": [{"00400007": {"vr": "LO", "Value": ["much"]}}]},
        "52009230": {"vr": "SQ", "Value": items},
        "60000010": {"vr": "US", "Value": [4]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "bulkdata:7FE00010"},
    }


@pytest.mark.parametrize("filler", [0, 3000])
def test_per_frame_items_keep_needed_attributes_and_share_equal_ones(filler: int) -> None:
    found = essentials(orjson.dumps(enhanced(300, filler)))
    frames = found.attributes["52009230"]["Value"]
    assert [presentation_of(found.attributes, {}, number).slope for number in (1, 2, 3, 300)] == [1.5, 2.5, 3.5, 3.5]
    assert len(frames) == 300
    assert len({id(frame) for frame in frames}) == 3
    assert set(found.attributes) == {"00280010", "52009230", "60000010", "7FE00010"}
    assert found.cost_bytes < 20_000


@pytest.mark.parametrize("filler", [0, 300_000])
def test_an_empty_per_frame_sequence_is_ignored(filler: int) -> None:
    data_set = enhanced(0) | {"00081030": {"vr": "LO", "Value": ["x" * filler]}}
    assert "52009230" not in essentials(orjson.dumps(data_set)).attributes
    assert "52009230" not in essentials(orjson.dumps(data_set | {"52009230": {"vr": "SQ"}})).attributes


def test_reduced_metadata_of_the_corpus_gives_the_same_presentation() -> None:
    compared = 0
    for path in corpus():
        try:
            dicom_json = read(path.read_bytes()).dicom_json
        except DicomStoreError:
            continue
        whole, kept = orjson.loads(dicom_json), essentials(dicom_json).attributes
        assert bulk_needed(kept) == bulk_needed(whole), path
        for frame in (1, 2):
            assert presentation_of(kept, {}, frame) == presentation_of(whole, {}, frame), path
        assert pixels_of(kept) == pixels_of(whole), path
        compared += 1
    assert compared > 150


def pixels_of(attributes: Attributes) -> PixelDescription | None:
    try:
        return describe_pixels(attributes)
    except WrongState:
        return None
