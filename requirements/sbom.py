"""Write the software bill of materials of the archive (CycloneDX 1.6, JSON): `python -m requirements.sbom FILE`.

Its components are the pinned packages of every supported system, with the dependencies between them and the hashes of
their files. The packages of this system contain the native libraries and crates that their wheels declare (PEP 770).
"""

import importlib.metadata
import json
import os
import re
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from requirements.licences import licences
from requirements.pins import Pin, runtime_pins

ROOT = Path(__file__).parents[1]
VERSION = SchemaVersion.V1_6
_LICENCES = LicenseFactory()


def bill_of_materials(time: datetime) -> str:
    """Return the document. It depends only on the pinned requirements, the installed wheels and the time."""
    pins = runtime_pins()
    licence_of = licences()
    components = {pin: _component(pin, licence_of[pin.name]) for pin in pins}
    project = _project()
    bom = Bom(
        components=components.values(),
        metadata=BomMetaData(component=project, timestamp=time, tools=ToolRepository(components=[this_component()])),
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, "\n".join((str(project.purl), *map(repr, pins)))),
    )
    for name, component in [(project.name, project), *((pin.name, component) for pin, component in components.items())]:
        bom.register_dependency(component, [components[pin] for pin in pins if name in _users(pin)])
    return make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=2)


def _users(pin: Pin) -> set[str]:
    """Return the names of the packages that need one; the project itself is `dicomstore (pyproject.toml)`."""
    return {source.partition(" ")[0] for source in pin.required_by}


def _project() -> Component:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    purl = PackageURL("generic", name=project["name"], version=project["version"])
    return Component(
        name=project["name"],
        version=project["version"],
        description=project["description"],
        type=ComponentType.APPLICATION,
        licenses=[_LICENCES.make_from_string(project["license"])],
        purl=purl,
        bom_ref=str(purl),
    )


def _component(pin: Pin, licence: str) -> Component:
    purl = PackageURL("pypi", name=pin.name, version=pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        comment="SHA-256 of each file of this version",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=value) for value in pin.hashes],
    )
    return Component(
        name=pin.name,
        version=pin.version,
        licenses=[_LICENCES.make_from_string(licence)],
        purl=purl,
        bom_ref=str(purl),
        external_references=[files],
        properties=[Property(name="dicomstore:marker", value=str(pin.requirement.marker))]
        if pin.requirement.marker
        else None,
        components=_included(pin, str(purl)),
    )


def _included(pin: Pin, parent: str) -> list[Component]:
    """Return what the installed wheel of a package declares to include, if this system has the pinned version."""
    try:
        distribution = importlib.metadata.distribution(pin.name)
    except importlib.metadata.PackageNotFoundError:
        return []
    if distribution.version != pin.version:
        return []
    found: dict[str, Component] = {}
    for file in distribution.files or ():
        if ".dist-info/sboms/" in str(file) and file.name.endswith(".json"):
            for entry in json.loads(file.read_text())["components"]:
                if re.sub(r"[-_.]+", "-", entry["name"].lower()) != pin.name:
                    component = _declared(entry, parent)
                    found[str(component.bom_ref)] = component
    return list(found.values())


def _declared(entry: dict[str, Any], parent: str) -> Component:
    licence = next((_licence(item) for item in entry.get("licenses", ())), None)
    return Component(
        name=entry["name"],
        version=entry.get("version"),
        licenses=[_LICENCES.make_from_string(licence)] if licence else None,
        purl=PackageURL.from_string(entry["purl"]) if "purl" in entry else None,
        bom_ref=f"{parent}#{entry['name']}@{entry.get('version', '')}",
    )


def _licence(item: dict[str, Any]) -> str:
    named = item.get("license", {})
    return str(item.get("expression") or named.get("id") or named["name"])


def main() -> None:
    """Write the document, with the time of `SOURCE_DATE_EPOCH` if it is set, so that a build can be reproduced."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    time = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    target = Path(sys.argv[1])
    target.parent.mkdir(exist_ok=True)
    target.write_text(bill_of_materials(time) + "\n")


if __name__ == "__main__":
    main()
