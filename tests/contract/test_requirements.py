"""The pinned requirements agree with pyproject.toml and with each other."""

import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements.pins import Pin, read_pins

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: dict[str, list[Any]] = PROJECT["dependency-groups"]

ENVIRONMENTS = [
    dict(default_environment())
    | {
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
"""Supported interpreters and machines."""


def requirements(group: str) -> list[Requirement]:
    return [
        requirement
        for entry in GROUPS[group]
        for requirement in (requirements(entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)])
    ]


RUNTIME = [Requirement(entry) for entry in PROJECT["project"]["dependencies"]]
EXPECTED = {"runtime": RUNTIME, "dev": RUNTIME + requirements("dev"), "build": requirements("build")}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_requirement_of_the_project_is_pinned_on_every_supported_system(name: str) -> None:
    """If this fails after a change of pyproject.toml, run `make requirements`."""
    pins = read_pins(name)
    for requirement, environment in itertools.product(EXPECTED[name], ENVIRONMENTS):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            [pin] = [pin for pin in installed(pins, environment) if pin.name == canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(pin.version, prereleases=True), f"{requirement}: {pin.version}"
            assert requirement.extras <= pin.requirement.extras


@pytest.mark.parametrize("name", EXPECTED)
def test_only_requirements_of_the_project_and_of_its_requirements_are_pinned(name: str) -> None:
    """If this fails after a change of pyproject.toml, run `make requirements`."""
    pins = read_pins(name)
    direct = {pin.name for pin in pins if any(source.startswith("dicomstore ") for source in pin.required_by)}
    assert direct == {canonicalize_name(requirement.name) for requirement in EXPECTED[name]}
    needed = {pin.name for pin in pins} | {"dicomstore"}
    for pin in pins:
        assert pin.required_by, pin.name
        assert {canonicalize_name(source.partition(" ")[0]) for source in pin.required_by} <= needed, pin.name


@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda it: f"{it['python_full_version']} {it['platform_machine']}"
)
def test_a_package_has_the_same_version_in_all_files(environment: dict[str, str]) -> None:
    dev = {pin.name: pin.version for pin in installed(read_pins("dev"), environment)}
    for name in ("runtime", "build"):
        pins = installed(read_pins(name), environment)
        assert {pin.name: pin.version for pin in pins}.items() <= dev.items()
        assert len({pin.name for pin in pins}) == len(pins)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_files_name_no_package_index(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    assert "://" not in text
    assert {line.split("=")[0].strip() for line in text.splitlines() if line.lstrip().startswith("-")} == {"--hash"}


def installed(pins: list[Pin], environment: dict[str, str]) -> list[Pin]:
    return [pin for pin in pins if pin.applies(environment)]
