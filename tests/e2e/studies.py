"""Studies for real viewers, built in code: a phantom in CT slices, its segmentation, a document, and a slide.

They have all mandatory attributes of their IODs, which some clients require, and contain no real patients.
"""

import zlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.data import JPEG_BASELINE, UID_ROOT, part10

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
SLIDE_IMAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"

PHANTOM_STUDY = f"{UID_ROOT}.70.1"
DOCUMENT_STUDY = f"{UID_ROOT}.70.2"
SLIDE_STUDY = f"{UID_ROOT}.70.3"
HTJ2K_STUDY = f"{UID_ROOT}.70.4"

HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"

SLICES, SIZE = 24, 256
_SPACING_MM, _THICKNESS_MM = 1.5, 5.0
_FRAME_OF_REFERENCE = f"{UID_ROOT}.70.1.9"


def code(value: str, scheme: str, meaning: str) -> Sequence:
    """Return a code sequence with one code."""
    return Sequence([item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)])


def item(**attributes: Any) -> Dataset:
    """Return a data set with attributes by keyword."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def phantom_study(study: str = PHANTOM_STUDY) -> list[bytes]:
    """Return a head-like phantom as CT slices and a segmentation of its contents."""
    slices, inside = zip(*(_slice(number) for number in range(SLICES)), strict=True)
    pixels = [{"frames": [(values + 1024).astype("<u2").tobytes()]} for values in slices]
    files = [_ct(study, number, frame) for number, frame in enumerate(pixels)]
    return [*files, _segmentation(study, inside)]


def _slice(number: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Return Hounsfield units of a slice, and where the lesion is."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    height = 2 * number / (SLICES - 1) - 1
    width = np.sqrt(max(1 - (0.85 * height) ** 2, 0.05))
    values = np.full((SIZE, SIZE), -1000, np.int16)
    radius = np.hypot(x / (0.72 * width), y / (0.88 * width))
    values[radius < 1] = 900
    values[radius < 0.93] = 35
    grooves = np.sin(18 * np.arctan2(y, x) + 9 * radius) * np.sin(14 * radius)
    values[(radius < 0.9) & (radius > 0.45) & (grooves > 0.55)] = 8
    for side in (-1, 1):
        values[np.hypot((x - 0.13 * side * width) / 0.09, (y + 0.05) / (0.25 * width)) < 1] = 3
    lesion = np.hypot(x - 0.3, y - 0.25) ** 2 + (0.6 * (height - 0.1)) ** 2 < 0.026
    values[lesion & (radius < 0.9)] = 75
    noise = np.random.default_rng(number).normal(0, 4, values.shape)
    return (values + noise).astype(np.int16), lesion & (radius < 0.9)


def structures(study: str = PHANTOM_STUDY) -> bytes:
    """Return an RT Structure Set with a circle around the middle of each slice of the phantom."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    contours = []
    for number in range(SLICES):
        z = _position(number)[2]
        points = [[round(40 * np.cos(a), 2), round(40 * np.sin(a), 2), z] for a in angles]
        contours.append(
            item(
                ContourImageSequence=Sequence([_reference(study, number)]), ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points), ContourData=[value for point in points for value in point],
            )
        )  # fmt: skip
    images = item(
        SeriesInstanceUID=f"{study}.1",
        ContourImageSequence=Sequence([_reference(study, number) for number in range(SLICES)]),
    )
    referenced_study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=study,
        RTReferencedSeriesSequence=Sequence([images]),
    )  # fmt: skip
    frame = item(
        FrameOfReferenceUID=_FRAME_OF_REFERENCE, RTReferencedStudySequence=Sequence([referenced_study])
    )  # fmt: skip
    roi = item(
        ROINumber=1,
        ReferencedFrameOfReferenceUID=_FRAME_OF_REFERENCE,
        ROIName="Middle",
        ROIGenerationAlgorithm="MANUAL",
    )
    contour = item(ReferencedROINumber=1, ROIDisplayColor=[0, 255, 0], ContourSequence=Sequence(contours))
    observation = item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN", ROIInterpreter="")
    return part10(
        SOPClassUID=RT_STRUCTURE_SET, SOPInstanceUID=f"{study}.3.1", StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.3", Modality="RTSTRUCT", **_patient("Phantom^Head", "PHANTOM"),
        StudyDescription="Phantom of a head", SeriesDescription="Structures", StudyDate="20240102", StudyTime="101500",
        SeriesDate="20240102", SeriesTime="110000", StudyID="1", AccessionNumber="A1", SeriesNumber=3, InstanceNumber=1,
        Manufacturer="None", StructureSetLabel="MIDDLE", StructureSetDate="20240102", StructureSetTime="110000",
        ReferencedFrameOfReferenceSequence=Sequence([frame]), StructureSetROISequence=Sequence([roi]),
        ROIContourSequence=Sequence([contour]), RTROIObservationsSequence=Sequence([observation]),
        ApprovalStatus="UNAPPROVED",
    )  # fmt: skip


