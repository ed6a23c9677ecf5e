"""Parsing of small JSON request bodies. Names match in any case; comments and trailing commas are allowed."""

import re
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from facade.config import Settings
from facade.errors import Refusal, shown
from facade.request.body import body_of, require_no_coding

MAX_BYTES = 1 << 20
"""Size limit of a body."""

# An unterminated string or comment matches up to the end of the text, so that matching takes linear time.
_STRING = rb'"(?:\\.|[^"\\])*+"?'
_TOKENS = re.compile(rb"(" + _STRING + rb"|/\*(?:(?!\*/).)*+\Z)|//[^\n]*|/\*.*?\*/", re.DOTALL)
_CLOSING_COMMAS = re.compile(rb"(" + _STRING + rb")|,(?=\s*+[\]}])", re.DOTALL)


async def json_body(request: Request, max_bytes: int = MAX_BYTES) -> Any:
    """Return the parsed body of a request.

    Raises:
        Refusal: 415, the content type is not JSON, or there is a content coding; 413, the body is too large; 408, the
            client sends nothing; 400, it is malformed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise Refusal(415, "The content type must be application/json.")
    require_no_coding(request)
    return parse_json(await read_body(request, max_bytes))


def parse_json(text: bytes) -> Any:
    """Return the value of a JSON text with comments and trailing commas. Raises: Refusal, 400."""
    for attempt in (text, _without_extras(text)):
        try:
            value = orjson.loads(attempt)
        except orjson.JSONDecodeError:
            continue
        try:
            orjson.dumps(value)  # allows fewer levels than reading; parts of the value may be written for the core
        except orjson.JSONEncodeError:
            raise Refusal(400, "The request body is nested too deeply.") from None
        return value
    raise Refusal(400, "The syntax of the request body is invalid.")


Fields = Mapping[str, tuple[Callable[[Any], bool], str]]
"""Allowed fields of an object: whether a value is valid, and the kind of its values for error texts."""


def is_text(value: Any) -> bool:
    """Return whether a value is a text."""
    return isinstance(value, str)


def is_list_of_texts(value: Any) -> bool:
    """Return whether a value is a list of texts."""
    return isinstance(value, list) and all(map(is_text, value))


def is_boolean(value: Any) -> bool:
    """Return whether a value is a boolean."""
    return isinstance(value, bool)


def typed_fields(body: Any, allowed: Fields) -> dict[str, Any]:
    """Return the fields of a parsed body; those with null are omitted.

    Raises:
        Refusal: 400.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "The field '$' in request body is invalid: It must be an object.")
    names = {name.lower(): name for name in allowed}
    fields: dict[str, Any] = {}
    for written, value in body.items():
        name = names.get(written.lower())
        if name is None:
            raise Refusal(400, f"The field '$' in request body is invalid: Only {', '.join(allowed)} are allowed.")
        is_valid, kind = allowed[name]
        if value is not None and not is_valid(value):
            raise Refusal(400, f"The field '{name}' in request body is invalid: It must be {kind}.")
        if value is not None:
            fields[name] = value
    return fields


def fields_of(value: Any, names: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the string fields of a JSON object by name; fields with null are omitted.

    Args:
        value: the parsed value, expected to be an object of strings.
        names: the allowed names by their lower-case forms.
        where: path of the object, for error texts; empty for the body itself.

    Raises:
        Refusal: 400, the value is not an object, has an unknown field, or a field that is not a string.
    """
    if not isinstance(value, dict):
        raise invalid_field(where, "It must be an object.")
    fields: dict[str, str] = {}
    for written, content in value.items():
        name = names.get(written.lower())
        if name is None:
            raise invalid_field(where, f"Only {', '.join(names.values())} are allowed.")
        if content is not None and not isinstance(content, str):
            raise invalid_field(f"{where}.{name}" if where else name, "It must be a string.")
        if content is not None:
            fields[name] = content
    return fields


def invalid_field(where: str, why: str) -> Refusal:
    """Return the refusal of a field, or of the whole body if `where` is empty."""
    field = f"The field '{where}' in request body" if where else "The request body"
    return Refusal(400, f"{field} is invalid: {why}")


def invalid_choice(where: str, value: str, choices: list[str]) -> Refusal:
    """Return the refusal of a field with an unknown value."""
    possible = ", ".join(map(repr, choices))
    return invalid_field(where, f"Expected value {shown(value)} to be one of the following values: [{possible}]")


async def read_body(request: Request, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the body of a request. Raises: Refusal, as `json_body`."""
    settings: Settings = request.app.state.settings
    text = bytearray()
    try:
        async with aclosing(body_of(request, settings.idle_seconds)) as chunks:
            async for chunk in chunks:
                text += chunk
                if len(text) > max_bytes:
                    raise Refusal(413, f"The request body is larger than {max_bytes} bytes.")
    except ClientDisconnect as gone:
        raise Refusal(400, "The request body is incomplete.") from gone
    return bytes(text)


def _without_extras(text: bytes) -> bytes:
    """Return JSON text without comments and trailing commas."""
    without_comments = _TOKENS.sub(lambda match: match[1] or b" ", text)
    return _CLOSING_COMMAS.sub(lambda match: match[1] or b"", without_comments)
