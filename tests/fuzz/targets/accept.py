"""Accept and Content-Type headers, and negotiation for every resource. The input is the header in Latin-1."""

from collections.abc import Iterator

from starlette.requests import Request

from facade.errors import Refusal
from facade.request.accept import (
    STORED,
    MediaRange,
    acceptable,
    accepts_json,
    negotiate,
    parse_accept,
    parse_media_type,
    preferred_coding,
    prefers_xml,
)
from facade.request.catalogue import Resource
from facade.request.metadata import shape_of
from facade.request.rendering import acceptable_media_types, wants_envelope
from tests.fuzz.target import require

_HEADERS = [
    "*/*",
    "",
    "application/dicom+json",
    "application/dicom; transfer-syntax=*",
    'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90',
    "multipart/related; type=application/octet-stream; transfer-syntax=*, */*;q=0.1",
    'multipart/related; type="image/jls"; q=0.5, multipart/related;type="image/jp2";q=1.000',
    "image/, image/apng,image/*;q=.8, text/html;q=0",
    'a/b; x="quoted, \\" ; text"; y=\'z\'; Q=0.5 , ,;;, nonsense, c/d;q=2',
    'multipart/related; type="application/dicom+xml", application/xml;q=0.9',
    'a/b;c="',
    "gzip;q=1.0, identity; q=0.5, *;q=0, zstd",
]


def seeds() -> Iterator[bytes]:
    """Yield headers of clients and malformed ones."""
    for header in _HEADERS:
        yield header.encode()


def check(data: bytes) -> None:
    """Check that every header gives ordered media ranges and offers, or 406."""
    text = data.decode("latin-1")
    ranges = parse_accept(text)
    require(len(ranges) <= text.count(",") + 1, "an entry gives at most one media range")
    _check_order([entry.quality for entry in ranges])
    for entry in ranges:
        require(0 < entry.quality <= 1, "a quality is above 0 and at most 1")
        require(entry.name.count("/") == 1 and not any(map(str.isspace, entry.name)), "a media range has a name")
    plain = [entry for entry in ranges if not any('"' in part or "\\" in part for part in _texts(entry))]
    require(parse_accept(", ".join(map(_written, plain))) == plain, "media ranges can be written and read")

    for resource in Resource:
        offers = negotiate(resource, ranges)
        _check_order([offer.quality for offer in offers])
        fields = acceptable(offers)
        require(
            len(fields["acceptable_qualities"]) == len(fields["acceptable_transfer_syntax_uids"]), "one quality each"
        )
        for syntax in fields["acceptable_transfer_syntax_uids"]:
            is_uid = len(syntax) <= 64 and set(syntax) <= set("0123456789.")
            require(syntax == STORED or is_uid, "only UIDs are sent to the core")
    parse_media_type(text)
    accepts_json(ranges)
    prefers_xml(ranges)
    shape_of(ranges, is_instance=True)
    preferred_coding([text], ("zstd", "gzip"))
    _check_rendered(data)


def _check_rendered(header: bytes) -> None:
    request = Request({"type": "http", "query_string": b"", "headers": [(b"accept", header)]})
    possible = ("image/jpeg", "image/png", "text/html")
    try:
        names, ranges = acceptable_media_types(request, possible)
    except Refusal as refusal:
        require(refusal.status == 406, "no media type is 406")
        return
    require(bool(names), "there is a media type")
    wants_envelope(ranges, names[0])


def _check_order(qualities: list[float]) -> None:
    require(qualities == sorted(qualities, reverse=True), "the best is first")


def _texts(entry: MediaRange) -> list[str]:
    return [entry.name, *entry.parameters.keys(), *entry.parameters.values()]


def _written(entry: MediaRange) -> str:
    parameters = "".join(f'; {key}="{value}"' for key, value in entry.parameters.items())
    return f"{entry.name}{parameters}; q={entry.quality:.20f}"
