"""What a picture of a frame depends on, and the work of making one.

Plain values that cross to another process and can be keys of a cache; whoever makes pictures has numpy and codecs,
whoever describes them (server/dicom/presentation/presentation.py) has not.
"""

from dataclasses import dataclass
from enum import StrEnum

from server.model.pixels import PixelDescription


class ImageFormat(StrEnum):
    """What a picture is written as; the value is the media type.

    GIF and APNG are of animations: a job returns the blocks of one frame, which `presentation.animation` puts between
    others.
    """

    JPEG = "image/jpeg"
    PNG = "image/png"
    GIF = "image/gif"
    APNG = "image/apng"


class WindowFunction(StrEnum):
    """VOI LUT Function (PS3.3 section C.11.2.1.3)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


class IccProfile(StrEnum):
    """The colours of a picture and the profile that goes with it (PS3.18 section 8.3.5.1.5).

    Pictures in shades of grey never have a profile, nor have GIF and APNG.

    IF_PRESENT: the object's own, if it has one. NO: none, values as they are. YES: the object's own, else sRGB.
    The others: converted to this colour space, which goes with the picture. An object without profile is sRGB.
    """

    IF_PRESENT = "if-present"
    NO = "no"
    YES = "yes"
    SRGB = "srgb"
    ADOBE_RGB = "adobergb"
    ROMM_RGB = "rommrgb"


class PixelPresentation(StrEnum):
    """How the values of a palette are meant (PS3.3 sections C.7.6.3.1.5 and C.7.6.19).

    PALETTE: all values have a colour (Photometric Interpretation PALETTE COLOR).
    SUPPLEMENTAL: those from the first mapped one on; values below are shades of grey.
    """

    PALETTE = "palette"
    SUPPLEMENTAL = "supplemental"


class IconKind(StrEnum):
    """What is shown for objects without a picture of their own."""

    REPORT = "report"
    DOCUMENT = "document"
    VIDEO = "video"
    WAVEFORM = "waveform"
    RT_STRUCTURE = "rt-structure"
    RT_PLAN = "rt-plan"
    PRESENTATION = "presentation"
    SEGMENTATION = "segmentation"
    IMAGE = "image"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window, in the units that the modality LUT gives."""

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table of values (PS3.3 sections C.7.6.3.1.5, C.11.1.1 and C.11.2.1.1), as the object has it.

    entries: of the descriptor, 0 already replaced by 65536. first: the value that the first entry is for; values below
    have the first entry, values above the last. bits: of an entry.
    data: entries of two bytes, little endian, or of one byte where there are too few for that.
    """

    entries: int
    first: int
    bits: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Palette:
    """Three tables from values to colours.

    is_segmented: the data are segments (PS3.3 section C.7.9.2), not entries.
    """

    red: LookupTable
    green: LookupTable
    blue: LookupTable
    is_segmented: bool = False
    presentation: PixelPresentation = PixelPresentation.PALETTE


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay plane of type G on one frame (PS3.3 section C.9.2).

    top, left: place of its first pixel in the image, from 0; may be negative.
    bits: one bit a pixel, the first in the lowest bit; `first_bit` says where the plane begins in them. If None, the
    plane is the bit `bit_position` of each of the frame's pixels.
    """

    rows: int
    columns: int
    top: int
    left: int
    bits: bytes | None
    first_bit: int = 0
    bit_position: int = 0


@dataclass(frozen=True, slots=True)
class Presentation:
    """How the values of a frame become something to look at.

    slope, intercept: of the modality LUT, where `modality_lut` is None.
    windows: in the object's order; the first that can be used is used, and before `voi_luts`.
    is_inverse: the lowest value is white (MONOCHROME1, or Presentation LUT Shape INVERSE).
    value_range: of what the modality LUT gives, black and white where there is neither window nor VOI LUT; None means
    the lowest and the highest value of the frame.
    padding: stored values from the lowest to the highest that are no part of the image and are shown black.
    pixel_aspect: height of a pixel divided by its width; positive, 1 where unknown.
    tint: the colour of white, where values are shades of one colour.
    label_colors: colours of single values (label, red, green, blue), ascending; all others are black.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookupTable | None = None
    windows: tuple[Window, ...] = ()
    voi_luts: tuple[LookupTable, ...] = ()
    is_inverse: bool = False
    value_range: tuple[float, float] | None = None
    padding: tuple[float, float] | None = None
    palette: Palette | None = None
    tint: tuple[int, int, int] | None = None
    label_colors: tuple[tuple[int, int, int, int], ...] = ()
    overlays: tuple[Overlay, ...] = ()
    pixel_aspect: float = 1.0
    icc_profile: bytes = b""


@dataclass(frozen=True, slots=True)
class Viewport:
    """The size of the picture and the part of the image it shows (PS3.18 section 8.3.5.1.3).

    width, height: the picture keeps its shape and fits; 0 follows from the other, both 0 mean the part's own size.
    source_*: the part in pixels of the image; an extent of 0 reaches to the edge, a negative one flips the picture.
    """

    width: int = 0
    height: int = 0
    source_x: float = 0.0
    source_y: float = 0.0
    source_width: float = 0.0
    source_height: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """What a picture is to be.

    quality: of JPEG, 1 to 100.
    viewport: None means all of the image, each of its pixels one of the picture's.
    window: instead of the object's own.
    annotations: lines burnt in at the upper left.
    is_thumbnail: speed and size count more than detail; never larger than the image.
    """

    format: ImageFormat = ImageFormat.JPEG
    quality: int = 100
    viewport: Viewport | None = None
    window: Window | None = None
    annotations: tuple[str, ...] = ()
    icc_profile: IccProfile = IccProfile.IF_PRESENT
    is_thumbnail: bool = False


@dataclass(frozen=True, slots=True)
class RenderFrame:
    """Make a picture of one frame.

    data: native, little endian (of 1-bit images beginning with the first bit), or the frame's codestream.
    source: the transfer syntax it is stored in.
    """

    data: bytes
    description: PixelDescription
    source: str
    presentation: Presentation
    output: Output


@dataclass(frozen=True, slots=True)
class DrawIcon:
    """Draw what stands for an object without a picture; of the output, format, quality and size of the viewport count.

    Without viewport it is 128 by 128.
    """

    kind: IconKind
    output: Output
