"""Presentation of a frame from the metadata of its instance (PS3.3 sections C.7.6.3, C.7.6.16.2, C.11).

Does not access pixels, so that processes without numpy can use it.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from server.dicom.elements.canonical_json import (
    Attributes,
    bulk_path,
    data,
    integer,
    items,
    number,
    numbers,
    numeric_values,
    text,
)
from server.dicom.presentation.segment_colors import frame_tint, label_colors
from server.model.rendering import (
    LookupTable,
    Overlay,
    Palette,
    PixelPresentation,
    Presentation,
    Window,
    WindowFunction,
)

_SHARED_GROUPS = "52009229"
_PER_FRAME_GROUPS = "52009230"
_PIXEL_VALUE_TRANSFORMATION = "00289145"
_FRAME_VOI_LUT = "00289132"
_PIXEL_MEASURES = "00289110"
_OPTICAL_PATH_IDENTIFICATION = "00480207"

_PHOTOMETRIC_INTERPRETATION = "00280004"
_ROWS, _COLUMNS = "00280010", "00280011"
_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT = "00280100", "00280101", "00280102"
_PIXEL_REPRESENTATION = "00280103"

_MODALITY_LUT_SEQUENCE = "00283000"
_RESCALE_INTERCEPT, _RESCALE_SLOPE = "00281052", "00281053"
_VOI_LUT_SEQUENCE = "00283010"
_WINDOW_CENTER, _WINDOW_WIDTH, _VOI_LUT_FUNCTION = "00281050", "00281051", "00281056"
_LUT_DESCRIPTOR, _LUT_DATA = "00283002", "00283006"
_PRESENTATION_LUT_SHAPE = "20500020"

_PALETTE_DESCRIPTORS = ("00281101", "00281102", "00281103")
_PALETTE_DATA = ("00281201", "00281202", "00281203")
_SEGMENTED_PALETTE_DATA = ("00281221", "00281222", "00281223")
_PIXEL_PRESENTATION = "00089205"

_PADDING = (("00280120", "00280121"), ("00280122", "00280124"), ("00280123", "00280125"))
_PIXEL_ASPECT_RATIO = "00280034"
_SPACINGS = ("00280030", "00181164", "00182010")
"""Pixel Spacing, Imager Pixel Spacing, Nominal Scanned Pixel Spacing."""
_MAX_ASPECT = 20.0

_ICC_PROFILE = "00282000"
_OPTICAL_PATHS, _OPTICAL_PATH_IDENTIFIER = "00480105", "00480106"

_SEGMENTATION_TYPE, _MAXIMUM_FRACTIONAL_VALUE = "00620001", "0062000E"

_OVERLAY_GROUPS = tuple(f"{group:04X}" for group in range(0x6000, 0x6020, 2))

_MAX_SMALL_TABLE_BYTES = 512

_BULK_TAGS = frozenset(
    {_LUT_DATA, _ICC_PROFILE, *_PALETTE_DATA, *_SEGMENTED_PALETTE_DATA, *(f"{group}3000" for group in _OVERLAY_GROUPS)}
)
_BULK_SEQUENCES = (_MODALITY_LUT_SEQUENCE, _VOI_LUT_SEQUENCE, _OPTICAL_PATHS)


def bulk_needed(attributes: Attributes) -> tuple[str, ...]:
    """Return the bulk data paths of the values that `presentation_of` needs for any frame."""
    return tuple(_bulk_paths(attributes))


def presentation_of(attributes: Attributes, bulk: Mapping[str, bytes], frame: int = 1) -> Presentation:
    """Return the presentation of a frame.

    Missing and invalid attributes are ignored, so that every image can be rendered.

    Args:
        attributes: canonical DICOM JSON of the instance.
        bulk: path → value, little endian, for paths of `bulk_needed`; features with missing values are ignored.
        frame: frame number, from 1.
    """
    groups = _functional_groups(attributes, frame)
    transformation = groups.get(_PIXEL_VALUE_TRANSFORMATION, attributes)
    voi = groups.get(_FRAME_VOI_LUT, attributes)
    photometric = text(attributes, _PHOTOMETRIC_INTERPRETATION).upper()
    tables = [_table(item, _LUT_DESCRIPTOR, _LUT_DATA, bulk) for item in items(attributes, _MODALITY_LUT_SEQUENCE)]
    return Presentation(
        slope=number(transformation, _RESCALE_SLOPE) or 1.0,
        intercept=number(transformation, _RESCALE_INTERCEPT) or 0.0,
        modality_lut=tables[0] if tables and transformation is attributes else None,
        windows=_windows(voi),
        voi_luts=_voi_luts(voi, bulk),
        is_inverse=photometric == "MONOCHROME1" or text(attributes, _PRESENTATION_LUT_SHAPE) == "INVERSE",
        value_range=_value_range(attributes),
        padding=_padding(attributes),
        palette=_palette(attributes, photometric, bulk),
        tint=frame_tint(attributes, groups),
        label_colors=label_colors(attributes),
        overlays=tuple(_overlays(attributes, bulk, frame)),
        pixel_aspect=_pixel_aspect(attributes, groups.get(_PIXEL_MEASURES, attributes)),
        icc_profile=b"" if photometric.startswith("MONOCHROME") else _icc_profile(attributes, groups, bulk),
    )


def _bulk_paths(attributes: Attributes) -> Iterator[str]:
    for tag in sorted(_BULK_TAGS & attributes.keys()):
        if path := bulk_path(attributes, tag):
            yield path
    for sequence in _BULK_SEQUENCES:
        for item in items(attributes, sequence):
            yield from _bulk_paths(item)
    for groups in (_SHARED_GROUPS, _PER_FRAME_GROUPS):
        for group in items(attributes, groups):
            for voi in items(group, _FRAME_VOI_LUT):
                yield from _bulk_paths(voi)


def _functional_groups(attributes: Attributes, frame: int) -> dict[str, Attributes]:
    """Return the first item of each functional group that applies to a frame, by the tag of its sequence."""
    shared = items(attributes, _SHARED_GROUPS)[:1]
    of_frame = items(attributes, _PER_FRAME_GROUPS)[frame - 1 : frame] if frame > 0 else []
    groups: dict[str, Attributes] = {}
    for source in chain(shared, of_frame):
        groups |= {tag: found[0] for tag in source if (found := items(source, tag))}
    return groups


def _table(item: Attributes, descriptor: str, tag: str, bulk: Mapping[str, bytes]) -> LookupTable | None:
    described = numbers(item, descriptor)
    raw = data(item, tag, bulk)
    if len(described) != 3 or not raw:
        return None
    entries, first, bits = map(int, described)
    # 0 stands for 65536; if the data is far too short, for 256 entries of a byte.
    most = 1 << 16 if len(raw) > _MAX_SMALL_TABLE_BYTES else 1 << 8
    return LookupTable(entries & 0xFFFF or most, first, bits if 1 <= bits <= 16 else 16, raw)


def _windows(voi: Attributes) -> tuple[Window, ...]:
    name = text(voi, _VOI_LUT_FUNCTION)
    function = WindowFunction(name) if name in set(WindowFunction) else WindowFunction.LINEAR
    pairs = zip(numeric_values(voi, _WINDOW_CENTER), numeric_values(voi, _WINDOW_WIDTH), strict=False)
    return tuple(
        Window(center, width, function) for center, width in pairs if center is not None and width and width > 0
    )


def _voi_luts(voi: Attributes, bulk: Mapping[str, bytes]) -> tuple[LookupTable, ...]:
    tables = (_table(item, _LUT_DESCRIPTOR, _LUT_DATA, bulk) for item in items(voi, _VOI_LUT_SEQUENCE))
    return tuple(table for table in tables if table is not None)


def _value_range(attributes: Attributes) -> tuple[float, float] | None:
    """Return the values shown black and white, of binary and fractional segmentations."""
    if integer(attributes, _BITS_ALLOCATED) == 1 or text(attributes, _SEGMENTATION_TYPE) == "BINARY":
        return (0.0, 1.0)
    most = number(attributes, _MAXIMUM_FRACTIONAL_VALUE) or 0
    return (0.0, most) if text(attributes, _SEGMENTATION_TYPE) == "FRACTIONAL" and most > 0 else None


def _padding(attributes: Attributes) -> tuple[float, float] | None:
    for value_tag, limit_tag in _PADDING:
        if (value := number(attributes, value_tag)) is not None:
            limit = number(attributes, limit_tag)
            ends = [_as_stored(attributes, end) for end in (value, value if limit is None else limit)]
            return min(ends), max(ends)
    return None


def _as_stored(attributes: Attributes, value: float) -> float:
    """Return a padding value that was written as unsigned number as the intended signed one."""
    bits = integer(attributes, _BITS_ALLOCATED) or 0
    is_signed = integer(attributes, _PIXEL_REPRESENTATION) == 1
    return value - (1 << bits) if is_signed and 0 < bits <= 32 and value >= 1 << (bits - 1) else value


def _palette(attributes: Attributes, photometric: str, bulk: Mapping[str, bytes]) -> Palette | None:
    is_supplemental = photometric == "MONOCHROME2" and text(attributes, _PIXEL_PRESENTATION) in {"COLOR", "MIXED"}
    if photometric != "PALETTE COLOR" and not is_supplemental:
        return None
    presentation = PixelPresentation.SUPPLEMENTAL if is_supplemental else PixelPresentation.PALETTE
    for tags, is_segmented in ((_PALETTE_DATA, False), (_SEGMENTED_PALETTE_DATA, True)):
        pairs = zip(_PALETTE_DESCRIPTORS, tags, strict=True)
        tables = [_table(attributes, descriptor, tag, bulk) for descriptor, tag in pairs]
        red, green, blue = tables
        if red and green and blue:
            return Palette(red, green, blue, is_segmented, presentation)
    return None


def _pixel_aspect(attributes: Attributes, measures: Attributes) -> float:
    candidates = [numbers(source, tag) for source in (measures, attributes) for tag in _SPACINGS]
    for pair in (*candidates, numbers(attributes, _PIXEL_ASPECT_RATIO)):
        if len(pair) == 2 and pair[0] > 0 and pair[1] > 0:
            aspect = pair[0] / pair[1]
            return aspect if 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT and abs(aspect - 1) > 0.001 else 1.0
    return 1.0


def _icc_profile(attributes: Attributes, groups: Mapping[str, Attributes], bulk: Mapping[str, bytes]) -> bytes:
    """Return the ICC profile of the image, or of the optical path of the frame."""
    if profile := data(attributes, _ICC_PROFILE, bulk):
        return profile
    wanted = text(groups.get(_OPTICAL_PATH_IDENTIFICATION, {}), _OPTICAL_PATH_IDENTIFIER)
    paths = items(attributes, _OPTICAL_PATHS)
    chosen = [path for path in paths if text(path, _OPTICAL_PATH_IDENTIFIER) == wanted] or paths
    return data(chosen[0], _ICC_PROFILE, bulk) if chosen else b""


def _overlays(attributes: Attributes, bulk: Mapping[str, bytes], frame: int) -> Iterator[Overlay]:
    for group in _OVERLAY_GROUPS:
        if text(attributes, f"{group}0040") == "G":
            yield from _overlay(attributes, group, bulk, frame)


def _overlay(attributes: Attributes, group: str, bulk: Mapping[str, bytes], frame: int) -> Iterator[Overlay]:
    """Yield the overlay plane of a group that applies to a frame, if there is one."""
    rows = integer(attributes, f"{group}0010") or integer(attributes, _ROWS) or 0
    columns = integer(attributes, f"{group}0011") or integer(attributes, _COLUMNS) or 0
    if rows <= 0 or columns <= 0:
        return
    origin = [int(value) for value in numbers(attributes, f"{group}0050")]
    top, left = (origin[0] - 1, origin[1] - 1) if len(origin) == 2 else (0, 0)
    if raw := data(attributes, f"{group}3000", bulk):
        start = _plane(attributes, group, frame) * rows * columns
        bits = raw[start // 8 : (start + rows * columns + 7) // 8]
        if start >= 0 and bits:
            yield Overlay(rows, columns, top, left, bits, first_bit=start % 8)
        return
    position = integer(attributes, f"{group}0102") or 0
    if _is_unused_bit(attributes, position):
        yield Overlay(rows, columns, top, left, None, bit_position=position)


def _plane(attributes: Attributes, group: str, frame: int) -> int:
    """Return the index (from 0) of the overlay plane for a frame; a single plane applies to all (PS3.3 section
    C.9.3)."""
    planes = integer(attributes, f"{group}0015")
    if planes is None:
        return 0
    plane = frame - (integer(attributes, f"{group}0051") or 1)
    return plane if 0 <= plane < planes else -1


def _is_unused_bit(attributes: Attributes, position: int) -> bool:
    """Return whether a bit of the pixel cell is not part of the stored value."""
    allocated = integer(attributes, _BITS_ALLOCATED) or 0
    stored = integer(attributes, _BITS_STORED) or allocated
    high = integer(attributes, _HIGH_BIT)
    high = stored - 1 if high is None else high
    return 0 <= position < allocated and not high - stored < position <= high
