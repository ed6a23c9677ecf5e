"""Classifies an instance by how it is rendered: image, video, report, document or none.

Pixel data takes precedence, then the SOP Class UID, then, for private and newer classes, the attributes present.
"""

import enum
import re
from collections.abc import Collection, Mapping

from server.model.instance import PixelLayout


class Kind(enum.Enum):
    """Kinds of objects by rendering. Each has an icon of the same name (`IconKind`)."""

    IMAGE = "image"
    VIDEO = "video"
    REPORT = "report"
    DOCUMENT = "document"
    WAVEFORM = "waveform"
    PRESENTATION = "presentation"
    RT_PLAN = "rt-plan"
    RT_STRUCTURE = "rt-structure"
    SEGMENTATION = "segmentation"
    OTHER = "other"


STANDARD_CLASSES = "1.2.840.10008."
"""Root of the UIDs of standard SOP classes."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."

KIND_OF_CLASS: Mapping[str, Kind] = {
    f"{_STORAGE}8": Kind.PRESENTATION,  # Standalone Overlay
    f"{_STORAGE}9": Kind.WAVEFORM,
    f"{_STORAGE}11": Kind.PRESENTATION,
    f"{_STORAGE}66.4": Kind.SEGMENTATION,  # one without pixel data
    f"{_STORAGE}66.5": Kind.SEGMENTATION,  # of surfaces
    f"{_STORAGE}66.6": Kind.SEGMENTATION,  # Tractography Results
    f"{_STORAGE}68": Kind.SEGMENTATION,  # surface scans
    f"{_STORAGE}91.1": Kind.SEGMENTATION,  # Microscopy Bulk Simple Annotations
    f"{_STORAGE}88": Kind.REPORT,
    f"{_STORAGE}104": Kind.DOCUMENT,
    f"{_STORAGE}131": Kind.PRESENTATION,  # Basic Structured Display
    f"{_STORAGE}481": Kind.RT_PLAN,
    f"{_STORAGE}481.3": Kind.RT_STRUCTURE,
    "1.2.840.10008.5.1.4.34": Kind.RT_PLAN,
    "1.2.840.10008.5.1.4.38": Kind.PRESENTATION,  # Hanging Protocol
}
"""By SOP Class UID or UID root of a family; the longest match applies. Image classes are recognised by pixel data."""

ENCAPSULATED_DOCUMENT = "00420011"
MIME_TYPE_OF_DOCUMENT = "00420012"

UNKNOWN_MEDIA_TYPE = "application/octet-stream"
_KIND_OF_ATTRIBUTE: Mapping[str, Kind] = {
    ENCAPSULATED_DOCUMENT: Kind.DOCUMENT,
    "0040A730": Kind.REPORT,  # Content Sequence
    "54000100": Kind.WAVEFORM,  # Waveform Sequence
    "300A00B0": Kind.RT_PLAN,  # Beam Sequence
    "30060020": Kind.RT_STRUCTURE,  # Structure Set ROI Sequence
}

SLIDE_CLASSES = frozenset({f"{_STORAGE}77.1.6", f"{_STORAGE}77.1.9"})
"""Whole slide images: a series has one image at several resolutions, in tiles."""

IMAGELESS_MODALITIES = frozenset(
    [
        *("ANN", "ASMT", "AU", "DOC", "ECG", "EEG", "EMG", "EOG", "EPS", "FID", "HC", "HD", "KER", "KO", "LEN", "M3D"),
        *("OAM", "OPV", "OSS", "PLAN", "POS", "PR", "RAR", "REG", "RESP", "RTDOSE", "RTINTENT", "RTPLAN", "RTRAD"),
        *("RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "VA"),
    ]
)
"""Modalities (PS3.3 section C.7.3.1.1.1) whose series have no image, or none that represents a study."""

_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(100|101|102|103|104|105|106|107|108)(\.1)?")

VIDEO_MEDIA_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("100", "101"), "video/mpeg"),
    **dict.fromkeys(("102", "103", "104", "105", "106", "107", "108"), "video/mp4"),
}
"""By the last component of `1.2.840.10008.1.2.4…`; the fragmentable variants (`….1`) are the same."""

_DOCUMENT_MEDIA_TYPES: Mapping[str, str] = {
    f"{_STORAGE}104.1": "application/pdf",
    f"{_STORAGE}104.2": "text/xml",
    f"{_STORAGE}104.3": "model/stl",
    f"{_STORAGE}104.4": "model/obj",
    f"{_STORAGE}104.5": "model/mtl",
}
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")


def kind_of(
    sop_class_uid: str, transfer_syntax_uid: str, layout: PixelLayout | None, tags: Collection[str] = ()
) -> Kind:
    """Return the kind of an instance; `tags` are the known top-level tags of its data set."""
    if layout is not None:
        return Kind.IMAGE if video_media_type(transfer_syntax_uid) is None else Kind.VIDEO
    root = sop_class_uid
    while root:
        if root in KIND_OF_CLASS:
            return KIND_OF_CLASS[root]
        root = root.rpartition(".")[0]
    return next((kind for tag, kind in _KIND_OF_ATTRIBUTE.items() if tag in tags), Kind.OTHER)


def video_media_type(transfer_syntax_uid: str) -> str | None:
    """Return the media type of a video transfer syntax; None for any other."""
    match = _VIDEO.fullmatch(transfer_syntax_uid)
    return VIDEO_MEDIA_TYPES[match[1]] if match else None


def document_media_type(sop_class_uid: str, named: str) -> str:
    """Return the media type of an encapsulated document without parameters.

    named: MIME Type of Encapsulated Document (PS3.3 C.24.2). If it is not valid, the SOP class determines the type.
    """
    named = named.partition(";")[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(named):
        return named
    return _DOCUMENT_MEDIA_TYPES.get(sop_class_uid, UNKNOWN_MEDIA_TYPE)
