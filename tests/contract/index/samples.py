"""Minimal instances for the index suite, to which tests add attributes."""

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from server.model.ids import DEFAULT_PARTITION, Address, InstanceId, PartitionName, Uid
from server.model.instance import BulkElement, LevelAttributes, NewInstance, PixelLayout
from server.model.lifecycle.version import NO_PROVENANCE, Provenance

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"

EVERYTHING = Address(DEFAULT_PARTITION)

Keys = Mapping[str, str]
Elements = Mapping[str, Any]

_locators = itertools.count(1)


def uid(*parts: int) -> Uid:
    """Return a UID below the test root."""
    return Uid(".".join(map(str, (2, 999, *parts))))


def identity(
    study: int = 1, series: int = 1, instance: int = 1, partition: PartitionName = DEFAULT_PARTITION
) -> InstanceId:
    """Return an identity; equal numbers give the same study, series or instance."""
    return InstanceId(partition, uid(study), uid(study, series), uid(study, series, instance))


def study_ref(study: int = 1, partition: PartitionName = DEFAULT_PARTITION) -> Address:
    return Address(partition, uid(study))


def series_ref(study: int = 1, series: int = 1, partition: PartitionName = DEFAULT_PARTITION) -> Address:
    return Address(partition, uid(study), uid(study, series))


def sample(
    study: int = 1,
    series: int = 1,
    instance: int = 1,
    *,
    partition: PartitionName = DEFAULT_PARTITION,
    id: InstanceId | None = None,
    study_keys: Keys | None = None,
    series_keys: Keys | None = None,
    instance_keys: Keys | None = None,
    study_elements: Elements | None = None,
    series_elements: Elements | None = None,
    instance_elements: Elements | None = None,
    sop_class_uid: str = CT_IMAGE,
    pixels: PixelLayout | None = None,
    bulk: tuple[BulkElement, ...] = (),
    dicom_json: bytes | None = None,
    provenance: Provenance = NO_PROVENANCE,
) -> NewInstance:
    """Return a new instance with its own blob."""
    id = id or identity(study, series, instance, partition)
    number = next(_locators)
    return NewInstance(
        id=id,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=EXPLICIT_LITTLE,
        size_bytes=1000 + number,
        crc32c=0xFFFFFFFF - number,
        locator=f"blob-{number}",
        dicom_json=b'{"00080018":"%d"}' % number if dicom_json is None else dicom_json,
        study=LevelAttributes(study_keys or {}, study_elements or {}),
        series=LevelAttributes(series_keys or {}, series_elements or {}),
        instance=LevelAttributes(instance_keys or {}, instance_elements or {}),
        pixels=pixels,
        bulk=bulk,
        provenance=provenance,
    )


def modality(code: str) -> dict[str, Any]:
    """Return the attributes of a series with this modality."""
    return {
        "series_keys": {"Modality": code.lower()},
        "series_elements": {"00080060": {"vr": "CS", "Value": [code]}},
    }


def text(vr: str, value: str) -> dict[str, Any]:
    """Return a DICOM JSON element."""
    return {"vr": vr, "Value": [value]}