def htj2k_study(study: str = HTJ2K_STUDY) -> bytes:
    """Return a slice of the phantom in High-Throughput JPEG 2000, lossless."""
    values, _ = _slice(SLICES // 2)
    codestream = imagecodecs.htj2k_encode((values + 1024).astype(np.uint16), reversible=True)
    return _ct(study, SLICES // 2, {"transfer_syntax": HTJ2K_LOSSLESS, "fragments": [[bytes(codestream)]]})


def _ct(study: str, number: int, pixels: dict[str, Any]) -> bytes:
    return part10(
        **pixels, SOPClassUID=CT_IMAGE, SOPInstanceUID=_ct_uid(study, number), StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1", FrameOfReferenceUID=_FRAME_OF_REFERENCE, Modality="CT",
        **_patient("Phantom^Head", "PHANTOM"), StudyDescription="Phantom of a head", SeriesDescription="Axial 5 mm",
        StudyDate="20240102", StudyTime="101500", SeriesDate="20240102", SeriesTime="101500", StudyID="1",
        AccessionNumber="A1", SeriesNumber=1, InstanceNumber=number + 1, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        Manufacturer="None", PixelSpacing=[_SPACING_MM, _SPACING_MM], SliceThickness=_THICKNESS_MM,
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=_position(number),
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=SIZE, Columns=SIZE, BitsAllocated=16,
        BitsStored=16, HighBit=15, PixelRepresentation=0, RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU",
        WindowCenter=40, WindowWidth=120, KVP=120, NumberOfFrames=None,
    )  # fmt: skip


def _segmentation(study: str, masks: tuple[NDArray[np.bool_], ...]) -> bytes:
    """Return a binary segmentation with one segment, in frames of the slices that it touches."""
    marked = [number for number, mask in enumerate(masks) if mask.any()]
    bits = np.concatenate([masks[number].ravel() for number in marked])
    segment = item(
        SegmentNumber=1, SegmentLabel="Lesion", SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=code("49755003", "SCT", "Morphologically Altered Structure"),
        SegmentedPropertyTypeCodeSequence=code("4147007", "SCT", "Mass"),
        RecommendedDisplayCIELabValue=[34885, 53485, 50171],
    )  # fmt: skip
    shared = item(
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelMeasuresSequence=Sequence(
            [item(PixelSpacing=[_SPACING_MM] * 2, SliceThickness=_THICKNESS_MM, SpacingBetweenSlices=_THICKNESS_MM)]
        ),
        SegmentIdentificationSequence=Sequence([item(ReferencedSegmentNumber=1)]),
    )
    references = Sequence(
        [
            item(
                SeriesInstanceUID=f"{study}.1",
                ReferencedInstanceSequence=Sequence([_reference(study, number) for number in range(SLICES)]),
            )
        ]
    )
    return part10(
        frames=[np.packbits(bits, bitorder="little").tobytes()],
        SOPClassUID=SEGMENTATION, SOPInstanceUID=f"{study}.2.1", StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.2", FrameOfReferenceUID=_FRAME_OF_REFERENCE, Modality="SEG",
        **_patient("Phantom^Head", "PHANTOM"), StudyDescription="Phantom of a head", SeriesDescription="Lesion",
        StudyDate="20240102", StudyTime="101500", SeriesDate="20240102", SeriesTime="103000", StudyID="1",
        AccessionNumber="A1", SeriesNumber=2, InstanceNumber=1, ImageType=["DERIVED", "PRIMARY"], Manufacturer="None",
        ManufacturerModelName="None", DeviceSerialNumber="1", SoftwareVersions="1", ContentLabel="LESION",
        ContentDescription="", ContentCreatorName="", ContentDate="20240102", ContentTime="103000",
        SegmentationType="BINARY", SegmentSequence=Sequence([segment]), ReferencedSeriesSequence=references,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(
            [_segment_frame(study, number, index) for index, number in enumerate(marked, 1)]
        ),
        DimensionOrganizationSequence=Sequence([item(DimensionOrganizationUID=f"{study}.2.8")]),
        DimensionIndexSequence=Sequence(
            [item(DimensionOrganizationUID=f"{study}.2.8", DimensionIndexPointer=0x00200032,
                  FunctionalGroupPointer=0x00209113)]
        ),
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=SIZE, Columns=SIZE, BitsAllocated=1,
        BitsStored=1, HighBit=0, PixelRepresentation=0, LossyImageCompression="00", NumberOfFrames=len(marked),
    )  # fmt: skip


def _segment_frame(study: str, number: int, index: int) -> Dataset:
    purpose = code("121322", "DCM", "Source image for image processing operation")
    source = _reference(study, number)
    source.PurposeOfReferenceCodeSequence = purpose
    derivation = item(
        SourceImageSequence=Sequence([source]),
        DerivationCodeSequence=code("113076", "DCM", "Segmentation"),
    )
    return item(
        DerivationImageSequence=Sequence([derivation]),
        FrameContentSequence=Sequence([item(DimensionIndexValues=[index])]),
        PlanePositionSequence=Sequence([item(ImagePositionPatient=_position(number))]),
    )


def _reference(study: str, number: int) -> Dataset:
    return item(ReferencedSOPClassUID=CT_IMAGE, ReferencedSOPInstanceUID=_ct_uid(study, number))


def _ct_uid(study: str, number: int) -> str:
    return f"{study}.1.{number + 1}"


def _position(number: int) -> list[float]:
    return [-SIZE * _SPACING_MM / 2, -SIZE * _SPACING_MM / 2, number * _THICKNESS_MM]


def _patient(name: str, patient_id: str) -> dict[str, Any]:
    return {"PatientName": name, "PatientID": patient_id, "PatientBirthDate": "19700101", "PatientSex": "O"}


def document_study(study: str = DOCUMENT_STUDY) -> bytes:
    """Return a one-page PDF as a DICOM object."""
    return part10(
        SOPClassUID=ENCAPSULATED_PDF, SOPInstanceUID=f"{study}.1.1", StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1", Modality="DOC", **_patient("Phantom^Paper", "PAPER"),
        StudyDescription="A letter", SeriesDescription="Letter", StudyDate="20240103", StudyTime="090000",
        SeriesDate="20240103", SeriesTime="090000", StudyID="2", AccessionNumber="A2", SeriesNumber=1,
        InstanceNumber=1, ConversionType="WSD", BurnedInAnnotation="NO", DocumentTitle="Letter",
        MIMETypeOfEncapsulatedDocument="application/pdf", EncapsulatedDocument=padded(pdf("A letter about a phantom.")),
    )  # fmt: skip


def padded(value: bytes) -> bytes:
    """Return a value of even length."""
    return value + b"\0" * (len(value) % 2)


def pdf(text: str) -> bytes:
    """Return a PDF of one page with one line of text."""
    # Too long to be inline in metadata.
    content = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET 1 0 0 rg 72 560 200 100 re f".encode() + b"\n% nothing" * 300
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, text_of_object in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, text_of_object)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(body)
    return body + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


SLIDE_LEVELS = ((2816, 2560), (704, 640))
"""Width and height in pixels, the largest first."""

TILE = 256
_SLIDE_SPACING_MM = 0.0005


def slide_study(study: str = SLIDE_STUDY) -> list[bytes]:
    """Return a stained section as a pyramid of JPEG tiles, with label and overview."""
    image = section(*SLIDE_LEVELS[0])
    volumes = [
        _slide_image(study, number, image.resize(size), ["ORIGINAL" if number == 1 else "DERIVED", "PRIMARY", "VOLUME"])
        for number, size in enumerate(SLIDE_LEVELS, 1)
    ]
    label = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(label).text((40, 120), "PHANTOM", fill="black")
    return [
        *volumes,
        _slide_image(study, 8, label, ["ORIGINAL", "PRIMARY", "LABEL"]),
        _slide_image(study, 9, image.resize((352, 320)), ["ORIGINAL", "PRIMARY", "OVERVIEW"]),
    ]


def section(width: int, height: int) -> Image.Image:
    """Return an image with different tiles."""
    image = Image.new("RGB", (width, height), (240, 236, 242))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.08, height * 0.1, width * 0.92, height * 0.9), fill=(226, 160, 196))
    chance = np.random.default_rng(7)
    for x, y, size in zip(
        chance.integers(0, width, 3000), chance.integers(0, height, 3000), chance.integers(6, 22, 3000), strict=True
    ):
        inside = ((x / width - 0.5) / 0.41) ** 2 + ((y / height - 0.5) / 0.39) ** 2 < 1
        if inside:
            draw.ellipse((x, y, x + size, y + size), fill=(int(90 + size), 52, int(120 + size)))
    for column in range(0, width, TILE):
        for row in range(0, height, TILE):
            draw.text((column + 4, row + 4), f"{column // TILE},{row // TILE}", fill=(40, 40, 120))
    return image


