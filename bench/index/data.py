"""Index entries for an archive of any size: no files, and minimal metadata.

The archive grows over time by fifty studies a day, so that a search by day finds as many in a large archive as in a
small
one. Of a hundred studies, one is a CT of 250 slices and the others have one to four images: five instances per study on
    average. Frequencies of family names follow Zipf's law; one name in fifty is unique.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from string import ascii_lowercase
from typing import Any

import orjson

from server.dicom.matching.attributes import attributes_of
from server.dicom.matching.query_tags import new_tag
from server.model.ids import DEFAULT_PARTITION, InstanceId, Uid
from server.model.instance import NewInstance, PixelLayout
from server.model.search.query import Level

STUDIES_PER_DAY = 50
INSTANCES_PER_STUDY = 5
STUDIES_PER_CT = 100
SLICES = 250

_ROOT = "1.2.826.0.1.3680043.10.1.88"
CLASSES = {
    modality: f"1.2.840.10008.5.1.4.1.1.{which}"
    for modality, which in (("CT", "2"), ("MR", "4"), ("CR", "1"), ("US", "6.1"), ("MG", "1.2"))
}
"""SOP classes, by modality."""

_SYLLABLES = ("ka", "mo", "re", "ti", "su", "na", "vo", "li", "ber", "dan", "gul", "hoff", "mar", "sen", "ton", "win")
FAMILIES = tuple((a + b + c).capitalize() for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES[:8])
_WEIGHTS = tuple(accumulate(1 / rank for rank in range(1, len(FAMILIES) + 1)))
_GIVEN = tuple((a + b).capitalize() for a in _SYLLABLES for b in _SYLLABLES)
_DESCRIPTIONS = ("Chest PA and lateral", "Abdomen with contrast", "Knee left", "Head without contrast", "Mammography")

MAKERS = ("Bench", "Acme", "Nobody's")

TAGS = (
    new_tag("Manufacturer", "", "", Level.STUDY),
    new_tag("DeviceSerialNumber", "", "", Level.STUDY),
    new_tag("DateOfLastCalibration", "", "", Level.INSTANCE),
)
"""Attributes added as extended query tags: one with few values, one with many, and dates of instances."""


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study by number: the values that a search for it uses."""

    number: int
    uid: str
    patient_id: str
    accession_number: str
    family: str
    given: str
    day: str
    next_day: str
    modality: str
    sizes: tuple[int, ...]

    @property
    def device(self) -> str:
        """Device Serial Number, shared by a hundred consecutive studies."""
        return f"D{self.number // 100:06d}"

    def series_uid(self, series: int) -> str:
        """Return the UID of a series, counted from 0."""
        return f"{self.uid}.{series + 1}"

    def sop_uid(self, series: int, instance: int) -> str:
        """Return the UID of an instance, counted from 0."""
        return f"{self.uid}.{series + 1}.{instance + 1}"


