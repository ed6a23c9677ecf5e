"""Instances for measurements, generated in code: CT slices, small objects with many attributes, multi-frame objects,
slides."""

import functools
import random
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO

import pydicom
from PIL import Image
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

FAMILIES = ("Abbott", "Becker", "Carter", "Dawson", "Ebbers", "Foster", "Garner", "Holmes")
"""Family names of patients, all of equal length, so that they can replace each other in a file."""

_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_JPEG = "1.2.840.10008.1.2.4.50"
_CT = "1.2.840.10008.5.1.4.1.1.2"
_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_ROOT = "1.2.826.0.1.3680043.10.1.77"
_MORE_ATTRIBUTES = 140
_PIXEL_DATA = b"\xe0\x7f\x10\x00O"
_PICTURES = 64
_FIRST_DATE, _DAYS = date(2015, 1, 1), 3000
_NO_DATE = "19001231"


@dataclass(frozen=True, slots=True)
class Kind:
    """Size and content of an instance."""

    rows: int
    columns: int
    frames: int = 1
    rich: bool = False
    """With 140 additional attributes."""
    tiles: bool = False
    """Frames are JPEG tiles of about 4 KB."""


CT_SLICE = Kind(512, 512)
"""525 KB."""

SMALL = Kind(48, 64, rich=True)
"""About 9 KB, a third of it attributes."""


def uid(*parts: int) -> str:
    """Return a UID below the root of the benchmark."""
    return ".".join([_ROOT, *map(str, parts)])


def parts(kind: Kind, study: int, series: int = 1, number: int = 1) -> tuple[bytes, bytes]:
    """Return an instance as its header and its pixel data, which all instances of a kind share. Numbers are below
    10^8."""
    head, pixels = _template(kind)
    head = (
        head.replace(b"300000000", b"1%08d" % study)
        .replace(b"300000001", b"1%08d" % series)
        .replace(b"300000002", b"1%08d" % number)
        .replace(_NO_DATE.encode(), study_date(study).encode())
        .replace(FAMILIES[0].encode(), family(study).encode())
    )
    return head, pixels


def instance(kind: Kind, study: int, series: int = 1, number: int = 1) -> bytes:
    """Return one instance."""
    return b"".join(parts(kind, study, series, number))


def study_uid(study: int) -> str:
    """Return the UID of a study created by `instance`."""
    return uid(100000000 + study)


def series_uid(study: int, series: int = 1) -> str:
    """Return the UID of a series created by `instance`."""
    return uid(100000000 + study, 100000000 + series)


def instance_uid(study: int, series: int = 1, number: int = 1) -> str:
    """Return the UID of an instance created by `instance`."""
    return uid(100000000 + study, 100000000 + series, 100000000 + number)


def patient_id(study: int) -> str:
    """Return the Patient ID of a study created by `instance`."""
    return f"P{100000000 + study}"


def study_date(study: int) -> str:
    """Return the Study Date of a study created by `instance`."""
    return (_FIRST_DATE + timedelta(days=study * 37 % _DAYS)).strftime("%Y%m%d")


def family(study: int) -> str:
    """Return the patient's family name in a study created by `instance`."""
    return FAMILIES[study % len(FAMILIES)]


@functools.cache
def frames(kind: Kind) -> list[bytes]:
    """Return the frames, the same for all instances of a kind."""
    rng = random.Random(7)
    if kind.tiles:
        pictures = [_tile(kind, rng) for _ in range(_PICTURES)]
        return [_with_comment(pictures[number % _PICTURES], number) for number in range(kind.frames)]
    return [rng.randbytes(kind.rows * kind.columns * 2) for _ in range(kind.frames)]


def _tile(kind: Kind, rng: random.Random) -> bytes:
    """Return a JPEG image with 4:2:2 chroma (YBR_FULL_422), smooth enough to take about 4 KB."""
    noise = Image.frombytes("RGB", (8, 8), rng.randbytes(8 * 8 * 3))
    out = BytesIO()
    noise.resize((kind.columns, kind.rows), Image.Resampling.BICUBIC).save(out, "JPEG", quality=60, subsampling="4:2:2")
    return out.getvalue()


