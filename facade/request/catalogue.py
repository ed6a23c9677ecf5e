"""What can be had of each resource, as data: media types, transfer syntaxes, envelopes (PS3.18 section 8.7.3).

Negotiation (`facade.request.accept`), the answers and the tables of the documentation are all made from this.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
OCTET_STREAM = "application/octet-stream"
ZIP = "application/zip"


class Resource(enum.Enum):
    """Kinds of resources that negotiate differently; the value is what people call them."""

    STUDY = "study, series"
    INSTANCE = "instance"
    FRAMES = "frames"
    BULK_DATA = "bulk data"
    METADATA = "metadata"
    RENDERED = "rendered"
    THUMBNAIL = "thumbnail"


class Shape(enum.Enum):
    """What a media type may be in."""

    SINGLE = enum.auto()
    """A body of its own."""
    MULTIPART = enum.auto()
    """Parts of multipart/related."""
    EITHER = enum.auto()
    """Whichever is asked for; several objects need parts."""


@dataclass(frozen=True, slots=True)
class Product:
    """One row of the catalogue: a media type, and what can be inside.

    syntaxes: the transfer syntaxes it may hold, the default first; empty is any, or that it has none. What loses
        something comes behind what does not, so that it is made only for who names it, or where nothing else can be.
    default: what who names none gets if it can be had; empty is any of `syntaxes`.
    """

    media_type: str
    shape: Shape = Shape.EITHER
    syntaxes: tuple[str, ...] = ()
    default: str = ""


def _pixels(media_type: str, *suffixes: str) -> Product:
    return Product(media_type, Shape.EITHER, tuple(f"1.2.840.10008.1.2.{suffix}" for suffix in suffixes))


PIXELS = (
    # PS3.18 Table 8.7.3-5 and -6, each type before the other names that clients have for it.
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

# Without a transfer syntax the default is Explicit VR Little Endian, and what can't be had so is sent as it is stored
# (PS3.18 section 8.7.3.3): clients that name none would otherwise never see what can't be decoded.
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
"""What can be had of each resource; the first row is what `*/*` means."""

_NAMES = {syntax: product.media_type for product in reversed(PIXELS) for syntax in product.syntaxes}


def media_type_of(transfer_syntax: str) -> str:
    """Return the standard's media type of pixels in a transfer syntax."""
    return _NAMES.get(transfer_syntax, OCTET_STREAM)