def study_facts(number: int, per_day: int = STUDIES_PER_DAY) -> StudyFacts:
    """Return the study with a number from 0 of an archive that grows by `per_day` studies a day; deterministic."""
    chance = random.Random(number)
    person = random.Random(number // 2 + 7_000_000_000)  # a patient has two studies
    family = person.choices(FAMILIES, cum_weights=_WEIGHTS)[0]
    if person.random() < 0.02:
        family = "Q" + "".join(person.choices(ascii_lowercase, k=7))  # unique
    is_ct = number % STUDIES_PER_CT == 0
    images = chance.choice((1, 2, 3, 4))
    sizes = (SLICES,) if is_ct else (images,) if images < 3 else (1, images - 1)
    day = date(2000, 1, 1) + timedelta(days=number // per_day)
    return StudyFacts(
        number=number,
        uid=f"{_ROOT}.{number + 1}",
        patient_id=f"P{number // 2:08d}",
        accession_number=f"A{number:09d}",
        family=family,
        given=person.choice(_GIVEN),
        day=day.strftime("%Y%m%d"),
        next_day=(day + timedelta(days=1)).strftime("%Y%m%d"),
        modality="CT" if is_ct else chance.choice(("MR", "CR", "CR", "US", "MG")),
        sizes=sizes,
    )


def instances_of(facts: StudyFacts) -> Iterator[NewInstance]:
    """Generate the instances of a study."""
    study = attributes_of(Level.STUDY, _study_elements(facts))
    sop_class = CLASSES[facts.modality]
    for number, size in enumerate(facts.sizes):
        series = attributes_of(Level.SERIES, _series_elements(facts, number))
        for instance in range(size):
            sop_uid = facts.sop_uid(number, instance)
            elements = _instance_elements(sop_class, sop_uid, instance)
            yield NewInstance(
                id=InstanceId(DEFAULT_PARTITION, Uid(facts.uid), Uid(facts.series_uid(number)), Uid(sop_uid)),
                sop_class_uid=sop_class,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                size_bytes=525_000,
                crc32c=facts.number,
                locator=f"{facts.number:09d}-{number}-{instance}",
                dicom_json=_dicom_json(facts, sop_uid),
                study=study,
                series=series,
                instance=attributes_of(Level.INSTANCE, elements),
                pixels=PixelLayout(1, 1_024, 524_288, 16, 524_288 * 8),
                bulk=(),
            )


def _dicom_json(facts: StudyFacts, sop_uid: str) -> bytes:
    """Return the metadata needed in addition to return keys: values of `TAGS`."""
    elements = {
        "00080018": _element("UI", sop_uid),
        "00080070": _element("LO", MAKERS[facts.number % len(MAKERS)]),
        "00181000": _element("LO", facts.device),
        "00181200": _element("DA", facts.day),
    }
    return orjson.dumps(elements)


def batches(instances: int, size: int) -> Iterator[Sequence[NewInstance]]:
    """Yield at least `instances` instances, whole studies in order, in batches of `size` or slightly more."""
    batch: list[NewInstance] = []
    for number in range(instances // INSTANCES_PER_STUDY):
        batch += instances_of(study_facts(number))
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _study_elements(facts: StudyFacts) -> dict[str, Any]:
    return {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080020": _element("DA", facts.day),
        "00080030": _element("TM", f"{7 + facts.number % 12:02d}{facts.number % 60:02d}00"),
        "00080050": _element("SH", facts.accession_number),
        "00080090": _element("PN", {"Alphabetic": f"Referrer^{_GIVEN[facts.number % 40]}"}),
        "00081030": _element("LO", _DESCRIPTIONS[facts.number % len(_DESCRIPTIONS)]),
        "00100010": _element("PN", {"Alphabetic": f"{facts.family}^{facts.given}"}),
        "00100020": _element("LO", facts.patient_id),
        "00100030": _element("DA", f"{1930 + facts.number // 2 % 80}0615"),
        "00100040": _element("CS", "FMO"[facts.number // 2 % 3]),
        "00101010": _element("AS", "054Y"),
        "0020000D": _element("UI", facts.uid),
        "00200010": _element("SH", f"S{facts.number}"),
    }


def _series_elements(facts: StudyFacts, number: int) -> dict[str, Any]:
    return {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080021": _element("DA", facts.day),
        "00080060": _element("CS", facts.modality),
        "0008103E": _element("LO", f"Series {number + 1}"),
        "00081090": _element("LO", "Model One"),
        "0020000E": _element("UI", facts.series_uid(number)),
        "00200011": _element("IS", number + 1),
        "00400244": _element("DA", facts.day),
        "00400245": _element("TM", "101500"),
    }


def _instance_elements(sop_class: str, sop_uid: str, number: int) -> dict[str, Any]:
    return {
        "00080005": _element("CS", "ISO_IR 192"),
        "00080016": _element("UI", sop_class),
        "00080018": _element("UI", sop_uid),
        "00200013": _element("IS", number + 1),
        "00280010": _element("US", 512),
        "00280011": _element("US", 512),
        "00280100": _element("US", 16),
    }


def _element(vr: str, value: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
