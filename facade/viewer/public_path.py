"""Moves a viewer that was built for the root of its host below a path, by rewriting the addresses in its files.

The root is compiled into OHIF in few ways: the public path of webpack, the base of the router, and addresses of
files in its page, styles and manifests. Each kind of file has its own patterns, so that other text stays as it is.
"""

import re
from pathlib import PurePath

BASE = "/viewer/"
"""The path below which the viewer is served."""

_BASE = BASE.encode()
_PATTERNS = {
    # <link href="/app.css">, <script src="/app.js">, <meta content="/assets/icon.png">, window.PUBLIC_URL="/"
    ".html": rb"""((?:\b(?:href|src|content)|\bPUBLIC_URL)\s*=\s*["'])/(?=["'\w])""",
    # webpack's public path, the address of a module that is imported when it is first needed
    ".js": rb"""((?:\b\w+\.p\s*=\s*["'])(?=/["'])|(?:\bbrowserImportFunction\(\s*["'](?=/\w)))/""",
    ".css": rb"""(\burl\(\s*["']?)/(?=\w)""",
    ".json": rb"""("(?:src|start_url|scope)"\s*:\s*")/(?=["\w])""",
    ".xml": rb"""(\bsrc=")/(?=\w)""",
}
_PATTERNS[".mjs"] = _PATTERNS[".js"]
_PATTERNS[".webapp"] = _PATTERNS[".json"]
_COMPILED = {suffix: re.compile(pattern) for suffix, pattern in _PATTERNS.items()}


def may_have_addresses(name: str) -> bool:
    """Return whether files with this name can contain addresses that must be rewritten."""
    return PurePath(name).suffix in _COMPILED


def rewritten(name: str, content: bytes) -> bytes:
    """Return the content of a file with its addresses below `BASE`; equal to `content` if it has none."""
    pattern = _COMPILED.get(PurePath(name).suffix)
    return pattern.sub(rb"\1" + _BASE, content) if pattern else content
