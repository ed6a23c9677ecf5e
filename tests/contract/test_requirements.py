"""The pinned requirements agree with pyproject.toml and with each other; their licences; the bill of materials."""

import itertools
import json
import tomllib
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements import sbom
from requirements.licences import LicenceError, check, declared_licence
from requirements.pins import SYSTEMS, Pin, applies, read_pins, runtime_pins

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: dict[str, list[Any]] = PROJECT["dependency-groups"]


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
    for requirement, system in itertools.product(EXPECTED[name], SYSTEMS):
        if applies(requirement, system):
            [pin] = [pin for pin in installed(pins, system) if pin.name == canonicalize_name(requirement.name)]
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


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda it: f"{it['python_full_version']} {it['platform_machine']}")
def test_a_package_has_the_same_version_in_all_files(system: Environment) -> None:
    dev = {pin.name: pin.version for pin in installed(read_pins("dev"), system)}
    for name in ("runtime", "build"):
        pins = installed(read_pins(name), system)
        assert {pin.name: pin.version for pin in pins}.items() <= dev.items()
        assert len({pin.name for pin in pins}) == len(pins)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_files_name_no_package_index(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    assert "://" not in text
    assert {line.split("=")[0].strip() for line in text.splitlines() if line.lstrip().startswith("-")} == {"--hash"}


def installed(pins: list[Pin], system: Environment) -> list[Pin]:
    return [pin for pin in pins if pin.applies(system)]


@pytest.mark.parametrize(
    ("expression", "permissive"),
    [
        ("MIT", True),
        ("MIT AND PSF-2.0", True),
        ("GPL-2.0-only OR BSD-3-Clause", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("LGPL-3.0-only", False),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
    ],
)
def test_permissive_and_weak_copyleft_licences_are_told_apart(expression: str, permissive: bool) -> None:
    assert check(expression) is permissive


@pytest.mark.parametrize(
    "expression", ["GPL-3.0-or-later", "AGPL-3.0-only", "MIT AND GPL-2.0-only", "LicenseRef-Proprietary", "BSD", ""]
)
def test_other_licences_are_refused(expression: str) -> None:
    with pytest.raises(LicenceError):
        check(expression)


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License-Expression": "MIT", "License": "see LICENSE"}, "MIT"),
        ({"License": "3-Clause BSD License"}, "BSD-3-Clause"),
        ({"License": "Copyright …", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
    ],
)
def test_a_licence_is_found_in_any_field_of_the_metadata(fields: dict[str, str], licence: str) -> None:
    assert declared_licence(metadata(**fields)) == licence


@pytest.mark.parametrize("fields", [{}, {"License": "BSD"}, {"Classifier": "License :: OSI Approved"}])
def test_a_package_without_a_definite_licence_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(LicenceError):
        declared_licence(metadata(**fields))


def metadata(**fields: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"Name": "example", **fields}.items():
        message[name] = value
    return message


def test_the_bill_of_materials_is_valid_and_lists_what_is_pinned() -> None:
    from cyclonedx.validation.json import JsonStrictValidator  # its import takes two seconds

    time = datetime(2026, 1, 1, tzinfo=UTC)
    text = sbom.bill_of_materials(time)
    assert JsonStrictValidator(sbom.VERSION).validate_str(text) is None
    assert sbom.bill_of_materials(time) == text

    document = json.loads(text)
    pins = {f"pkg:pypi/{pin.name}@{pin.version}": pin for pin in runtime_pins()}
    components = {component["purl"]: component for component in document["components"]}
    assert components.keys() == pins.keys()
    for purl, component in components.items():
        assert component["licenses"]
        [files] = component["externalReferences"]
        assert {entry["content"] for entry in files["hashes"]} == set(pins[purl].hashes)

    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in document["dependencies"]}
    reached = set[str]()
    waiting = [document["metadata"]["component"]["bom-ref"]]
    while waiting:
        reached.add(ref := waiting.pop())
        waiting += set(needs[ref]) - reached
    assert reached >= pins.keys()


def test_the_bill_of_materials_lists_native_libraries_of_wheels() -> None:
    document = json.loads(sbom.bill_of_materials(datetime.now(UTC)))
    included = {part["name"] for component in document["components"] for part in component.get("components", ())}
    assert "libgomp" in included
