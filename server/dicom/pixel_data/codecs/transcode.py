"""Transcoding of single frames."""

from dataclasses import replace

from server.dicom.pixel_data.codecs.decode import decode, decode_cells, native_bytes
from server.dicom.pixel_data.codecs.encode import encode
from server.dicom.pixel_data.codecs.rle import encode_rle
from server.dicom.pixel_data.codecs.samples import cells_to_bytes
from server.dicom.pixel_data.codecs.syntaxes import NATIVE, RLE, UNCODED, decoded_photometric, described
from server.model.pixels import TranscodeFrame


def transcode_frame(job: TranscodeFrame) -> bytes:
    """Return the frame in the target transfer syntax, with the description `described`.

    Between native and RLE, pixel cells are copied bit by bit, including unused bits.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, see `decode`.
    """
    source, target = job.source, job.target
    if source == target or (source in NATIVE and target in NATIVE):
        return job.data
    if source in UNCODED and target in NATIVE:
        return native_bytes(job.data, source, job.description)
    after = described(job.description, source, target)
    has_whole_chroma = source == RLE and decoded_photometric(job.description, source) == "YBR_FULL"
    keeps_cells = has_whole_chroma or (
        job.description.photometric_interpretation == decoded_photometric(job.description, source)
    )
    if keeps_cells and source in UNCODED | {RLE} and target in NATIVE | {RLE}:
        cells = decode_cells(job.data, source, job.description)
        return encode_rle(cells) if target == RLE else cells_to_bytes(cells, after)
    array, description = decode(job.data, source, job.description)
    return encode(array, replace(description, planar_configuration=after.planar_configuration), target)
