"""Content negotiation (PS3.18 section 8.7): `Accept` headers and `accept` parameters.

Parsing is lenient, because clients do not follow the syntax strictly. It accepts parameter values with or without
quotes (an unquoted `type=application/dicom` is not legal in RFC 2045), any order and case, spaces, repeated parameters
(the first one counts), and malformed entries next to valid ones. One acceptable entry of a list is enough.

`negotiate` turns the client's media ranges into an ordered list of offers: a transfer syntax that the core may send,
and its media type and envelope. All offers come from the table `CATALOGUE`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

from facade.request.catalogue import CATALOGUE, DICOM_JSON, DICOM_XML, Product, Resource, Shape, media_type_of

STORED = "*"
"""In place of a transfer syntax UID: the transfer syntax in which the object is stored."""

_PARTS = re.compile(r'(?:[^,;"]|"(?:[^"\\]|\\.)*"?)+|[,;]')
_UID = re.compile(r"[0-9.]{1,64}")
_CODING = re.compile(r"(?:^|,)\s*([^\s;,]+)\s*(?:;\s*q\s*=\s*(0(?:\.\d*)?|1(?:\.0*)?))?\s*(?=,|$)")


_REMEMBERED = 256
"""Size of the caches of parsed headers and negotiations; clients send few different headers."""


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
        """Whether it names multipart/related."""
        return self.name in ("multipart/related", "multipart/*")


def parse_accept(text: str) -> list[MediaRange]:
    """Return the entries of an Accept header, best first; entries of equal quality keep their order.

    Malformed entries, and entries with a quality of 0 or outside 0 to 1, are omitted.
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
    return tuple(sorted(ranges, key=lambda media_range: -media_range.quality))


@lru_cache(_REMEMBERED)
def parse_media_type(text: str) -> MediaRange | None:
    """Return the media type of a Content-Type header, read as leniently as an Accept entry; None if there is none."""
    return _media_range([part for part in _PARTS.findall(text) if part not in (",", ";")])


def _media_range(parts: Sequence[str]) -> MediaRange | None:
    name = parts[0].strip().lower() if parts else ""
    if name == "*" or re.fullmatch(r"[a-z]+/", name):  # "image/" is what a Python client sends for "any image"
        name = "*/*" if name == "*" else f"{name}*"
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


ANY = "*/*"

_WILDCARD_IS_SINGLE = frozenset(Resource) - {Resource.STUDY, Resource.INSTANCE, Resource.FRAMES}
"""Resources for which the response to `*/*` has no envelope."""

# Reduction of the quality of substitutes. Qualities have three decimals (RFC 9110 section 12.4.2), so a substitute
# still ranks above every entry to which the client gives a lower quality.
_SUBSTITUTE, _WILDCARD, _LEAST = 0.0001, 0.0002, 0.00001


@dataclass(frozen=True, slots=True)
class Offer:
    """A possible response: bytes in `transfer_syntax` (or as stored), of `media_type`, with or without envelope.

    media_type: "*/*" means the media type of the transfer syntax.
    quality: preference; offers of equal quality are equivalent to the client.
    only: the transfer syntaxes that may be sent as stored; empty means any.
    """

    transfer_syntax: str
    media_type: str
    multipart: bool
    quality: float = 1.0
    only: tuple[str, ...] = ()

    def covers(self, transfer_syntax: str) -> bool:
        """Return whether bytes in this transfer syntax match the offer."""
        if self.transfer_syntax != STORED:
            return self.transfer_syntax == transfer_syntax
        return not self.only or transfer_syntax in self.only

    def label(self, transfer_syntax: str) -> str:
        """Return the media type of bytes in this transfer syntax."""
        return media_type_of(transfer_syntax) if self.media_type == ANY else self.media_type


def negotiate(resource: Resource, media_ranges: Iterable[MediaRange]) -> list[Offer]:
    """Return the acceptable offers, best first; empty means 406.

    Among offers of equal quality, the stored form comes first. Substitutes for an unavailable form, and forms that only
    a wildcard allows, get a slightly lower quality than forms that the client names.
    """
    return list(_negotiated(resource, tuple(media_ranges)))


@lru_cache(_REMEMBERED)
def _negotiated(resource: Resource, media_ranges: tuple[MediaRange, ...]) -> tuple[Offer, ...]:
    found: dict[tuple[str, str, bool, tuple[str, ...]], Offer] = {}
    for media_range in media_ranges:
        for offer in _offers(resource, media_range):
            key = (offer.transfer_syntax, offer.media_type, offer.multipart, offer.only)
            if key not in found or found[key].quality < offer.quality:
                found[key] = offer
    return tuple(sorted(found.values(), key=lambda offer: (-offer.quality, offer.transfer_syntax != STORED)))


