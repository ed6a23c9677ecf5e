"""The media types, transfer syntaxes and envelopes of each resource, as data (PS3.18 section 8.7.3).

Content negotiation (`facade.request.accept`), responses and the tables in the documentation use this table.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
GENERAL_XML = ("application/xml", "text/xml")
"""Names of XML that are accepted for `DICOM_XML`."""
OCTET_STREAM = "application/octet-stream"
ZIP = "application/zip"


class Resource(enum.Enum):
    """Kinds of resources with different negotiation; the value is the name in the documentation."""

    STUDY = "study, series"
    INSTANCE = "instance"
    FRAMES = "frames"
    BULK_DATA = "bulk data"
    METADATA = "metadata"
    RENDERED = "rendered"
    THUMBNAIL = "thumbnail"


class Shape(enum.Enum):
    """Envelope of a media type."""

    SINGLE = enum.auto()
    """The payload is the body."""
    MULTIPART = enum.auto()
    """Each payload is a part of multipart/related."""
    EITHER = enum.auto()
    """The client chooses; several objects need parts."""


@dataclass(frozen=True, slots=True)
class Product:
    """One row of the catalogue: a media type and its transfer syntaxes.

    syntaxes: possible transfer syntaxes, the default first; empty means any, or not applicable. Lossy ones come after
        lossless ones, so that they are used only if the client names them or if nothing else is possible.
    default: transfer syntax for clients that name none, if it is available; empty means any of `syntaxes`.
    """

    media_type: str
    shape: Shape = Shape.EITHER
    syntaxes: tuple[str, ...] = ()
    default: str = ""


def _pixels(media_type: str, *suffixes: str) -> Product:
    return Product(media_type, Shape.EITHER, tuple(f"1.2.840.10008.1.2.{suffix}" for suffix in suffixes))


PIXELS = (
    # PS3.18 Table 8.7.3-5 and -6, each type before the non-standard names that clients use for it.
    _pixels("image/jpeg", "4.70", "4.57", "4.51", "4.50"),
    _pixels("image/jll", "4.70", "4.57"),
    _pixels("image/dicom+jpeg", "4.51", "4.50"),
    _pixels("image/dicom-rle", "5"),
    _pixels("image/x-dicom-rle", "5"),
    _pixels("image/jls", "4.80", "4.81"),
    _pixels("image/x-jls", "4.80", "4.81"),
    _pixels("image/jp2", "4.90", "4.91"),
    _pixels("image/jpx", "4.92", "4.93"),
    _pixels("image/jphc", "4.201", "4.202", "4.203"),
    _pixels("image/jhc", "4.201", "4.202", "4.203"),
    _pixels("image/jph", "4.201", "4.202", "4.203"),
    _pixels("image/jxl", "4.110", "4.111", "4.112"),
    _pixels("video/mpeg2", "4.100", "4.100.1", "4.101", "4.101.1"),
    _pixels("video/mpeg", "4.100", "4.100.1", "4.101", "4.101.1"),
    _pixels("video/mp4", "4.102", "4.102.1", "4.103", "4.103.1", "4.104", "4.104.1", "4.105", "4.105.1", "4.106",
            "4.106.1", "4.107", "4.108"),
    _pixels("video/h265", "4.107", "4.108"),
)  # fmt: skip

# Without a transfer syntax the default is Explicit VR Little Endian. Frames that cannot be decoded are sent as stored
# (PS3.18 section 8.7.3.3); otherwise clients that name no transfer syntax could not retrieve them.
_OCTETS = Product(OCTET_STREAM, default=EXPLICIT_LITTLE_ENDIAN)

STILL = ("image/jpeg", "image/png")
MOVING = ("image/gif", "image/apng")
DOCUMENTS = (
    *("text/html", "application/pdf", "text/xml", "model/stl", "model/obj", "model/mtl"),
    *("video/mpeg", "video/mp4"),
)

CATALOGUE: Mapping[Resource, tuple[Product, ...]] = {
    Resource.STUDY: (
        Product(DICOM, Shape.MULTIPART, default=EXPLICIT_LITTLE_ENDIAN),
        Product(ZIP, Shape.SINGLE),
    ),
    Resource.INSTANCE: (Product(DICOM, Shape.EITHER, default=EXPLICIT_LITTLE_ENDIAN), Product(ZIP, Shape.SINGLE)),
    Resource.FRAMES: (_OCTETS, *PIXELS),
    Resource.BULK_DATA: (_OCTETS,),
    Resource.METADATA: (Product(DICOM_JSON, Shape.SINGLE), Product(DICOM_XML, Shape.EITHER)),
    Resource.RENDERED: tuple(map(Product, (*STILL, *MOVING, *DOCUMENTS))),
    Resource.THUMBNAIL: tuple(Product(name, Shape.SINGLE) for name in STILL),
}
"""The products of each resource; the first one is the meaning of `*/*`."""

_NAMES = {syntax: product.media_type for product in reversed(PIXELS) for syntax in product.syntaxes}


def media_type_of(transfer_syntax: str) -> str:
    """Return the media type of PS3.18 Table 8.7.3-5 for frames in a transfer syntax."""
    return _NAMES.get(transfer_syntax, OCTET_STREAM)
