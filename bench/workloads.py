"""DICOMweb workloads. Each is a list of requests with the check of their responses."""

import itertools
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import data, sets
from bench.archive import Archive
from bench.client import Response, request
from bench.sets import FRESH, SERIES, SMALL_PER_STUDY, Sets, store

_BOUNDARY = "bench-boundary"
_PART = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_END = f"--{_BOUNDARY}--\r\n".encode()
_STOW = {
    "Content-Type": f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}',
    "Accept": "application/dicom+json",
}
JSON = {"Accept": "application/dicom+json"}
_GZIP_JSON = {**JSON, "Accept-Encoding": "gzip"}
STORED_FORM = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_FRAME = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
_TILE = {"Accept": 'multipart/related; type="image/jpeg"; transfer-syntax=*'}
_NATIVE_TILE = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'}
_PICTURE = {"Accept": "image/jpeg"}
_PAGE = 50
_MAX_PAGE_SIZE = 200  # maximum page size
_BIG_FRAME = bytes(range(256)) * 4096  # 1 MiB
_ONE_FRAME = b"\x28\x00\x08\x00IS\x02\x001 "  # Number of Frames, explicit little endian
_DELETIONS = 400
_STORED_SECONDS = 1.5
"""What an archive does later about instances that were stored is done after this time, and not measured."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request and the check of its response."""

    buffers: Sequence[bytes]
    units: int
    """Number of units it counts as."""
    check: Callable[[Response], bool]
    """Whether a kept response is correct; called for a sample, after the measurement."""
    least_bytes: int = 0
    """Minimum size of the body, checked for every response."""
    status: int = 200


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload: name, unit, number of connections, and requests (a finite or infinite iterator)."""

    name: str
    unit: str
    clients: int
    requests: Callable[[Archive, Sets], Iterator[Request]]
    writes: bool = False
    """Deferred work of the archive is waited for and counted."""


def big_instance(study: int, megabytes: int) -> list[bytes]:
    """Return the buffers of an instance of frames of 1 MiB, which share one buffer."""
    head, pixels = data.parts(data.Kind(1024, 512), study)
    head = head.replace(_ONE_FRAME, b"\x28\x00\x08\x00IS\x08\x00%-8d" % megabytes)
    length = (len(_BIG_FRAME) * megabytes).to_bytes(4, "little")
    return [head + pixels[:8] + length, *itertools.repeat(_BIG_FRAME, megabytes)]


def stow(parts: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the buffers of one request that stores instances, each given as buffers."""
    body = [buffer for part in parts for buffer in (_PART, *part, b"\r\n")]
    return [request("POST", "/v2/studies", _STOW, sum(map(len, body)) + len(_END)), *body, _END]


def study_path(study: int) -> str:
    """Return the resource of a study."""
    return f"/v2/studies/{data.study_uid(study)}"


def get_study(study: int, instances: int) -> Request:
    """Return the request for all instances of a study of CT slices."""
    least = instances * 500_000
    return Request(
        [request("GET", study_path(study), STORED_FORM)], instances, _has_parts(instances), least_bytes=least
    )


def get_metadata(path: str, instances: int, fields: dict[str, str] = JSON) -> Request:
    """Return the request for the metadata of a study or series."""
    return Request([request("GET", f"{path}/metadata", fields)], instances, _has_matches(instances))


def content(response: Response) -> bytes:
    """Return the body of a kept response, decompressed."""
    assert response.body is not None
    if response.field("Content-Encoding") != "gzip":
        return response.body
    left, whole = response.body, b""
    while left:  # gzip members may be concatenated
        member = zlib.decompressobj(wbits=31)
        whole += member.decompress(left) + member.flush()
        left = member.unused_data
    return whole


def _has_matches(count: int) -> Callable[[Response], bool]:
    return lambda response: len(json.loads(content(response))) == count


