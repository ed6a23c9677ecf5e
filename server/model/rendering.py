"""The parameters of rendering a frame, and the jobs of rendering.

Plain values that are sent to worker processes and used as cache keys. Only workers import numpy and codecs;
`server.dicom.presentation` derives these values without them.
"""

from dataclasses import dataclass
from enum import StrEnum

from server.model.pixels import PixelDescription


class ImageFormat(StrEnum):
    """File format of a rendered image; the value is the media type.

    GIF and APNG are for animations: a job returns the blocks of one frame, which `presentation.animation` combines.
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
    """Colour space and ICC profile of a rendered image (PS3.18 section 8.3.5.1.5).

    Greyscale images, GIF and APNG never have a profile.

    IF_PRESENT: the profile of the object, if it has one.
    NO: no profile, values unchanged.
    YES: the profile of the object, else sRGB.
    SRGB, ADOBE_RGB, ROMM_RGB: converted to this colour space, with its profile. An object without profile is taken as
        sRGB.
    """

    IF_PRESENT = "if-present"
    NO = "no"
    YES = "yes"
    SRGB = "srgb"
    ADOBE_RGB = "adobergb"
    ROMM_RGB = "rommrgb"


class PixelPresentation(StrEnum):
    """Meaning of the values of a palette (PS3.3 sections C.7.6.3.1.5 and C.7.6.19).

    PALETTE: all values have a colour (Photometric Interpretation PALETTE COLOR).
    SUPPLEMENTAL: values from the first mapped one on have a colour; lower values are shades of grey.
    """

    PALETTE = "palette"
    SUPPLEMENTAL = "supplemental"


class IconKind(StrEnum):
    """Icons for objects without a rendered image."""

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
    """A VOI window (PS3.3 section C.11.2.1.2), in modality values."""

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A lookup table of the data set (PS3.3 sections C.7.6.3.1.5, C.11.1.1 and C.11.2.1.1).

    entries: number of entries from the descriptor; 0 is already replaced by 65536.
    first: the value mapped by the first entry; lower values get the first entry, values beyond the last entry the last
        one.
    bits: bits per entry, from the descriptor.
    data: entries of two bytes, little endian, or of one byte if the data is too short for two.
    """

    entries: int
    first: int
    bits: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Palette:
    """Three lookup tables that map values to red, green and blue.

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

    top, left: position of its first pixel in the image, from 0; may be negative.
    bits: one bit per pixel, lowest bit first, the plane starting at bit `first_bit`. None: the plane is bit
        `bit_position` of each pixel cell of the frame.
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
    """Parameters of the transformation from stored values to display (PS3.3 section C.11, PS3.4 section N.2).

    slope, intercept: Rescale Slope and Intercept, used if `modality_lut` is None.
    windows: in the order of the data set; the first usable one applies, before `voi_luts`.
    is_inverse: the lowest value is white (MONOCHROME1, or Presentation LUT Shape INVERSE).
    value_range: modality values shown black and white, without window or VOI LUT; None means the minimum and maximum of
        the frame.
    padding: lowest and highest stored value that is padding, shown black (PS3.3 section C.7.5.1.1.2).
    pixel_aspect: height of a pixel divided by its width; positive, 1 if unknown.
    tint: the colour of white, if values are shades of one colour.
    label_colors: colours of single values (label, red, green, blue), in ascending order; all other values are black.
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
    """Size of the rendered image and the source region that it shows (PS3.18 section 8.3.5.1.3).

    width, height: maximum size; the aspect ratio is kept. 0: derived from the other one; both 0: size of the region.
    source_*: the region in pixels of the image; an extent of 0 reaches to the edge, a negative one mirrors the image.
    """

    width: int = 0
    height: int = 0
    source_x: float = 0.0
    source_y: float = 0.0
    source_width: float = 0.0
    source_height: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """Parameters of the rendered image.

    quality: of JPEG, 1 to 100.
    viewport: None means the whole image in its own size.
    window: replaces the windows of the data set.
    annotations: lines of text burned in at the upper left.
    is_thumbnail: prefer speed and small size to detail; never larger than the image.
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
    """The job of rendering one frame.

    data: native frame, little endian (1-bit images start at the first bit), or the codestream of the frame.
    source: the stored transfer syntax.
    """

    data: bytes
    description: PixelDescription
    source: str
    presentation: Presentation
    output: Output


@dataclass(frozen=True, slots=True)
class DrawIcon:
    """The job of drawing the icon of an object without image; uses format, quality and viewport size of the output.

    Without viewport the icon is 128 by 128 pixels.
    """

    kind: IconKind
    output: Output
