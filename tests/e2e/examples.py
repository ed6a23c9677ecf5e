"""Runs the examples of a documentation page as a reader would: verbatim, in order, in one shell and one folder.

Only what is particular to the machine is replaced: the two addresses and the place of the virtual environment. A
command that fails fails its example, a pipe included, and so does `curl` when the answer is an error; except where it
prints the status itself, which is then for the test to look at.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom

from tests.e2e.archive import ROOT, Archive

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECONDS = 60
_BEFORE = """set -euo pipefail
curl() {
    case "$*" in
        *%{http_code}*) command curl --show-error "$@" ;;
        *) command curl --show-error --fail-with-body "$@" ;;
    esac
}
if [ -e .variables ]; then . ./.variables; fi
set -a
"""
_AFTER = """
set +a
export -p > .variables
"""


def blocks_of(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Return language and text of the code blocks of a page that are in one of `languages`."""
    return [(language, text) for language, text in _BLOCK.findall(page.read_text()) if language in languages]


class Reader:
    """Runs the examples of a page against an archive."""

    def __init__(self, archive: Archive, folder: Path) -> None:
        self.folder = folder
        self._replacements = {
            "127.0.0.1:8080": f"127.0.0.1:{archive.http_port}",
            "127.0.0.1:50051": archive.core_address,
            ".venv/bin/": f"{Path(sys.executable).parent}/",
            ".venv/lib/python3*/site-packages": str(Path(pydicom.__file__).parents[1]),
        }
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")},
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}",
            "DICOMSTORE_CORE": archive.core_address,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def run(self, language: str, text: str) -> str:
        """Run one example and return its output."""
        for written, here in self._replacements.items():
            text = text.replace(written, here)
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-c", _BEFORE + text + _AFTER]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=_SECONDS
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def json_in(output: str) -> list[Any]:
    """Return the JSON documents that an output consists of, one behind the other; other words are left out."""
    found, decoder = [], json.JSONDecoder()
    while start := re.search(r"[\[{]", output):
        document, end = decoder.raw_decode(output[start.start() :])
        found.append(document)
        output = output[start.start() + end :]
    return found
