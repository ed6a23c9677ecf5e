"""Shared by the tests of this folder: reading a file, and pydicom's JSON for comparison."""

import contextlib
import json
import warnings
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from server.dicom.ingest.reader import Description, InstanceReader
from server.model.instance import ValidationMode

LENIENT = ValidationMode.LENIENT
INDEXED_STRICT = ValidationMode.INDEXED_STRICT
STRICT = ValidationMode.STRICT
MAX_HEADER_BYTES = 1 << 24


def read(
    data: bytes | memoryview,
    mode: ValidationMode = LENIENT,
    *,
    chunk: int = 1 << 20,
    max_header_bytes: int = MAX_HEADER_BYTES,
) -> Description:
    """Read a file in chunks, which are views if `data` is one, and in windows of the same size.

    Small windows show differences between the paths of the reader for complete and for incomplete elements.
    """
    reader = InstanceReader(mode, max_header_bytes, window_bytes=(chunk, chunk))
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    return reader.finish()


def json_of(description: Description) -> dict[str, Any]:
    """Return the metadata as a dict."""
    parsed: dict[str, Any] = json.loads(description.dicom_json)
    return parsed


def pydicom_json(data: bytes) -> dict[str, Any] | None:
    """Return pydicom's JSON of a file, element by element; None if pydicom cannot read the file.

    Elements that pydicom cannot convert to JSON are omitted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            whole = pydicom.dcmread(BytesIO(data))
        except Exception:  # noqa: BLE001 - whatever pydicom raises
            return None
        return _elements(whole)


def differences(actual: dict[str, Any], expected: dict[str, Any], path: str = "") -> list[str]:
    """Return the paths at which two data sets differ, except for intended differences.

    These are bulk data, Available Transfer Syntax UID, group 0002, and group lengths, which canonical JSON omits.
    """
    found = []
    for tag in sorted((actual.keys() | expected.keys()) - {"00083002"}):
        if tag.startswith("0002") or (tag.endswith("0000") and tag not in actual):
            continue
        mine, other = actual.get(tag), expected.get(tag)
        if mine is None or other is None:
            found.append(f"{path}{tag}: {mine} is not {other}")
        elif "BulkDataURI" in mine:
            if mine["BulkDataURI"] != f"bulkdata:{path}{tag}":
                found.append(f"{path}{tag}: {mine}")
        elif mine["vr"] == other["vr"] == "SQ":
            items, others = mine.get("Value", []), other.get("Value", [])
            if len(items) != len(others):
                found.append(f"{path}{tag}: {len(items)} items, not {len(others)}")
            for number, (item, its_other) in enumerate(zip(items, others, strict=False), 1):
                found += differences(item, its_other, f"{path}{tag}/{number}/")
        elif mine != other:
            found.append(f"{path}{tag}: {mine} is not {other}")
    return found


def _elements(data_set: Dataset) -> dict[str, Any]:
    found = {}
    for tag in list(data_set.keys()):
        with contextlib.suppress(Exception):
            found[f"{tag:08X}"] = _element(data_set, tag)
    return found


def _element(data_set: Dataset, tag: Any) -> dict[str, Any]:
    element = data_set[tag]
    if element.VR == "SQ":
        return {"vr": "SQ", "Value": [_elements(item) for item in element.value]}
    made = element.to_json_dict(None, 1024)
    unit = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}.get(element.VR, 1)
    if "InlineBinary" in made and not data_set.original_encoding[1] and unit > 1:
        # pydicom keeps the words of binary values in the byte order of the file; canonical JSON has little endian.
        value = element.value
        swapped = b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))
        made["InlineBinary"] = pydicom.DataElement(tag, "OB", swapped).to_json_dict(None, 1024)["InlineBinary"]
    # With several values, one that JSON cannot represent would fail later.
    json.dumps(made, allow_nan=False)
    return made
