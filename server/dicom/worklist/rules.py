"""Validation of workitems by the requirements of their attributes (PS3.4 sections CC.2.5 and CC.2.6)."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from server.dicom.elements.keywords import Path
from server.dicom.matching.attributes import is_empty
from server.dicom.worklist.data_set import DataSet, invalid
from server.dicom.worklist.requirements import MAY_HAVE_NO_ITEMS, REQUIREMENTS, VALUES, Requirement
from server.model.worklist.workitem import WorkitemState

_CREATE, _UPDATE = 0, 1
_SERVER_SETS = ("SOPClassUID", "SOPInstanceUID", "ProcedureStepState", "WorklistLabel")
"""Required attributes that the server provides if the client does not."""

_PROGRESS = "00741002"

_FINAL = {WorkitemState.COMPLETED: ("R", "P"), WorkitemState.CANCELED: ("R", "X")}
"""Final state codes that require a value in a final state."""


def check_new(data_set: DataSet) -> None:
    """Check the data set of a new workitem, as the client provides it.

    Raises:
        InvalidRequest: INVALID_WORKITEM.
    """
    _check(data_set, _CREATE)


def check_update(data_set: DataSet) -> None:
    """Check new values of attributes. Raises: InvalidRequest, INVALID_WORKITEM."""
    if not data_set:
        raise invalid("", "The data set has no attributes.")
    _check(data_set, _UPDATE)


def check_cancellation(progress: DataSet) -> None:
    """Check what a request for cancellation adds to the item of Procedure Step Progress Information Sequence.

    Raises: InvalidRequest, INVALID_WORKITEM.
    """
    _check({_PROGRESS: {"vr": "SQ", "Value": [progress]}}, _UPDATE)


def missing_in_final_state(data_set: Mapping[str, Any], state: WorkitemState) -> Sequence[str]:
    """Return the attributes without which a workitem must not be put into a final state (PS3.4 section CC.2.5.1.1)."""
    codes = _FINAL[state]
    return [
        one.attribute
        for one in REQUIREMENTS
        if one.final in codes and not _is_present(data_set, one.path, one.attribute)
    ]


def _check(data_set: DataSet, operation: int) -> None:
    for one in REQUIREMENTS:
        for element in _elements(data_set, one.path):
            _check_element(one, element, operation)
        values = VALUES.get(one.attribute)
        if values and not set(data_set.get(one.path[0], {}).get("Value", ())) <= set(values):
            raise invalid(one.attribute, f"The value is not one of {', '.join(values)}.")


def _check_element(one: Requirement, element: dict[str, Any] | None, operation: int) -> None:
    """Check an element of a data set or item, or its absence."""
    kind = _type_of(one, operation)
    if kind == "-" and element is not None and not (operation == _CREATE and is_empty(element)):
        problem = "Only the server sets it" if one.depth == 0 else "It must have no value in a new workitem"
        raise invalid(one.attribute, "An update must not contain it." if operation == _UPDATE else f"{problem}.")
    if kind == "empty" and (element is None or not is_empty(element)):
        raise invalid(one.attribute, "It must be present without a value in a new workitem.")
    if kind == "1" and (element is None or is_empty(element)):
        raise invalid(one.attribute, "It is required and must have a value.")
    if kind == "2" and element is None:
        raise invalid(one.attribute, "It is required, and may be empty.")
    if kind == "3/1" and element is not None and is_empty(element):
        raise invalid(one.attribute, "If it is present, it must have a value.")


@cache
def _type_of(one: Requirement, operation: int) -> str:
    """Return what is checked: "1", "2", "3/1", "empty", "-", or "3" for nothing."""
    if operation == _CREATE:
        if one.attribute == "TransactionUID":
            return "empty"
        if one.attribute in _SERVER_SETS or one.create == "-/1":
            return "3"
        required = one.create
    else:
        required = "3" if one.update == "-/1" else one.update
    if required in ("-", "3/1"):
        return required
    return required.split("/")[0] if "C" not in required else "3"


def _elements(data_set: Mapping[str, Any], path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the element at a path in each item that can contain it; None where it is absent."""
    tag, *inner = path
    element = data_set.get(tag)
    if not inner:
        yield element
        return
    for item in (element or {}).get("Value", ()):
        yield from _elements(item, tuple(inner))


def _is_present(data_set: Mapping[str, Any], path: Path, attribute: str) -> bool:
    found = list(_elements(data_set, path))
    if attribute == MAY_HAVE_NO_ITEMS:
        return bool(found) and None not in found
    return bool(found) and all(element is not None and not is_empty(element) for element in found)