def _slide_image(study: str, number: int, image: Image.Image, image_type: list[str]) -> bytes:
    full_width, full_height = (size * _SLIDE_SPACING_MM for size in SLIDE_LEVELS[0])
    tiles = [[jpeg] for jpeg in _tiles(image)]
    optical_path = item(
        OpticalPathIdentifier="1", IlluminationColorCodeSequence=code("414298005", "SCT", "Full Spectrum"),
        IlluminationTypeCodeSequence=code("111744", "DCM", "Brightfield illumination"),
        ICCProfile=padded(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
    )  # fmt: skip
    measures = item(
        PixelSpacing=[full_height / image.height, full_width / image.width], SliceThickness=0.001,
        SpacingBetweenSlices=0.001,
    )  # fmt: skip
    shared = item(
        PixelMeasuresSequence=Sequence([measures]),
        WholeSlideMicroscopyImageFrameTypeSequence=Sequence([item(FrameType=[*image_type, "NONE"])]),
        OpticalPathIdentificationSequence=Sequence([item(OpticalPathIdentifier="1")]),
    )
    specimen = item(
        SpecimenIdentifier="S1", SpecimenUID=f"{study}.7", IssuerOfTheSpecimenIdentifierSequence=Sequence([]),
        SpecimenPreparationSequence=Sequence([]),
    )  # fmt: skip
    return part10(
        transfer_syntax=JPEG_BASELINE, fragments=tiles,
        SOPClassUID=SLIDE_IMAGE, SOPInstanceUID=f"{study}.1.{number}", StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1", FrameOfReferenceUID=f"{study}.8", PositionReferenceIndicator="SLIDE_CORNER",
        Modality="SM", **_patient("Phantom^Slide", "SLIDE"), StudyDescription="Stained section",
        SeriesDescription="Slide", StudyDate="20240104", StudyTime="110000", SeriesDate="20240104",
        SeriesTime="110000", StudyID="3", AccessionNumber="A3", SeriesNumber=1, InstanceNumber=number,
        AcquisitionDateTime="20240104110000", AcquisitionDuration=1.0, ContentDate="20240104", ContentTime="110000",
        ImageType=[*image_type, "NONE" if number == 1 else "RESAMPLED"], Manufacturer="None",
        ManufacturerModelName="None", DeviceSerialNumber="1", SoftwareVersions="1", ContainerIdentifier="C1",
        IssuerOfTheContainerIdentifierSequence=Sequence([]), AcquisitionContextSequence=Sequence([]),
        ContainerTypeCodeSequence=code("433466003", "SCT", "Microscope slide"),
        SpecimenDescriptionSequence=Sequence([specimen]), SpecimenLabelInImage="YES" if number == 8 else "NO",
        BurnedInAnnotation="NO", FocusMethod="AUTO", ExtendedDepthOfField="NO", VolumetricProperties="VOLUME",
        ImagedVolumeWidth=full_width, ImagedVolumeHeight=full_height, ImagedVolumeDepth=0.001,
        TotalPixelMatrixColumns=image.width, TotalPixelMatrixRows=image.height, TotalPixelMatrixFocalPlanes=1,
        TotalPixelMatrixOriginSequence=Sequence(
            [item(XOffsetInSlideCoordinateSystem=0.0, YOffsetInSlideCoordinateSystem=0.0)]
        ),
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0], DimensionOrganizationType="TILED_FULL",
        DimensionOrganizationSequence=Sequence([item(DimensionOrganizationUID=f"{study}.6")]),
        OpticalPathSequence=Sequence([optical_path]), NumberOfOpticalPaths=1,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0, Rows=TILE, Columns=TILE,
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, NumberOfFrames=len(tiles),
        LossyImageCompression="01", LossyImageCompressionRatio=10, LossyImageCompressionMethod="ISO_10918_1",
    )  # fmt: skip


def _tiles(image: Image.Image) -> list[bytes]:
    """Return the tiles of an image as JPEG, row by row; tiles at the edges are padded."""
    found = []
    for top in range(0, image.height, TILE):
        for left in range(0, image.width, TILE):
            out = BytesIO()
            image.crop((left, top, left + TILE, top + TILE)).save(out, "JPEG", quality=85)
            found.append(out.getvalue())
    return found


def study_of(name: str) -> str:
    """Return the study that one of pydicom's files gets, since some of them share their UIDs."""
    return f"{UID_ROOT}.71.{zlib.crc32(name.encode())}"


def in_own_study(name: str) -> bytes:
    """Return one of pydicom's files with a study, a series and an instance of its own."""
    path = get_testdata_file(name)
    assert isinstance(path, str)
    found = pydicom.dcmread(path)
    study = study_of(name)
    found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID = study, f"{study}.1", f"{study}.1.1"
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.PatientName, found.PatientID = "Test^File", name[:16]
    out = BytesIO()
    pydicom.dcmwrite(out, found)
    return out.getvalue()
