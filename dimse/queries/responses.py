"""Matches of a search as identifiers of responses (PS3.4 section C.4.1.1.3.2)."""

from collections.abc import Mapping
from typing import Any

import orjson

from dimse.data_sets.character_sets import common
from dimse.data_sets.reading import SPECIFIC_CHARACTER_SET, DataSet
from dimse.data_sets.writing import texts_of, write
from dimse.queries.identifiers import (
    COMPUTED,
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    Identifier,
    Level,
)


class ResponseWriter:
    """Writes the identifiers of the responses to one query: the requested attributes, empty if the match has none."""

    def __init__(self, identifier: Identifier, transfer_syntax: str, computed: Mapping[str, str]) -> None:
        """Prepare the responses.

        Args:
            identifier: that of the request.
            transfer_syntax: that of the presentation context.
            computed: values of attributes that the archive does not store, by tag. Those that the request has no key
                for are left out, except Query/Retrieve Level.
        """
        self._terms = identifier.terms
        self._syntax = transfer_syntax
        self._requested = identifier.data_set
        fixed = (COMPUTED.keys() & identifier.data_set.keys()) | (computed.keys() & {QUERY_RETRIEVE_LEVEL})
        self._fixed: DataSet = {
            tag: {"vr": COMPUTED[tag]} | ({"Value": [computed[tag]]} if tag in computed else {})
            for tag in fixed - {SPECIFIC_CHARACTER_SET}
        }

    def write(self, dicom_json: bytes) -> bytes:
        """Return the identifier for a match in DICOM JSON."""
        is_ascii = dicom_json.isascii() and b"\\u" not in dicom_json
        return self.of_data_set(orjson.loads(dicom_json), is_ascii=is_ascii)

    def of_data_set(self, found: DataSet, *, is_ascii: bool = False) -> bytes:
        """Return the identifier for a match; `is_ascii` if all of its text is known to be ASCII."""
        response = _selected(found, self._requested)
        response.update(self._fixed)
        terms = self._terms if is_ascii else common(self._terms, texts_of(response))
        if terms:
            response[SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": list(terms)}
        else:
            response.pop(SPECIFIC_CHARACTER_SET, None)
        return write(response, self._syntax, terms)


def computed_values(level: Level, ae_title: str) -> Mapping[str, str]:
    """Return the values of attributes that do not come from the stored objects."""
    return {QUERY_RETRIEVE_LEVEL: level.value, RETRIEVE_AE_TITLE: ae_title, INSTANCE_AVAILABILITY: "ONLINE"}


def _selected(found: Mapping[str, Any], requested: DataSet) -> DataSet:
    """Return the requested attributes of a data set; of an item, those that the item of the request has."""
    selected: DataSet = {}
    for tag, key in requested.items():
        element = found.get(tag)
        if element is None:
            selected[tag] = {"vr": key["vr"]}
        elif element["vr"] == "SQ" and key["vr"] == "SQ" and any(key.get("Value", ())):
            members = key["Value"][0]
            selected[tag] = {"vr": "SQ", "Value": [_selected(item, members) for item in element.get("Value", ())]}
        else:
            selected[tag] = element
    return selected
