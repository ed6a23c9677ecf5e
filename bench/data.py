"""Instances to measure with, made in code: the sizes of a CT slice, of a small object, and of a multi-frame one."""

import functools
import random
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
_ROOT = "1.2.826.0.1.3680043.10.1.77"


def uid(*parts: int) -> str:
    """Return a UID below the root of the benchmark."""
    return ".".join([_ROOT, *map(str, parts)])


@functools.cache
def _template(kind: str) -> bytes:
    """Return a file whose study, series and instance numbers are nine digits to be replaced."""
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data_set.SOPClassUID = CT
    data_set.SOPInstanceUID = uid(300000000, 300000001, 300000002)
    data_set.StudyInstanceUID = uid(300000000)
    data_set.SeriesInstanceUID = uid(300000000, 300000001)
    data_set.StudyDate = data_set.SeriesDate = data_set.AcquisitionDate = data_set.ContentDate = "20240131"
    data_set.StudyTime = data_set.SeriesTime = data_set.AcquisitionTime = data_set.ContentTime = "101530.250"
    data_set.AccessionNumber = "A300000000"
    data_set.Modality = "CT"
    data_set.Manufacturer = "Bench"
    data_set.ReferringPhysicianName = "Referring^Physician"
    data_set.StudyDescription = "Abdomen with contrast"
    data_set.SeriesDescription = "Axial 1.0 mm"
    data_set.ManufacturerModelName = "Model One"
    data_set.PatientName = "Bench^P300000000"
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
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    frames, rows, columns = {"ct": (1, 512, 512), "small": (1, 48, 64), "multiframe": (200, 256, 256)}[kind]
    data_set.NumberOfFrames, data_set.Rows, data_set.Columns = frames, rows, columns
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = 16, 12, 11, 0
    data_set.PixelData = random.Random(7).randbytes(frames * rows * columns * 2)
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    data_set.file_meta.MediaStorageSOPClassUID = CT
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    out = BytesIO()
    pydicom.dcmwrite(out, data_set, enforce_file_format=True)
    return out.getvalue()


def instance(kind: str, study: int, series: int = 1, number: int = 1) -> bytes:
    """Return one instance. Numbers are below 10^8."""
    return (
        _template(kind)
        .replace(b"300000000", b"1%08d" % study)
        .replace(b"300000001", b"1%08d" % series)
        .replace(b"300000002", b"1%08d" % number)
    )


def study_uid(study: int) -> str:
    """Return the UID of a study that `instance` makes."""
    return uid(100000000 + study)


def series_uid(study: int, series: int = 1) -> str:
    """Return the UID of a series that `instance` makes."""
    return uid(100000000 + study, 100000000 + series)


def instance_uid(study: int, series: int = 1, number: int = 1) -> str:
    """Return the UID of an instance that `instance` makes."""
    return uid(100000000 + study, 100000000 + series, 100000000 + number)
