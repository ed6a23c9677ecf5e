"""The files of the explorer, read once, with their media types, their compressed form and a digest of all."""

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType

WEB = Path(__file__).with_name("web")
_KEYWORDS = Path(__file__).parents[1] / "response" / "keywords.txt"

TYPES = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
    }
)

STYLESHEET = re.compile(r'<link rel="stylesheet" href="BASE/([^"]+)">\n')
_STATIC_IMPORT = re.compile(r"""^(?:import|export)\b[^;'"]*?["'](\.[^"']+)["'];""", re.MULTILINE)
_GZIP_FORMAT = 31


@dataclass(frozen=True)
class File:
    """One file: its media type and content."""

    media_type: str
    content: bytes

    @cached_property
    def compressed(self) -> bytes:
        """The content in gzip; computed once, a few milliseconds for the largest file."""
        compressor = zlib.compressobj(9, wbits=_GZIP_FORMAT)
        return compressor.compress(self.content) + compressor.flush()


class Files:
    """All files below a folder, by path relative to it.

    There are two more: `keywords.txt`, the keywords of attributes by tag, and `styles/all.css`, all stylesheets of
    `index.html` in their order.

    Attributes:
        digest: 16 hexadecimal digits that change whenever a file does; part of all URLs, so that browsers keep files.
    """

    def __init__(self, folder: Path = WEB) -> None:
        found = {
            path.relative_to(folder).as_posix(): File(TYPES[path.suffix], path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.suffix in TYPES
        }
        found["keywords.txt"] = File(TYPES[".txt"], _KEYWORDS.read_bytes())
        if page := found.get("index.html"):
            sheets = [found[name].content for name in STYLESHEET.findall(page.content.decode())]
            found["styles/all.css"] = File(TYPES[".css"], b"".join(sheets))
        self.by_path: Mapping[str, File] = MappingProxyType(found)
        everything = hashlib.sha256()
        for name, file in found.items():
            everything.update(b"%s\0%d\0" % (name.encode(), len(file.content)))
            everything.update(file.content)
        self.digest = everything.hexdigest()[:16]

    def imported_by(self, *modules: str) -> list[str]:
        """Return modules and all that they import statically, so that a page can load them at the same time."""
        found: dict[str, None] = {}
        waiting = list(modules)
        while waiting:
            if (name := waiting.pop(0)) not in found:
                found[name] = None
                waiting += self._imports(name)
        return list(found)

    def _imports(self, name: str) -> Iterator[str]:
        for target in _STATIC_IMPORT.findall(self.by_path[name].content.decode()):
            parts: list[str] = []
            for part in PurePosixPath(name).parent.joinpath(target).parts:
                if part == "..":
                    parts.pop()
                else:
                    parts.append(part)
            yield "/".join(parts)