def _offers(resource: Resource, media_range: MediaRange) -> list[Offer]:
    products = CATALOGUE[resource]
    name = (
        (media_range.parameters.get("type", "").lower() or products[0].media_type)
        if media_range.is_multipart
        else media_range.name
    )
    if name == ANY:
        return _of_any(resource, media_range)
    if name == "application/*":
        name = products[0].media_type
    # "image/" means any image, also in `type`.
    kind = name.removesuffix("*") if name.endswith(("/*", "/")) else None
    return [
        offer
        for product in products
        if (product.media_type == name or (kind and product.media_type.startswith(kind)))
        and product.shape is not (Shape.SINGLE if media_range.is_multipart else Shape.MULTIPART)
        for offer in _of_product(product, media_range)
    ]


def _of_any(resource: Resource, media_range: MediaRange) -> list[Offer]:
    """Return the offer for `*/*`: the first product of the catalogue, as stored unless a transfer syntax is given.

    Frames as parts of any type get the media type of their transfer syntax; without `type` they get the first product,
    as in Azure's service.
    """
    name = CATALOGUE[resource][0].media_type
    if media_range.is_multipart and resource is Resource.FRAMES:
        name = ANY
    syntax = media_range.parameters.get("transfer-syntax", STORED)
    multipart = media_range.is_multipart or resource not in _WILDCARD_IS_SINGLE
    is_possible = syntax == STORED or _UID.fullmatch(syntax)
    return [Offer(syntax, name, multipart, _less(media_range, _WILDCARD))] if is_possible else []


def _of_product(product: Product, media_range: MediaRange) -> list[Offer]:
    name, multipart = product.media_type, media_range.is_multipart
    exact, substitute = media_range.quality, _less(media_range, _SUBSTITUTE)
    syntax = media_range.parameters.get("transfer-syntax", "")
    if syntax == STORED:
        return [Offer(STORED, name, multipart, exact, product.syntaxes)]
    if syntax:
        is_possible = _UID.fullmatch(syntax) and (not product.syntaxes or syntax in product.syntaxes)
        return [Offer(syntax, name, multipart, exact)] if is_possible else []
    if product.default:
        return [Offer(product.default, name, multipart, exact), Offer(STORED, name, multipart, substitute)]
    if not product.syntaxes:
        return [Offer(STORED, name, multipart, exact)]
    return [Offer(each, name, multipart, exact) for each in product.syntaxes]


def _less(media_range: MediaRange, by: float) -> float:
    return max(media_range.quality - by, _LEAST)


def offer_for(offers: Sequence[Offer], transfer_syntax: str) -> Offer | None:
    """Return the best offer that matches data in `transfer_syntax`; None if none does."""
    return next((offer for offer in offers if offer.covers(transfer_syntax)), None)


def acceptable(offers: Sequence[Offer]) -> dict[str, Any]:
    """Return the request fields for offers: transfer syntaxes, best first, and the quality of each.

    Among transfer syntaxes of equal quality the core prefers one that needs no transcoding.
    """
    qualities: dict[str, float] = {}
    for offer in offers:
        qualities.setdefault(offer.transfer_syntax, offer.quality)
    as_stored = [offer.only for offer in offers if offer.transfer_syntax == STORED]
    return {
        "acceptable_transfer_syntax_uids": list(qualities),
        "acceptable_qualities": list(qualities.values()),
        "acceptable_stored_transfer_syntax_uids": sorted(set(chain(*as_stored))) if all(as_stored) else [],
    }


def accepts_json(media_ranges: Iterable[MediaRange]) -> bool:
    """Return whether the client accepts DICOM JSON."""
    return any(
        media_range.name in (DICOM_JSON, "application/json", "application/*", "*/*") for media_range in media_ranges
    )


def prefers_xml(media_ranges: Iterable[MediaRange]) -> bool:
    """Return whether the client accepts Native DICOM XML and ranks it above JSON."""
    for media_range in media_ranges:
        if media_range.name in (DICOM_XML, "application/xml", "text/xml"):
            return True
        if accepts_json([media_range]):
            return False
    return False


def prefers_gzip(headers: Iterable[str]) -> bool:
    """Return whether Accept-Encoding ranks gzip at least as high as no coding; false without the header."""
    return preferred_coding(headers, ("gzip",)) != ""


def preferred_coding(headers: Iterable[str], codings: Sequence[str]) -> str:
    """Return the content coding of `codings` that Accept-Encoding ranks highest; "" means no coding (RFC 9110, 12.5.3).

    A coding is preferred to no coding of equal rank; among codings of equal rank the first one wins.
    """
    qualities: dict[str, float] = {}
    for name, quality in _CODING.findall(",".join(headers).lower()):
        qualities.setdefault(name.removeprefix("x-"), float(quality or 1))
    rest = qualities.get("*", 0.0)
    best = max(codings, key=lambda coding: qualities.get(coding, rest))
    quality = qualities.get(best, rest)
    return best if quality > 0 and quality >= qualities.get("identity", rest) else ""
