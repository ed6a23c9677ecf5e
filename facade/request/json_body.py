"""Small JSON bodies of requests (spec/endpoints.md section 4): any case of names, comments and closing commas."""

import re
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from facade.errors import Refusal, shown

MOST_BYTES = 1 << 20
"""Largest body that is read."""

# What has no end goes up to the end of the text, which must not be read once for each of its characters.
_STRING = rb'"(?:\\.|[^"\\])*+"?'
_TOKENS = re.compile(rb"(" + _STRING + rb"|/\*(?:(?!\*/).)*+\Z)|//[^\n]*|/\*.*?\*/", re.DOTALL)
_CLOSING_COMMAS = re.compile(rb"(" + _STRING + rb")|,(?=\s*+[\]}])", re.DOTALL)


async def json_body(request: Request) -> Any:
    """Return what the body of a request says.

    Raises:
        Refusal: 415, it is not said to be JSON; 413, it is too large; 400, it is no JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise Refusal(415, "The content type must be application/json.")
    text = await _read(request)
    for attempt in (text, _without_extras(text)):
        try:
            return orjson.loads(attempt)
        except orjson.JSONDecodeError:
            continue
    raise Refusal(400, "The syntax of the request body is invalid.")


def fields_of(value: Any, names: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the fields of a JSON object by their names; null is as good as nothing.

    Args:
        value: what should be an object with texts in it.
        names: by their lower-case forms.
        where: of the object, for messages.

    Raises:
        Refusal: 400, it is no object, has other fields, or something that is no text.
    """
    if not isinstance(value, dict):
        raise _invalid(where, "It must be an object.")
    fields: dict[str, str] = {}
    for written, content in value.items():
        name = names.get(written.lower())
        if name is None:
            raise _invalid(where, f"Only {', '.join(names.values())} are allowed.")
        if content is not None and not isinstance(content, str):
            raise _invalid(f"{where}.{name}", "It must be a text.")
        if content is not None:
            fields[name] = content
    return fields


def _invalid(where: str, why: str) -> Refusal:
    return Refusal(400, f"The field '{where}' in request body is invalid: {why}")


def invalid_choice(where: str, value: str, choices: list[str]) -> Refusal:
    """Return the answer to a field that has none of the values it may have."""
    possible = ", ".join(map(repr, choices))
    return _invalid(where, f"Expected value {shown(value)} to be one of the following values: [{possible}]")


async def _read(request: Request) -> bytes:
    text = bytearray()
    try:
        async for chunk in request.stream():
            text += chunk
            if len(text) > MOST_BYTES:
                raise Refusal(413, f"The request body is larger than {MOST_BYTES} bytes.")
    except ClientDisconnect as gone:
        raise Refusal(400, "The request body broke off.") from gone
    return bytes(text)


def _without_extras(text: bytes) -> bytes:
    """Return JSON without comments, and without commas before the end of a list or object."""
    without_comments = _TOKENS.sub(lambda match: match[1] or b" ", text)
    return _CLOSING_COMMAS.sub(lambda match: match[1] or b"", without_comments)