def _has_parts(count: int) -> Callable[[Response], bool]:
    def check(response: Response) -> bool:
        assert response.body is not None
        boundary = b"--" + response.body[2 : response.body.index(b"\r\n")]
        return response.body.count(boundary) == count + 1 and response.body.rstrip().endswith(boundary + b"--")

    return check


def _holds(bytes_wanted: bytes) -> Callable[[Response], bool]:
    return lambda response: response.body is not None and bytes_wanted in response.body


def _stored(count: int) -> Callable[[Response], bool]:
    return lambda response: len(json.loads(content(response))["00081199"]["Value"]) == count


def _stow(kind: data.Kind, count: int) -> Callable[[Archive, Sets], Iterator[Request]]:
    def requests(_: Archive, __: Sets) -> Iterator[Request]:
        for study in FRESH:
            instances = [data.parts(kind, study, 1, number) for number in range(1, count + 1)]
            yield Request(stow(instances), count, _stored(count))

    return requests


def _stow_big(_: Archive, size: Sets) -> Iterator[Request]:
    megabytes = math.ceil(400 * size.scale)
    yield Request(stow([big_instance(next(FRESH), megabytes)]), megabytes, _stored(1))


def _search(queries: Callable[[Sets], list[tuple[str, int]]]) -> Callable[[Archive, Sets], Iterator[Request]]:
    """Yield the requests for queries, each with its number of matches."""

    def requests(_: Archive, size: Sets) -> Iterator[Request]:
        made = [
            Request([request("GET", f"/v2{target}", JSON)], 1, _has_matches(count), least_bytes=2)
            for target, count in queries(size)
        ]
        return itertools.cycle(made)

    return requests


def _by_patient(size: Sets) -> list[tuple[str, int]]:
    return [(f"/studies?PatientID={data.patient_id(study)}", 1) for study in size.small_studies]


def _by_date(size: Sets) -> list[tuple[str, int]]:
    dates = sorted(data.study_date(study) for study in size.all_studies)
    found = []
    for first in size.small_studies:
        begin = data.study_date(first)
        end = data.study_date(first)[:4] + "1231"
        matches = sum(begin <= date <= end for date in dates)
        found.append((f"/studies?StudyDate={begin}-{end}&limit=100", min(100, matches)))
    return found


def _by_name(pattern: Callable[[str], str]) -> Callable[[Sets], list[tuple[str, int]]]:
    def queries(size: Sets) -> list[tuple[str, int]]:
        families = [data.family(study) for study in size.all_studies]
        return [
            (f"/studies?PatientName={pattern(family)}&limit=100", min(100, families.count(family)))
            for family in sorted(set(families))
        ]

    return queries


def _instances_of_series(size: Sets) -> list[tuple[str, int]]:
    return [
        (
            f"/studies/{data.study_uid(study)}/series/{data.series_uid(study, series)}/instances"
            f"?limit={_MAX_PAGE_SIZE}",
            min(_MAX_PAGE_SIZE, len(size.slices)),
        )
        for study in size.ct_studies
        for series in SERIES
    ]


def _first_page(size: Sets) -> list[tuple[str, int]]:
    return [(f"/studies?limit={_PAGE}&offset=0", min(_PAGE, len(size.all_studies)))]


def _deep_offset(size: Sets) -> list[tuple[str, int]]:
    count = len(size.all_studies)
    offsets = [int(count * part) for part in (0.80, 0.85, 0.90)]
    return [(f"/studies?limit={_PAGE}&offset={offset}", min(_PAGE, count - offset)) for offset in offsets]


def _metadata_series(fields: dict[str, str]) -> Callable[[Archive, Sets], Iterator[Request]]:
    def requests(_: Archive, size: Sets) -> Iterator[Request]:
        resources = itertools.product(size.ct_studies, SERIES)
        paths = [f"{study_path(study)}/series/{data.series_uid(study, series)}" for study, series in resources]
        return itertools.cycle([get_metadata(path, len(size.slices), fields) for path in paths])

    return requests


