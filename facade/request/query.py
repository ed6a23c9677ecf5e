"""Parsing of query strings: repeated names, any case, percent encoding, `+` as a space."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from starlette.requests import Request

from facade.errors import Refusal, shown
from facade.request.accept import ANY, MediaRange, parse_accept

_CHARSET = re.compile(r"([^,;]+)(?:;\s*q\s*=\s*(\d(?:\.\d*)?))?")
_UTF8 = {"utf-8", "utf8", "iso_ir 192", "*"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `name=value` of a query string, decoded; without a `=` the value is empty."""

    name: str
    value: str

    @property
    def key(self) -> str:
        """The name in lower case, for case-insensitive parameters."""
        return self.name.lower()


def parameters_of(request: Request) -> list[Parameter]:
    """Return the parameters of a request in order.

    Raises:
        Refusal: 400, the query contains a "<" that is not percent-encoded, which RFC 3986 forbids.
    """
    return parameters_in(_raw(request))


def parameters_in(text: str) -> list[Parameter]:
    """Return the parameters of a query string in order."""
    pairs = (pair.partition("=") for pair in text.split("&") if pair)
    return [Parameter(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]


def accepted_media_ranges(request: Request) -> list[MediaRange]:
    """Return the media ranges that the client accepts; `accept` parameters override the header (PS3.18 8.3.3.1).

    The parameter may be repeated, and each may be a list. Neither parameter nor header, or an empty header, means
    `*/*` (RFC 9110 section 12.5.1). The result is empty if all entries are malformed.

    Raises:
        Refusal: 400, as `parameters_of`; 406, as `require_utf8`.
    """
    require_utf8(request)
    raw = _raw(request)
    # Media types contain "+", which few clients encode; here it is never a space.
    given = [unquote(value) for name, value in _pairs(raw) if name.lower() == "accept" and value]
    text = ", ".join(given or filter(str.strip, request.headers.getlist("accept")))
    return parse_accept(text or ANY)


def require_utf8(request: Request) -> None:
    """Refuse a strict client that does not accept UTF-8 (PS3.18 sections 8.3.3.2 and 8.8).

    Text is always sent as UTF-8, and the Content-Type or the format says so. Clients without strict handling get it in
    any case. The parameter `charset` overrides the header.

    Raises:
        Refusal: 406.
    """
    if "prefer" not in request.headers or not prefers_strict(request):
        return
    given = [unquote_plus(value) for name, value in _pairs(_raw(request)) if name.lower() == "charset" and value]
    wanted = ",".join(given or request.headers.getlist("accept-charset"))
    names = {name.strip().lower() for name, quality in _CHARSET.findall(wanted) if not quality or float(quality) > 0}
    if wanted.strip() and names.isdisjoint(_UTF8):
        raise Refusal(406, "Text can be returned in the character set utf-8 only.")


def prefers_strict(request: Request) -> bool:
    """Return whether the client prefers an error to a response that ignores a part of the request (RFC 7240, 4.4)."""
    preferences = ",".join(request.headers.getlist("prefer")).replace(" ", "").replace('"', "").lower()
    return "handling=strict" in re.split("[,;]", preferences)


def _pairs(raw: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in raw.split("&"))] if raw else []


def _raw(request: Request) -> str:
    raw: str = request.scope["query_string"].decode("latin-1")
    if "<" in raw:
        raise Refusal(400, "The query string included invalid characters.")
    return raw


def integer(parameters: Sequence[Parameter], name: str, default: int, minimum: int, maximum: int = 2**63 - 1) -> int:
    """Return the first parameter called `name` as a number.

    Raises:
        Refusal: 400, it is not a number or is out of range.
    """
    text = first(parameters, name)
    if text is None:
        return default
    text = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
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
            raise invalid(name, f"The value {shown(text)} is neither true nor false.")


def first(parameters: Sequence[Parameter], name: str) -> str | None:
    """Return the value of the first parameter called `name` in any case."""
    return next((parameter.value for parameter in parameters if parameter.key == name.lower()), None)


def invalid(name: str, why: str) -> Refusal:
    """Return the refusal of an invalid parameter."""
    return Refusal(400, f"The query parameter '{name[:1].upper()}{name[1:]}' is invalid. {why}")
