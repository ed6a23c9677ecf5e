"""Data sets of clients in DICOM JSON (PS3.18 Annex F), checked and converted to the canonical form.

The canonical form is that of metadata (`RetrieveMetadata` in the contract): tags ascending, `vr` before the value.
Attributes without a value are kept, because requirements distinguish them from absent ones.
"""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from struct import error as NotPackable
from struct import pack
from typing import Any

import orjson

from server.dicom.elements import dictionary, vr_rules
from server.dicom.elements.keywords import path_of, tags_of
from server.dicom.matching import normalise
from server.dicom.worklist.requirements import SINGLE_ITEM
from server.model.errors import InvalidRequest, Reason

DataSet = dict[str, dict[str, Any]]
"""Elements by tag, tags ascending."""

MAX_BYTES = 1 << 20
"""Size limit of a data set in JSON."""

_MAX_DEPTH = 8
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_CHOICES = {dictionary.US_OR_SS: ("US", "SS"), dictionary.US_OR_OW: ("US", "OW")}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_SINGLE_INSTANTS = {"DA": normalise.day, "DT": normalise.first_instant, "TM": normalise.first_time}
_GROUP_LENGTH = "0000"
_WITH_BACKSLASH = frozenset({"LT", "ST", "UT"})
_ATTRIBUTE_TAG = re.compile("[0-9A-Fa-f]{8}")
_REPLACED = tags_of("SOPClassUID ScheduledProcedureStepModificationDateTime ProcedureStepState")
"""Attributes of the workitem whose values the server replaces; their number does not matter."""


def parse(dicom_json: bytes) -> DataSet:
    """Return the data set.

    Raises:
        InvalidRequest: INVALID_WORKITEM, with the tag of the attribute and never a value.
    """
    if len(dicom_json) > MAX_BYTES:
        raise invalid("", f"The data set has more than {MAX_BYTES} bytes.")
    try:
        content = orjson.loads(dicom_json)
    except orjson.JSONDecodeError:
        raise invalid("", "The data set is not JSON.") from None
    return _data_set(content, 0, "")


