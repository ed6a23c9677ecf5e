"""Single frames from one transfer syntax to another."""

from server.dicom.codecs.decode import decode
from server.dicom.codecs.encode import encode
from server.dicom.codecs.syntaxes import described
from server.model.pixels import TranscodeFrame


def transcode_frame(job: TranscodeFrame) -> bytes:
    """Return the frame in its new transfer syntax, described by `described`.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, see `decode`.
    """
    if job.source == job.target:
        return job.data
    array, _ = decode(job.data, job.source, job.description)
    return encode(array, described(job.description, job.source, job.target), job.target)
