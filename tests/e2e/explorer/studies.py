"""The studies of the tests of the explorer: built in code, and real files of pydicom."""

from collections.abc import Iterator

from pydicom.data import get_testdata_file

from tests.data import UID_ROOT, part10
from tests.e2e.explorer import video
from tests.e2e.studies import document_study, in_own_study, padded, phantom_study, slide_study

REAL_FILES = ("CT_small.dcm", "MR_small.dcm", "examples_ybr_color.dcm", "waveform_ecg.dcm", "reportsi.dcm")
"""CT, MR, ultrasound with several frames, an ECG, and a Structured Report."""

LIST_STUDIES = 12
LIST_ROOT = f"{UID_ROOT}.79"


def list_study(number: int) -> bytes:
    """Return the only instance of a study that is there to be listed, found, changed and deleted."""
    return part10(
        StudyInstanceUID=f"{LIST_ROOT}.{number}",
        SeriesInstanceUID=f"{LIST_ROOT}.{number}.1",
        SOPInstanceUID=f"{LIST_ROOT}.{number}.1.1",
        PatientName=f"Listed^Person {number:02}",
        PatientID=f"L{number:02}",
        StudyDate=f"202401{number:02}",
        StudyDescription=f"Examination {number:02}",
        AccessionNumber=f"A{number:02}",
        frames=[bytes(range(64))],
    )


MANY = 230
MANY_ROOT = f"{UID_ROOT}.77"


def many_files() -> list[bytes]:
    """Return single instances of more studies than a page of the list has."""
    return [
        part10(
            StudyInstanceUID=f"{MANY_ROOT}.{number}",
            SeriesInstanceUID=f"{MANY_ROOT}.{number}.1",
            SOPInstanceUID=f"{MANY_ROOT}.{number}.1.1",
            PatientName=f"Many^Person {number:03}",
            PatientID=f"M{number:03}",
        )
        for number in range(1, MANY + 1)
    ]


VIDEO_STUDY = f"{UID_ROOT}.78"
VIDEO_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
MPEG4 = "1.2.840.10008.1.2.4.102"


def video_study() -> bytes:
    """Return a video of some grey pictures."""
    return part10(
        transfer_syntax=MPEG4,
        fragments=[[padded(video.mp4())]],
        StudyInstanceUID=VIDEO_STUDY,
        SeriesInstanceUID=f"{VIDEO_STUDY}.1",
        SOPInstanceUID=f"{VIDEO_STUDY}.1.1",
        SOPClassUID=VIDEO_CLASS,
        PatientName="Test^Video",
        Modality="ES",
        Rows=video.SIZE,
        Columns=video.SIZE,
        NumberOfFrames=len(video.GREYS),
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_PARTIAL_420",
    )


def all_files() -> Iterator[bytes]:
    """Yield all instances, those of the most various studies last."""
    for number in range(1, LIST_STUDIES + 1):
        yield list_study(number)
    yield from phantom_study()
    yield document_study()
    yield from slide_study()
    yield video_study()
    for name in REAL_FILES:
        assert get_testdata_file(name)
        yield in_own_study(name)