def _metadata_study(fields: dict[str, str]) -> Callable[[Archive, Sets], Iterator[Request]]:
    def requests(_: Archive, size: Sets) -> Iterator[Request]:
        count = len(SERIES) * len(size.slices)
        return itertools.cycle([get_metadata(study_path(study), count, fields) for study in size.ct_studies])

    return requests


def _metadata_rich(fields: dict[str, str]) -> Callable[[Archive, Sets], Iterator[Request]]:
    def requests(_: Archive, size: Sets) -> Iterator[Request]:
        return itertools.cycle(
            [get_metadata(study_path(study), SMALL_PER_STUDY, fields) for study in size.small_studies]
        )

    return requests


def _instance_request(kind: data.Kind, study: int, series: int, number: int) -> Request:
    path = f"{study_path(study)}/series/{data.series_uid(study, series)}"
    target = f"{path}/instances/{data.instance_uid(study, series, number)}"
    least = sum(map(len, data.parts(kind, study, series, number)))
    return Request(
        [request("GET", target, STORED_FORM)],
        1,
        lambda response: _holds(data.instance(kind, study, series, number))(response),
        least_bytes=least,
    )


def _wado_ct(_: Archive, size: Sets) -> Iterator[Request]:
    resources = itertools.product(size.ct_studies, SERIES, size.slices)
    return itertools.cycle([_instance_request(data.CT_SLICE, *resource) for resource in resources])


def _wado_small(_: Archive, size: Sets) -> Iterator[Request]:
    resources = itertools.product(range(1, SMALL_PER_STUDY + 1), size.small_studies)
    return itertools.cycle([_instance_request(data.SMALL, study, 1, number) for number, study in resources])


def _wado_study(_: Archive, size: Sets) -> Iterator[Request]:
    return itertools.cycle([get_study(study, len(SERIES) * len(size.slices)) for study in size.ct_studies])


def _frames(kind: data.Kind, studies: Sequence[int], accept: dict[str, str]) -> Iterator[Request]:
    """Request single frames, far apart."""
    frames = data.frames(kind)
    steps = range(0, 1000 * 7919, 7919)  # a prime, so that all frames are requested
    made = []
    for study, step in zip(itertools.cycle(studies), steps, strict=False):
        number = step % len(frames) + 1
        path = f"{study_path(study)}/series/{data.series_uid(study)}/instances/{data.instance_uid(study)}"
        target = f"{path}/frames/{number}"
        frame = frames[number - 1]
        made.append(Request([request("GET", target, accept)], 1, _holds(frame), least_bytes=len(frame)))
    return itertools.cycle(made)


def _frame_of_many(_: Archive, size: Sets) -> Iterator[Request]:
    return _frames(size.multiframe, size.multiframe_studies, _FRAME)


def _tile(_: Archive, size: Sets) -> Iterator[Request]:
    return _frames(size.slide, [size.slide_study], _TILE)


def _rendered_ct(_: Archive, size: Sets) -> Iterator[Request]:
    resources = itertools.product(size.ct_studies, SERIES, size.slices)
    return itertools.cycle([_picture(*resource) for resource in resources])


def _rendered_frame(_: Archive, size: Sets) -> Iterator[Request]:
    """Request consecutive rendered frames, as a cine display does."""
    numbers = itertools.product(range(1, 1 + size.multiframe.frames), size.multiframe_studies)
    return itertools.cycle([_picture(study, 1, 1, f"/frames/{number}") for number, study in numbers])


def _thumbnail(_: Archive, size: Sets) -> Iterator[Request]:
    """Request the thumbnails of a list of series."""
    resources = itertools.product(size.ct_studies, SERIES)
    paths = [f"{study_path(study)}/series/{data.series_uid(study, series)}" for study, series in resources]
    return itertools.cycle([_jpeg(f"{path}/thumbnail") for path in paths])


def _picture(study: int, series: int, number: int, frame: str = "") -> Request:
    path = f"{study_path(study)}/series/{data.series_uid(study, series)}"
    return _jpeg(f"{path}/instances/{data.instance_uid(study, series, number)}{frame}/rendered")


