"""The header `WWW-Authenticate` of responses 401 and 403: RFC 6750 section 3, and parameters of Azure."""

import re
from collections.abc import Mapping

REALM = "dicomstore"

_NOT_QUOTABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
"""Characters that must not be in a parameter: all but printable ASCII without quotation mark and backslash."""

_OF_PROVIDER = ("authorization_uri", "resource_id")


def challenge(status: int, metadata: Mapping[str, str], text: str) -> dict[str, str]:
    """Return the headers for a status: none unless it is 401 or 403.

    Args:
        metadata: of the core's error: `problem` and how to get a token, or `action`, for which permission is missing.
        text: why a token is invalid; without secrets.
    """
    if status not in (401, 403):
        return {}
    parameters = {"realm": REALM} | {name: metadata[name] for name in _OF_PROVIDER if metadata.get(name)}
    if status == 403:
        parameters |= {"error": "insufficient_scope", "error_description": text}
        if action := metadata.get("action"):
            parameters["scope"] = action
    elif metadata.get("problem") == "invalid":  # no error code for a request without a token
        parameters |= {"error": "invalid_token", "error_description": text}
    quoted = (f'{name}="{_NOT_QUOTABLE.sub("", value)}"' for name, value in parameters.items())
    return {"WWW-Authenticate": f"Bearer {', '.join(quoted)}"}
