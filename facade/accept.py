"""What a client wants: `Accept` headers and `accept` parameters, and what of it can be had.

Reading is lenient, because clients are not: parameter values quoted or not (a bare `type=application/dicom` is not
legal RFC 2045), any order, any case, spaces or none, repeated parameters (the first counts), entries that make no
sense next to entries that do. One acceptable entry of a list is enough.

Negotiation (PS3.18 section 8.7) turns the wishes into an ordered list of offers: a transfer syntax that the core may
send, and how bytes in it are presented. What can be offered is the table `CATALOGUE`, and nothing else.
"""

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

STORED = "*"
"""In place of a transfer syntax: whichever the object is stored in."""

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
OCTET_STREAM = "application/octet-stream"

_PARTS = re.compile(r'(?:[^,;"]|"(?:[^"\\]|\\.)*"?)+|[,;]')
_UID = re.compile(r"[0-9.]{1,64}")
_CODING = re.compile(r"(?:^|,)\s*([^\s;,]+)\s*(?:;\s*q\s*=\s*(0(?:\.\d*)?|1(?:\.0*)?))?\s*(?=,|$)")


_REMEMBERED = 256
"""Different headers of which what they mean is remembered; few programs send more than a handful."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header.

    name: lower case, "type/subtype"; either may be "*".
    parameters: names in lower case, values without quotes, `q` left out.
    """

    name: str
    parameters: Mapping[str, str] = field(hash=False)
    quality: float = 1.0

    @property
    def is_multipart(self) -> bool:
        """Say whether it asks for multipart/related."""
        return self.name in ("multipart/related", "multipart/*")


def parse_accept(text: str) -> list[MediaRange]:
    """Return the entries of an Accept header, best first; equals keep their order.

    Entries that are malformed, or whose quality is not within 0 to 1, are left out; so are those with quality 0.
    """
    return list(_accepted(text))


@lru_cache(_REMEMBERED)
def _accepted(text: str) -> tuple[MediaRange, ...]:
    entries: list[list[str]] = [[]]
    for part in _PARTS.findall(text):
        if part == ",":
            entries.append([])
        elif part != ";":
            entries[-1].append(part)
    ranges = [parsed for entry in entries if (parsed := _media_range(entry)) is not None]
    return tuple(sorted(ranges, key=lambda wish: -wish.quality))


def parse_media_type(text: str) -> MediaRange | None:
    """Return the media type of a Content-Type header, read as leniently as an Accept entry; None if there is none."""
    return _media_range([part for part in _PARTS.findall(text) if part not in (",", ";")])


def _media_range(parts: Sequence[str]) -> MediaRange | None:
    name = parts[0].strip().lower() if parts else ""
    if name in ("*", "image/"):  # the second is what a Python client sends for "any image"
        name = "*/*" if name == "*" else "image/*"
    if not re.fullmatch(r"[^\s/]+/[^\s/]+", name):
        return None
    parameters: dict[str, str] = {}
    for part in parts[1:]:
        key, _, value = part.partition("=")
        parameters.setdefault(key.strip().lower(), _unquoted(value.strip()))
    quality = parameters.pop("q", "1")
    if not re.fullmatch(r"0(\.\d*)?|1(\.0*)?|\.\d+", quality) or float(quality) == 0:
        return None
    return MediaRange(name, parameters, float(quality))


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"'))


class Resource(enum.Enum):
    """Kinds of resources that negotiate differently."""

    STUDY = enum.auto()  # and series
    INSTANCE = enum.auto()
    FRAMES = enum.auto()
    BULK_DATA = enum.auto()


@dataclass(frozen=True, slots=True)
class Product:
    """One row of the catalogue: a media type, and what can be inside.

    syntaxes: the transfer syntaxes it may hold, the default first; empty is any.
    default: what a client gets that names no transfer syntax.
    """

    media_type: str
    syntaxes: tuple[str, ...]
    default: tuple[str, ...]


def _product(media_type: str, *syntaxes: str) -> Product:
    family = tuple(f"1.2.840.10008.1.2.{suffix}" for suffix in syntaxes)
    return Product(media_type, family, family)


# Without a transfer syntax the standard's default is Explicit VR Little Endian, and what can't be re-encoded is sent as
# it is stored (PS3.18 section 8.7.3.3): clients that name none would otherwise never see compressed objects.
_DICOM = Product("application/dicom", (), (EXPLICIT_LITTLE_ENDIAN, STORED))
_OCTETS = Product(OCTET_STREAM, (), (EXPLICIT_LITTLE_ENDIAN, STORED))