def _jpeg(target: str) -> Request:
    return Request([request("GET", target, _PICTURE)], 1, _is_jpeg, least_bytes=1000)


def _is_jpeg(response: Response) -> bool:
    return response.body is not None and response.body.startswith(b"\xff\xd8") and response.body.endswith(b"\xff\xd9")


def _native_tile(_: Archive, size: Sets) -> Iterator[Request]:
    """Request distant tiles as pixels; each is requested once in 5,000, so that none is cached."""
    kind = size.slide
    steps = range(0, kind.frames * 7919, 7919)
    path = f"{study_path(size.slide_study)}/series/{data.series_uid(size.slide_study)}"
    target = f"{path}/instances/{data.instance_uid(size.slide_study)}/frames"
    return itertools.cycle(
        [
            Request(
                [request("GET", f"{target}/{step % kind.frames + 1}", _NATIVE_TILE)],
                1,
                lambda _: True,
                least_bytes=kind.rows * kind.columns * 3,
            )
            for step in steps
        ]
    )


def _delete(archive: Archive, size: Sets) -> Iterator[Request]:
    studies = list(itertools.islice(FRESH, max(4, round(_DELETIONS * size.scale))))
    store(archive.core, "", (instance for study in studies for instance in sets.small_study(study)))
    time.sleep(_STORED_SECONDS)
    return (
        Request([request("DELETE", study_path(study))], SMALL_PER_STUDY, lambda _: True, status=204)
        for study in studies
    )


WORKLOADS = (
    Workload("qido_study_by_pid", "requests", 4, _search(_by_patient)),
    Workload("qido_study_daterange", "requests", 4, _search(_by_date)),
    Workload("qido_study_wildcard_name", "requests", 4, _search(_by_name(lambda family: f"{family[:4]}*"))),
    Workload("qido_study_leading_wildcard", "requests", 4, _search(_by_name(lambda family: f"*{family[2:]}*"))),
    Workload("qido_instances_of_series", "requests", 4, _search(_instances_of_series)),
    Workload("qido_studies_page1", "requests", 4, _search(_first_page)),
    Workload("qido_deep_offset", "requests", 4, _search(_deep_offset)),
    Workload("metadata_series", "instances", 2, _metadata_series(JSON)),
    Workload("metadata_series_gzip", "instances", 2, _metadata_series(_GZIP_JSON)),
    Workload("metadata_study", "instances", 1, _metadata_study(JSON)),
    Workload("metadata_study_gzip", "instances", 1, _metadata_study(_GZIP_JSON)),
    Workload("metadata_study_rich", "instances", 4, _metadata_rich(JSON)),
    Workload("metadata_study_rich_gzip", "instances", 4, _metadata_rich(_GZIP_JSON)),
    Workload("wado_instance", "instances", 8, _wado_ct),
    Workload("wado_instance_small", "instances", 8, _wado_small),
    Workload("wado_study", "instances", 1, _wado_study),
    Workload("frame_1", "frames", 8, _frame_of_many),
    Workload("frames_wsi", "frames", 16, _tile),
    Workload("frame_transcoded", "frames", 4, _native_tile),
    Workload("rendered_ct", "frames", 4, _rendered_ct),
    Workload("rendered_frame", "frames", 4, _rendered_frame),
    Workload("thumbnail_series", "pictures", 4, _thumbnail),
    Workload("stow_ct_1", "instances", 8, _stow(data.CT_SLICE, 1), writes=True),
    Workload("stow_ct_batch", "instances", 2, _stow(data.CT_SLICE, 50), writes=True),
    Workload("stow_small_1", "instances", 16, _stow(data.SMALL, 1), writes=True),
    Workload("stow_small_batch", "instances", 4, _stow(data.SMALL, 100), writes=True),
    Workload("stow_big", "MiB", 1, _stow_big, writes=True),
    Workload("delete_study", "instances", 1, _delete, writes=True),
)
"""In this order: reading workloads rely on the initial data, writing ones add to it."""
