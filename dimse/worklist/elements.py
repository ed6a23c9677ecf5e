"""Building and reading data sets of the DICOM JSON model by keyword."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dimse.data_sets.reading import DataSet, Element


@cache
def tag(keyword: str) -> str:
    """Return the tag of a keyword of PS3.6."""
    number = tag_for_keyword(keyword)
    if number is None:
        raise KeyError(keyword)
    return f"{number:08X}"


def element(keyword: str, *values: Any) -> Element:
    """Return an element; without values it is empty. A person name is an object of component groups."""
    vr = dictionary_VR(int(tag(keyword), 16))
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def code(value: str, scheme: str, meaning: str) -> DataSet:
    """Return an item of a code sequence (PS3.3 section 8.8)."""
    return {
        tag("CodeValue"): element("CodeValue", value),
        tag("CodingSchemeDesignator"): element("CodingSchemeDesignator", scheme),
        tag("CodeMeaning"): element("CodeMeaning", meaning),
    }


def value(data_set: Mapping[str, Element], *keywords: str) -> Any:
    """Return the first value at a path of keywords, with the first item of each sequence; None without one."""
    found: Any = data_set
    for keyword in keywords:
        values = found.get(tag(keyword), {}).get("Value") or [None]
        found = values[0]
        if found is None:
            return None
    return found


def items(data_set: Mapping[str, Element], keyword: str) -> Sequence[DataSet]:
    """Return the items of a sequence."""
    found: Sequence[DataSet] = data_set.get(tag(keyword), {}).get("Value", ())
    return found


def has_value(found: Element | None) -> bool:
    """Return whether an element is present with a value."""
    return found is not None and any(one is not None for one in found.get("Value", ()))