def _with_comment(image: bytes, number: int) -> bytes:
    """Return a distinct JPEG image of even length."""
    text = b"%08d" % number + b" " * (len(image) % 2)
    return image[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + image[2:]


@functools.cache
def _template(kind: Kind) -> tuple[bytes, bytes]:
    """Return a file with placeholders: numbers of nine digits, a date and a name."""
    data_set = _data_set(kind)
    out = BytesIO()
    pydicom.dcmwrite(out, data_set, enforce_file_format=True)
    file = out.getvalue()
    at = file.index(_PIXEL_DATA)
    return file[:at], file[at:]


def _data_set(kind: Kind) -> Dataset:
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    if kind.rich:
        _add_attributes(data_set)
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.SOPClassUID = _SLIDE if kind.tiles else _CT
    data_set.SOPInstanceUID = uid(300000000, 300000001, 300000002)
    data_set.StudyInstanceUID = uid(300000000)
    data_set.SeriesInstanceUID = uid(300000000, 300000001)
    data_set.StudyDate = _NO_DATE
    data_set.SeriesDate = data_set.AcquisitionDate = data_set.ContentDate = "20240131"
    data_set.StudyTime = data_set.SeriesTime = data_set.AcquisitionTime = data_set.ContentTime = "101530.250"
    data_set.AccessionNumber = "A300000000"
    data_set.Modality = "SM" if kind.tiles else "CT"
    data_set.Manufacturer = "Bench"
    data_set.ReferringPhysicianName = "Referring^Physician"
    data_set.StudyDescription = "Abdomen with contrast"
    data_set.SeriesDescription = "Axial 1.0 mm"
    data_set.ManufacturerModelName = "Model One"
    data_set.PatientName = f"{FAMILIES[0]}^P300000000"
    data_set.PatientID = "P300000000"
    data_set.PatientBirthDate = "19700101"
    data_set.PatientSex = "O"
    data_set.StudyID = "1"
    data_set.SeriesNumber = 1
    data_set.InstanceNumber = 1
    data_set.SliceThickness = "1.0"
    data_set.ImagePositionPatient = ["-120.5", "-118.25", "33.0"]
    data_set.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    data_set.FrameOfReferenceUID = uid(1)
    data_set.PixelSpacing = ["0.703125", "0.703125"]
    data_set.WindowCenter, data_set.WindowWidth = "40", "400"
    data_set.RescaleIntercept, data_set.RescaleSlope = "-1024", "1"
    data_set.NumberOfFrames, data_set.Rows, data_set.Columns = kind.frames, kind.rows, kind.columns
    _add_pixels(data_set, kind)
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(_JPEG if kind.tiles else _EXPLICIT_LITTLE)
    data_set.file_meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    return data_set


def _add_attributes(data_set: Dataset) -> None:
    """Add the first attributes of group 0018 in the data dictionary, with short values."""
    values = {
        "DS": "1.5",
        "IS": "7",
        "LO": "some text",
        "SH": "short",
        "CS": "CODE",
        "DA": "20240131",
        "FD": 2.5,
        "US": 3,
    }
    wanted = [
        (keyword, values[vr])
        for tag, (vr, _, _, retired, keyword) in sorted(DicomDictionary.items())
        if tag >> 16 == 0x0018 and vr in values and not retired
    ]
    for keyword, value in wanted[:_MORE_ATTRIBUTES]:
        setattr(data_set, keyword, value)


def _add_pixels(data_set: Dataset, kind: Kind) -> None:
    if kind.tiles:
        data_set.SamplesPerPixel, data_set.PhotometricInterpretation, data_set.PlanarConfiguration = (
            3,
            "YBR_FULL_422",
            0,
        )
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = 8, 8, 7, 0
        data_set.TotalPixelMatrixColumns = data_set.TotalPixelMatrixRows = 256 * 71
        data_set.PixelData = encapsulate(frames(kind))
        data_set["PixelData"].VR = "OB"
        data_set["PixelData"].is_undefined_length = True
    else:
        data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = 16, 12, 11, 0
        data_set.PixelData = b"".join(frames(kind))
