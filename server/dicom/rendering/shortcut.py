"""Stored frames that are returned as rendered images without decoding."""

from server.dicom.pixel_data.codecs.headers import read_jpeg
from server.dicom.pixel_data.codecs.syntaxes import JPEG_BASELINE
from server.dicom.presentation.image_size import Placement
from server.dicom.rendering.formats.jpeg import PROFILE_HEAD, with_profile
from server.dicom.rendering.icc_profiles import profile_to_embed
from server.model.rendering import IccProfile, ImageFormat, RenderFrame

_BEST_QUALITY = 100
_UNCONVERTED_PROFILES = frozenset({IccProfile.IF_PRESENT, IccProfile.NO, IccProfile.YES})


def stored_jpeg(job: RenderFrame, place: Placement) -> bytes | None:
    """Return the stored codestream if it equals the requested image: encoding again would lose quality and time.

    This holds for colour in JPEG Baseline, requested as a whole, without overlays and annotations, at best quality.
    """
    output, description = job.output, job.description
    size = (description.columns, description.rows)
    if (
        job.source != JPEG_BASELINE
        or output.format is not ImageFormat.JPEG
        or output.quality < _BEST_QUALITY
        or output.icc_profile not in _UNCONVERTED_PROFILES
        or output.annotations
        or job.presentation.overlays
        or description.samples_per_pixel == 1
        or place != Placement(0, 0, *size, *size)
    ):
        return None
    coded = read_jpeg(job.data)
    if (coded.columns, coded.rows, coded.samples, coded.precision) != (*size, 3, 8):
        return None
    if not coded.colour and not description.photometric_interpretation.startswith("YBR_FULL"):
        return None  # viewers would take it for YCbCr, because the codestream does not declare RGB
    has_profile = PROFILE_HEAD in job.data
    if output.icc_profile is IccProfile.NO:
        return None if has_profile else job.data
    return (
        job.data
        if has_profile
        else with_profile(job.data, profile_to_embed(output.icc_profile, job.presentation.icc_profile))
    )