def serialise(data_set: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a data set."""
    return orjson.dumps(dict(sorted(data_set.items()))).decode()


def invalid(attribute: str, problem: str) -> InvalidRequest:
    """Return the error for an attribute, a dotted path of keywords or tags; without one for the whole data set."""
    if not attribute:
        return InvalidRequest(Reason.INVALID_WORKITEM, problem)
    return InvalidRequest(Reason.INVALID_WORKITEM, f"{attribute}: {problem}", attribute=attribute)


def _data_set(content: Any, depth: int, above: str) -> DataSet:
    if not isinstance(content, dict) or depth > _MAX_DEPTH:
        raise invalid(above, "This is not a data set, or it is nested too deeply.")
    found: DataSet = {}
    for name, element in content.items():
        path = path_of(name)
        if path is None or len(path) > 1:
            raise invalid(above, "The name of an attribute is its tag, eight hexadecimal digits, or its keyword.")
        tag = path[0]
        where = f"{above}.{_shown(tag)}" if above else _shown(tag)
        if tag in found:
            raise invalid(where, "The attribute occurs twice.")
        if tag[4:] == _GROUP_LENGTH or tag < "00080000":
            raise invalid(where, "The attribute does not belong to a data set.")
        found[tag] = _element(tag, element, depth, where)
    return dict(sorted(found.items()))


def _shown(tag: str) -> str:
    return dictionary.keyword(tag) or tag


def _element(tag: str, element: Any, depth: int, where: str) -> dict[str, Any]:
    if not isinstance(element, dict) or not element.keys() <= {"vr", "Value", "InlineBinary"}:
        raise invalid(where, "This is not a DICOM JSON element with a vr and a Value or InlineBinary.")
    vr = _vr(tag, element.get("vr"), where)
    inline, values = element.get("InlineBinary"), element.get("Value", [])
    if vr in _BINARY:
        if values or not _is_base64(inline):
            raise invalid(where, "The value is not base64 in InlineBinary.")
        return {"vr": vr, "InlineBinary": inline} if inline else {"vr": vr}
    if inline is not None or not isinstance(values, list):
        raise invalid(where, "The Value is not an array.")
    if vr == "SQ":
        if len(values) > 1 and tag in SINGLE_ITEM:
            raise invalid(where, "The sequence has more than one item.")
        items = [_data_set({} if item is None else item, depth + 1, where) for item in values]
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    if all(value is None or value in ("", {}) for value in values):
        return {"vr": vr}
    most = dictionary.max_values(int(tag, 16))
    if most is not None and len(values) > most and (depth or tag not in _REPLACED):
        raise invalid(where, f"The attribute has more than {most} value{'s' if most > 1 else ''}.")
    return {"vr": vr, "Value": _values(vr, values, where)}


def _is_base64(inline: Any) -> bool:
    if inline is None:
        return True
    try:
        return isinstance(inline, str) and b64decode(inline, validate=True) is not None
    except ValueError:
        return False


def _vr(tag: str, given: Any, where: str) -> str:
    known = dictionary.public_vr(int(tag, 16))
    if known is None:  # a private attribute, or one of a later edition
        known = "LO" if tag[4:6] == "00" and int(tag[3], 16) % 2 else str(given)
        if len(known) != 2 or not known.isascii() or not known.isupper():
            raise invalid(where, "The vr is missing.")
    choices = _CHOICES.get(known, (known,))
    if given is None and len(choices) == 1:
        return choices[0]
    if given in choices:
        return str(given)
    raise invalid(where, f"The vr is not {' or '.join(choices)}.")


def _values(vr: str, values: Sequence[Any], where: str) -> list[Any]:
    if vr in _NUMBERS:
        return _numbers(vr, values, where)
    if vr == "PN":
        return [_name(value, where) for value in values]
    if vr in ("DS", "IS"):
        values = [orjson.dumps(value).decode() if type(value) in (int, float) else value for value in values]
    return [None if value is None else _text(vr, value, where) for value in values]


def _numbers(vr: str, values: Sequence[Any], where: str) -> list[Any]:
    kinds = (int, float) if vr in ("FD", "FL") else (int,)
    try:
        if not all(type(value) in kinds for value in values):
            raise TypeError
        pack(f"<{len(values)}{_NUMBERS[vr]}", *values)
    except (TypeError, NotPackable, OverflowError):
        raise invalid(where, f"A value is not a number of {vr}.") from None
    return list(values)


def _name(value: Any, where: str) -> dict[str, str] | None:
    if value is None:
        return None
    groups = dict(zip(_GROUPS, value.split("="), strict=False)) if isinstance(value, str) else value
    if not isinstance(groups, dict) or not all(
        group in _GROUPS and isinstance(text, str) and "=" not in text for group, text in groups.items()
    ):
        raise invalid(where, "A person name is not an object of component groups.")
    _text("PN", "=".join(groups.get(group, "") for group in _GROUPS).rstrip("="), where)
    return {group: groups[group] for group in _GROUPS if groups.get(group)}


def _text(vr: str, value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise invalid(where, "A value is not a string.")
    text = value.strip(" \0") if vr == "UI" else value
    if "\\" in text and vr not in _WITH_BACKSLASH:
        raise invalid(where, "A value contains a backslash. Several values are members of the array.")
    if vr == "AT" and not _ATTRIBUTE_TAG.fullmatch(text):
        raise invalid(where, "A value is not a tag, eight hexadecimal digits.")
    rule = vr_rules.STRICT.get(vr)
    problem = rule(text) if rule is not None and text.strip(" ") else None
    instant = _SINGLE_INSTANTS.get(vr)
    if problem is None and instant is not None and text.strip(" ") and instant(text) is None:
        problem = f"the value is not a single {vr}"
    if problem:
        raise invalid(where, f"{problem[0].upper()}{problem[1:]}".rstrip(".") + ".")
    return text
