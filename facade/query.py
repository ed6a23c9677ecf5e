"""Query strings, read by hand: repeated names, any case, percent encoding, `+` as a space."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from starlette.requests import Request

from facade.accept import MediaRange, parse_accept
from facade.errors import Refusal

_FORBIDDEN = re.compile("<|%3c", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `name=value` of a query string, decoded; without a `=` the value is empty."""

    name: str
    value: str

    @property
    def key(self) -> str:
        """The name for parameters whose case does not matter."""
        return self.name.lower()


def parameters_of(request: Request) -> list[Parameter]:
    """Return the parameters of a request in order.

    Raises:
        Refusal: 400, the query has a "<" in it (spec/endpoints.md section 5).
    """
    pairs = (pair.partition("=") for pair in _raw(request).split("&") if pair)
    return [Parameter(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]


def wishes_of(request: Request) -> list[MediaRange]:
    """Return what the client accepts: its `accept` parameter, which overrules the header (PS3.18 section 8.3.3.1).

    Empty when it says nothing, or nothing that makes sense.

    Raises:
        Refusal: 400, the query has a "<" in it.
    """
    for pair in _raw(request).split("&"):
        name, _, value = pair.partition("=")
        if name.lower() == "accept":
            # Media types contain "+", which few clients encode; here it is never a space.
            return parse_accept(unquote(value))
    return parse_accept(", ".join(request.headers.getlist("accept")))


def _raw(request: Request) -> str:
    raw: str = request.scope["query_string"].decode("latin-1")
    if _FORBIDDEN.search(raw):
        raise Refusal(400, "The query string included invalid characters.")
    return raw


def integer(parameters: Sequence[Parameter], name: str, default: int, minimum: int, maximum: int = 2**63 - 1) -> int:
    """Return the first parameter called `name` as a number.

    Raises:
        Refusal: 400, it is no number or out of range.
    """
    text = first(parameters, name)
    if text is None:
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
        raise invalid(name, "The value is not a number.")
    value = int(text)
    if value < minimum or value > maximum:
        field = name.capitalize()
        limits = f"between {minimum} and {maximum}" if maximum < 2**63 - 1 else f"{minimum} or greater"
        raise invalid(name, f"The field {field} must be {limits}.")
    return value


def boolean(parameters: Sequence[Parameter], name: str, default: bool) -> bool:
    """Return the first parameter called `name` as true or false.

    Raises:
        Refusal: 400, it is neither.
    """
    text = first(parameters, name)
    if text is None:
        return default
    match text.strip().lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise invalid(name, "The value must be true or false.")


def first(parameters: Sequence[Parameter], name: str) -> str | None:
    """Return the value of the first parameter called `name` in any case."""
    return next((parameter.value for parameter in parameters if parameter.key == name.lower()), None)


def invalid(name: str, why: str) -> Refusal:
    """Return the answer to a parameter that can't be understood."""
    return Refusal(400, f"The query parameter '{name[:1].upper()}{name[1:]}' is invalid. {why}")
