"""The pinned requirements of a file that `make requirements` has written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

FOLDER = Path(__file__).parent
_PIN = re.compile(
    r"^(?P<requirement>[^\s#-][^\\\n]*) \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
    r"(?P<via>(?:    #.*\n)*)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of a package. A package has several pins if the version depends on the environment."""

    name: NormalizedName
    version: str
    requirement: Requirement
    hashes: tuple[str, ...]
    """SHA-256 of each file of this version, in hexadecimal."""
    required_by: frozenset[str]
    """The packages and groups that need it, as named by uv: `typer`, `dicomstore (pyproject.toml:dev)`."""

    def applies(self, environment: dict[str, str]) -> bool:
        """Return whether this version is installed in an environment (the variables of environment markers)."""
        return self.requirement.marker is None or self.requirement.marker.evaluate(environment)


def read_pins(name: str) -> list[Pin]:
    """Return the pins of `requirements/{name}.txt`. Raises ValueError if the file contains anything else."""
    text = (FOLDER / f"{name}.txt").read_text()
    header = re.match(r"(?:#.*\n)*", text)
    rest = _PIN.sub("", text[header.end() :] if header else text)
    if rest:
        raise ValueError(f"requirements/{name}.txt contains more than pinned packages: {rest[:80]!r}")
    return list(_pins(text))


def _pins(text: str) -> Iterator[Pin]:
    for match in _PIN.finditer(text):
        requirement = Requirement(match["requirement"])
        [specifier] = requirement.specifier
        if specifier.operator != "==":
            raise ValueError(f"{requirement} is not a version")
        via = re.sub(r"^ *# *(?:via\b)? *", "", match["via"], flags=re.MULTILINE).splitlines()
        yield Pin(
            name=canonicalize_name(requirement.name),
            version=specifier.version,
            requirement=requirement,
            hashes=tuple(re.findall(r"sha256:([0-9a-f]{64})", match["hashes"])),
            required_by=frozenset(line for line in via if line and not line.startswith("-c ")),
        )
