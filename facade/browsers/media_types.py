"""Media types that browsers execute as a part of other pages, whatever the policy of the response says."""

import re

_EXECUTED = re.compile(
    r"(text|application)/(x-)?(javascript|ecmascript|jscript|livescript)[\d.]*|text/css|application/wasm"
    r"|(multipart|message)/.*",
    re.IGNORECASE,
)
"""Scripts and styles, and media types with parts that have headers of their own."""

OTHER = "application/octet-stream"


def safe_media_type(media_type: str) -> str:
    """Return the media type with which a stored document is sent; `OTHER` for one that browsers execute.

    The policy of a response applies if it is shown as a page. As a script or style of another page, such as the viewer,
    the response would have the rights of that page.
    """
    return OTHER if _EXECUTED.fullmatch(media_type.partition(";")[0].strip()) else media_type
