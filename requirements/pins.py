"""The pinned requirements of a file that `make requirements` has written, and the supported systems."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

FOLDER = Path(__file__).parent

SYSTEMS: list[Environment] = [
    {
        **default_environment(),
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.{patch}",
    }
    for python, patch, machine in itertools.product(
        ("3.11", "3.12", "3.13", "3.14"), ("0", "99"), ("x86_64", "aarch64")
    )
]
"""Supported interpreters and machines, as variables of environment markers."""

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

    def applies(self, system: Environment) -> bool:
        """Return whether this version is installed on a system."""
        return applies(self.requirement, system)


def applies(requirement: Requirement, system: Environment) -> bool:
    """Return whether a requirement is needed on a system."""
    return requirement.marker is None or requirement.marker.evaluate({**system})


def read_pins(name: str) -> list[Pin]:
    """Return the pins of `requirements/{name}.txt`. Raises ValueError if the file contains anything else."""
    text = (FOLDER / f"{name}.txt").read_text()
    header = re.match(r"(?:#.*\n)*", text)
    rest = _PIN.sub("", text[header.end() :] if header else text)
    if rest:
        raise ValueError(f"requirements/{name}.txt contains more than pinned packages: {rest[:80]!r}")
    return list(_pins(text))


def runtime_pins() -> list[Pin]:
    """Return the pins of what the archive imports on any supported system, in alphabetical order."""
    return [pin for pin in read_pins("runtime") if any(map(pin.applies, SYSTEMS))]


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
