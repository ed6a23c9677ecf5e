"""JSON objects of other parties, parsed strictly: where programs disagree about a text, one of them can be deceived."""

import json
import math
from typing import Any, NoReturn


def parse_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: it is not a JSON object in UTF-8, has a key twice, a number that is not finite, or is nested too
            deeply.
    """
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=_object, parse_constant=_not_a_number, parse_float=_finite_float
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _not_a_number(name: str) -> NoReturn:
    raise ValueError("a number is not finite")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is not finite")
    return value