_PIXELS = (
    # PS3.18 Table 8.7.3-5 and -6, and the names that clients use for the same thing.
    _product("image/jpeg", "4.70", "4.50", "4.51", "4.57"),
    _product("image/jll", "4.70", "4.57"),
    _product("image/dicom+jpeg", "4.51", "4.50"),
    _product("image/dicom-rle", "5"),
    _product("image/x-dicom-rle", "5"),
    _product("image/jls", "4.80", "4.81"),
    _product("image/x-jls", "4.80", "4.81"),
    _product("image/jp2", "4.90", "4.91"),
    _product("image/jpx", "4.92", "4.93"),
    _product("image/jphc", "4.201", "4.202", "4.203"),
    _product("image/jhc", "4.201", "4.202", "4.203"),
    _product("image/jph", "4.201", "4.202", "4.203"),
    _product("image/jxl", "4.110", "4.111", "4.112"),
    _product("video/mpeg2", "4.100", "4.101"),
    _product("video/mpeg", "4.100", "4.101"),
    _product("video/mp4", "4.102", "4.103", "4.104", "4.105", "4.106", "4.107", "4.108"),
    _product("video/h265", "4.107", "4.108"),
)

CATALOGUE: Mapping[Resource, tuple[Product, ...]] = {
    Resource.STUDY: (_DICOM,),
    Resource.INSTANCE: (_DICOM,),
    Resource.FRAMES: (_OCTETS, *_PIXELS),
    Resource.BULK_DATA: (_OCTETS,),
}
"""What can be had of each resource; the first row is what `*/*` means."""

_SINGLE = {Resource.INSTANCE, Resource.FRAMES, Resource.BULK_DATA}
"""Resources that may be asked for outside a multipart envelope."""

_WILDCARD_IS_SINGLE = {Resource.BULK_DATA}
"""Resources whose answer to `*/*` has no envelope; all others have one."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to answer: bytes in `transfer_syntax` (or as stored), labelled `media_type`, in an envelope or not."""

    transfer_syntax: str
    media_type: str
    multipart: bool


def negotiate(resource: Resource, wishes: Iterable[MediaRange]) -> list[Offer]:
    """Return what may be sent, in order of preference; empty means 406.

    Among wishes of equal quality one that names the stored form comes first.
    """
    return list(_negotiated(resource, tuple(wishes)))


@lru_cache(_REMEMBERED)
def _negotiated(resource: Resource, wishes: tuple[MediaRange, ...]) -> tuple[Offer, ...]:
    ranked = sorted(wishes, key=lambda wish: (-wish.quality, wish.parameters.get("transfer-syntax") != STORED))
    offers: dict[Offer, None] = {}
    for wish in ranked:
        for offer in _offers(resource, wish):
            offers.setdefault(offer)
    return tuple(offers)


def _offers(resource: Resource, wish: MediaRange) -> list[Offer]:
    if wish.name == "*/*":
        product = CATALOGUE[resource][0]
        return [Offer(STORED, product.media_type, resource not in _WILDCARD_IS_SINGLE)]
    if wish.is_multipart:
        name = wish.parameters.get("type", "").lower() or CATALOGUE[resource][0].media_type
    elif resource in _SINGLE:
        name = wish.name
    else:
        return []
    if name in ("*/*", "application/*"):
        syntax = wish.parameters.get("transfer-syntax", STORED)
        return _of_product(CATALOGUE[resource][0], syntax, wish.is_multipart)
    kind = name.removesuffix("*") if name.endswith("/*") else None
    return [
        offer
        for product in CATALOGUE[resource]
        if product.media_type == name or (kind and product.media_type.startswith(kind))
        for offer in _of_product(product, wish.parameters.get("transfer-syntax", ""), wish.is_multipart)
    ]


def _of_product(product: Product, syntax: str, multipart: bool) -> list[Offer]:
    if not syntax:
        syntaxes = product.default
    elif syntax == STORED:
        syntaxes = product.syntaxes or (STORED,)
    elif _UID.fullmatch(syntax) and (not product.syntaxes or syntax in product.syntaxes):
        syntaxes = (syntax,)
    else:
        syntaxes = ()
    return [Offer(each, product.media_type, multipart) for each in syntaxes]


def offer_for(offers: Sequence[Offer], transfer_syntax: str) -> Offer | None:
    """Return the offer that the core took when it sends `transfer_syntax`; None if none covers it."""
    return next((offer for offer in offers if offer.transfer_syntax in (transfer_syntax, STORED)), None)


def accepts_json(wishes: Iterable[MediaRange]) -> bool:
    """Say whether an answer in DICOM JSON is welcome."""
    return any(wish.name in (DICOM_JSON, "application/json", "application/*", "*/*") for wish in wishes)


def prefers_xml(wishes: Iterable[MediaRange]) -> bool:
    """Say whether Native DICOM XML is welcome and nothing that allows JSON comes before it."""
    for wish in wishes:
        if wish.name in (DICOM_XML, "application/xml", "text/xml"):
            return True
        if accepts_json([wish]):
            return False
    return False


def prefers_gzip(headers: Iterable[str]) -> bool:
    """Say whether Accept-Encoding ranks gzip above no coding (RFC 9110 section 12.5.3). Saying nothing does not."""
    qualities: dict[str, float] = {}
    for name, quality in _CODING.findall(",".join(headers).lower()):
        qualities.setdefault(name.removeprefix("x-"), float(quality or 1))
    rest = qualities.get("*", 0.0)
    gzip = qualities.get("gzip", rest)
    return gzip > 0 and gzip >= qualities.get("identity", rest)
